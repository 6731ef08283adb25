//! Our books beside the provider's, payment by payment.

use std::collections::HashMap;

use super::cashier::Cashier;
use super::client::{Comparison, PaymentStatus, Reconciliation, Standing, Verdict};
use super::model::{Operation, Record};
use super::provider::Unreadable;
use crate::http::{Code, Problem};
use crate::vocabulary::{OrderId, Timestamp};

const PAGE: usize = 500;
/// The most payments of one comparison: it is held in memory.
const COMPARED_MAX: usize = 50_000;
/// Our payment is written before the provider's is made, and their clocks may differ.
const SLACK_S: i64 = 60;

type Ours = HashMap<OrderId, (Record, Option<Operation>)>;
type Theirs = HashMap<OrderId, Vec<Standing>>;

impl Cashier {
    /// Compares every payment made since `since`.
    pub(super) async fn reconcile(&self, since: Timestamp) -> Result<Reconciliation, Problem> {
        // Theirs first: what they have by then, ours must have an intent for.
        let (mut theirs, strangers) = self.theirs(since).await?;
        let ours = self.ours(since).await?;
        let mut reconciliation = Reconciliation {
            provider: self.inner.provider.name().to_owned(),
            since,
            at: self.inner.env.now(),
            compared: 0,
            matches: 0,
            differences: Vec::new(),
        };
        let mut ours: Vec<(Record, Option<Operation>)> = ours.into_values().collect();
        ours.sort_by_key(|(record, _)| record.id);
        for (record, pending) in ours {
            let at_provider = theirs.remove(&record.order_id).unwrap_or_default();
            let order_id = Some(record.order_id);
            reconciliation.take(order_id, Some(standing(&record)), at_provider, pending.is_some());
        }
        for (order_id, standings) in theirs {
            // Older than the slack on our side, or not ours at all.
            let known = self.inner.store.known(order_id).await?;
            let pending = known
                .as_ref()
                .is_some_and(|known| known.attempts.iter().any(|attempt| attempt.state.is_unknown()));
            let ours = known.map(|known| standing(&known.record));
            reconciliation.take(Some(order_id), ours, standings, pending);
        }
        for stranger in strangers {
            reconciliation.take(None, None, vec![stranger], false);
        }
        Ok(reconciliation)
    }

    async fn theirs(&self, since: Timestamp) -> Result<(Theirs, Vec<Standing>), Problem> {
        let unreadable = |error: Unreadable| {
            tracing::warn!(%error, "the provider's books could not be read");
            Problem::new(Code::Unavailable, format!("the provider's books could not be read: {error}"))
                .retry_after(std::time::Duration::from_secs(5))
        };
        let (mut theirs, mut strangers, mut cursor, mut count) = (Theirs::new(), Vec::new(), None, 0);
        loop {
            let page = self.inner.provider.statement(since, cursor.as_deref()).await.map_err(unreadable)?;
            count += page.items.len();
            for (order_id, standing) in page.items {
                match order_id {
                    Some(order_id) => theirs.entry(order_id).or_default().push(standing),
                    None => strangers.push(standing),
                }
            }
            if count > COMPARED_MAX {
                let message = format!("more than {COMPARED_MAX} payments: give a later `since`");
                return Err(Problem::invalid("/since", message));
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok((theirs, strangers));
            }
        }
    }

    async fn ours(&self, since: Timestamp) -> Result<Ours, Problem> {
        let from = Timestamp::from_second(since.as_second() + SLACK_S).unwrap_or(since);
        let mut ours = Ours::new();
        let mut after = None;
        loop {
            let page = self.inner.store.since(from, after, PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|(record, _)| record.id);
            ours.extend(page.into_iter().map(|(record, pending)| (record.order_id, (record, pending))));
            if !full || ours.len() > COMPARED_MAX {
                return Ok(ours);
            }
        }
    }
}

impl Reconciliation {
    fn take(
        &mut self,
        order_id: Option<OrderId>,
        ours: Option<Standing>,
        theirs: Vec<Standing>,
        settling: bool,
    ) {
        self.compared += 1;
        match compare(ours.as_ref(), &theirs) {
            Verdict::Match => self.matches += 1,
            verdict => self.differences.push(Comparison { order_id, verdict, ours, theirs, settling }),
        }
    }
}

fn standing(record: &Record) -> Standing {
    Standing {
        reference: record.id.to_string(),
        status: record.status.as_str().to_owned(),
        currency: record.amount.currency.as_str().to_owned(),
        held: if record.status == PaymentStatus::Authorized { record.authorized } else { 0 },
        captured: record.captured,
        refunded: record.refunded,
    }
}

/// How the two sides compare. Payments that never held money are nobody's loss, and match by being absent.
#[must_use]
pub fn compare(ours: Option<&Standing>, theirs: &[Standing]) -> Verdict {
    let moved = |standing: &&Standing| standing.held != 0 || standing.captured != 0;
    let money: Vec<&Standing> = theirs.iter().filter(moved).collect();
    if money.iter().filter(|standing| standing.captured > standing.refunded).count() > 1 {
        return Verdict::Duplicate;
    }
    let ours_moved = ours.filter(moved);
    let Some(ours) = ours_moved else {
        return match (ours, money.is_empty()) {
            (_, true) => Verdict::Match,
            (None, false) => Verdict::Missing,
            // We let it go or heard a decline, and they hold or took money.
            (Some(_), false) => Verdict::Conflicting,
        };
    };
    if money.is_empty() {
        let canceled = theirs.iter().any(|standing| standing.status == "canceled");
        return if canceled { Verdict::Conflicting } else { Verdict::Missing };
    }
    if money.iter().any(|standing| standing.currency != ours.currency) {
        return Verdict::Conflicting;
    }
    let sum = |part: fn(&Standing) -> i64| money.iter().map(|standing| part(standing)).sum::<i64>();
    let same = sum(|standing| standing.held) == ours.held
        && sum(|standing| standing.captured) == ours.captured
        && sum(|standing| standing.refunded) == ours.refunded;
    if same { Verdict::Match } else { Verdict::Mismatch }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(status: &str, held: i64, captured: i64, refunded: i64) -> Standing {
        Standing {
            reference: "x".to_owned(),
            status: status.to_owned(),
            currency: "USD".to_owned(),
            held,
            captured,
            refunded,
        }
    }

    #[test]
    fn the_two_sides_are_told_apart() {
        let taken = side("captured", 0, 500, 0);
        assert_eq!(compare(Some(&taken), &[side("succeeded", 0, 500, 0)]), Verdict::Match);
        assert_eq!(compare(Some(&taken), &[side("succeeded", 0, 499, 0)]), Verdict::Mismatch);
        assert_eq!(compare(Some(&taken), &[side("succeeded", 0, 500, 100)]), Verdict::Mismatch);
        assert_eq!(compare(Some(&taken), &[]), Verdict::Missing);
        assert_eq!(compare(None, &[side("succeeded", 0, 500, 0)]), Verdict::Missing);
        let twice = [side("succeeded", 0, 500, 0), side("succeeded", 0, 500, 0)];
        assert_eq!(compare(Some(&taken), &twice), Verdict::Duplicate);
        assert_eq!(compare(Some(&taken), &[side("canceled", 0, 0, 0)]), Verdict::Conflicting);
        let voided = side("voided", 0, 0, 0);
        assert_eq!(compare(Some(&voided), &[side("requires_capture", 500, 0, 0)]), Verdict::Conflicting);
        let euros = Standing { currency: "EUR".to_owned(), ..side("succeeded", 0, 500, 0) };
        assert_eq!(compare(Some(&taken), &[euros]), Verdict::Conflicting);
    }

    #[test]
    fn a_declined_card_is_nobodys_loss() {
        let failed = side("failed", 0, 0, 0);
        assert_eq!(compare(Some(&failed), &[side("requires_payment_method", 0, 0, 0)]), Verdict::Match);
        assert_eq!(compare(None, &[side("requires_payment_method", 0, 0, 0)]), Verdict::Match);
        assert_eq!(compare(Some(&failed), &[]), Verdict::Match);
    }
}
