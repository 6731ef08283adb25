//! V9: our captured and refunded money beside the provider's.
//!
//! The provider's side comes from outside the database: from the sandbox that runs (`/control/statement`), or from the
//! journal that it left in the data folder. Without it nothing is known.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use uuid::Uuid;

use super::ground::{Ground, Keys};
use super::tally::Tally;
use crate::sandbox::fakepay;
use crate::services::payment::client::{Standing, Verdict};
use crate::services::payment::compare;
use crate::storage::{Row, StorageError};
use crate::vocabulary::OrderId;

const PAYMENTS: Keys<'static> = Keys::of("payments", "id", 5_000);

/// One payment, as the provider tells it. Amounts in minor units.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StatementLine {
    /// The provider's name for it.
    pub payment_intent: String,
    /// The order that it was made for, as the shop said when it asked.
    pub order_id: Option<String>,
    /// What was ever held, unless it was let go.
    pub authorized: i64,
    /// What was taken.
    pub captured: i64,
    /// What was given back.
    pub refunded: i64,
    /// The currency.
    pub currency: String,
    /// The provider's word for where it stands.
    pub status: String,
}

impl StatementLine {
    fn standing(&self) -> Standing {
        Standing {
            reference: self.payment_intent.clone(),
            status: self.status.clone(),
            currency: self.currency.clone(),
            held: if self.status == "requires_capture" { self.authorized } else { 0 },
            captured: self.captured,
            refunded: self.refunded,
        }
    }
}

/// What the provider says that it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Statement {
    /// A line per payment.
    pub items: Vec<StatementLine>,
}

impl Statement {
    /// The answer of `GET /control/statement`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// What the sandbox wrote into `folder` (`<data>/fakepay`); none when it never ran there.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn at_rest(folder: &Path) -> std::io::Result<Option<Self>> {
        let mut items = Vec::new();
        let found = fakepay::read_statement(folder, |line| {
            items.push(serde_json::from_value(line)?);
            Ok(())
        })?;
        Ok(found.then_some(Self { items }))
    }
}

/// V9: match, mismatch, missing, duplicate or conflicting, payment by payment.
pub(super) async fn v9(ground: &Ground) -> Result<Tally, StorageError> {
    let mut tally = Tally::default();
    let Some((_, source)) = &ground.beside.statement else {
        tally.blind("there is no statement of the provider to compare with");
        return Ok(tally);
    };
    // Theirs first: what they have by then, ours must have an intent for.
    let statement = match source().await {
        Ok(statement) => statement,
        Err(why) => {
            tally.blind(format!("the provider's statement could not be read: {why}"));
            return Ok(tally);
        }
    };
    let mut theirs: BTreeMap<Uuid, Vec<StatementLine>> = BTreeMap::new();
    for line in statement.items {
        match line.order_id.as_deref().and_then(|id| id.parse().ok()) {
            // Nearly always one line an order, and there are many orders.
            Some(order) => theirs.entry(order).or_insert_with(|| Vec::with_capacity(1)).push(line),
            None if line.captured > 0 || line.standing().held > 0 => {
                tally.saw(1);
                tally.count("missing", 1);
                tally.suspect(line.payment_intent, "the provider has money for no order of ours");
            }
            None => {}
        }
    }
    let sql = "
        SELECT p.id, p.order_id, p.status, p.currency, p.authorized, p.captured, p.refunded,
          CASE WHEN EXISTS (SELECT 1 FROM payment_attempts a WHERE a.payment_id = p.id AND a.state IN ('open', 'lookup'))
            THEN 1 ELSE 0 END AS settling
        FROM payments p WHERE p.id > $1 AND p.id <= $2 AND p.provider <> 'manual' ORDER BY p.id";
    let mut take = |row: &Row| {
        let order: OrderId = row.get("order_id")?;
        let at_provider = theirs.remove(&order.uuid()).unwrap_or_default();
        note(
            &mut tally,
            &order.to_string(),
            Some(&ours(row)?),
            &at_provider,
            row.get::<i64>("settling")? > 0,
        );
        Ok(())
    };
    ground.each(PAYMENTS, sql, &[], &mut take).await?;
    for (order, lines) in theirs {
        note(&mut tally, &order.to_string(), None, &lines, false);
    }
    if let Some(settling) = tally.counts.get("settling").filter(|_| !ground.live) {
        let why = format!(
            "{settling} payments differ while the outcome of an act is not known: start the shop, which asks the \
             provider, and verify again"
        );
        tally.blind(why);
    }
    Ok(tally)
}

fn ours(row: &Row) -> Result<Standing, StorageError> {
    let status: String = row.get("status")?;
    Ok(Standing {
        reference: row.get::<Uuid>("id")?.to_string(),
        currency: row.get("currency")?,
        held: if status == "authorized" { row.get("authorized")? } else { 0 },
        captured: row.get("captured")?,
        refunded: row.get("refunded")?,
        status,
    })
}

fn note(
    tally: &mut Tally,
    order: &str,
    ours: Option<&Standing>,
    theirs: &[StatementLine],
    is_settling: bool,
) {
    tally.saw(1);
    let standings: Vec<Standing> = theirs.iter().map(StatementLine::standing).collect();
    let word = match compare(ours, &standings) {
        Verdict::Match => return tally.count("match", 1),
        // An act is under way whose outcome is not known here yet. No act takes money twice.
        Verdict::Mismatch | Verdict::Missing | Verdict::Conflicting if is_settling => {
            return tally.count("settling", 1);
        }
        Verdict::Mismatch => "mismatch",
        Verdict::Missing => "missing",
        Verdict::Duplicate => "duplicate",
        Verdict::Conflicting => "conflicting",
    };
    tally.count(word, 1);
    let said = |standing: &Standing| {
        format!(
            "{} held, {} captured, {} refunded {} ({})",
            standing.held, standing.captured, standing.refunded, standing.currency, standing.status
        )
    };
    let ours = ours.map_or_else(|| "nothing".to_owned(), said);
    let theirs = match standings.as_slice() {
        [] => "nothing".to_owned(),
        all => all.iter().map(said).collect::<Vec<_>>().join(" and "),
    };
    tally.suspect(order, format!("{word}: we have {ours}; the provider has {theirs}"));
}
