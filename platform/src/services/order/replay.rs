//! An order told anew from its events, for whoever compares: by the same rules that let the events happen, and beside
//! the same columns that the service writes.

use super::events::Event;
use super::model::{self, Applied, Refused};
use super::store::Aggregate;
use super::views;
use crate::storage::{Row, StorageError, Value};
use crate::vocabulary::{OrderId, Timestamp};

/// Why an event cannot be told anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// What is stored is no event of this binary's.
    #[error("event {0} cannot be read: {1}")]
    Unreadable(i64, String),
    /// Its number does not follow.
    #[error("event {1} stands where event {0} must")]
    OutOfPlace(i64, i64),
    /// The order's rules do not allow it where it stands.
    #[error("event {0}: {1}")]
    NotAllowed(i64, Refused),
    /// The order knew it already, so it should not have been stored.
    #[error("event {0}, `{1}`, changes nothing where it stands")]
    Repeated(i64, &'static str),
}

impl Broken {
    /// Whether the order's rules were broken, and not only its numbering or its storage.
    #[must_use]
    pub const fn is_transition(&self) -> bool {
        matches!(self, Self::NotAllowed(..) | Self::Repeated(..))
    }
}

/// An order that is being told anew.
#[derive(Debug)]
pub struct Replay {
    id: OrderId,
    order: Option<Aggregate>,
    seq: i64,
}

impl Replay {
    /// The order `id`, before its first event.
    #[must_use]
    pub fn new(id: OrderId) -> Self {
        Self { id, order: None, seq: 0 }
    }

    /// The number of the last event that was taken.
    #[must_use]
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// Takes the event that is stored as number `seq`: `kind` and the JSON `data`.
    ///
    /// # Errors
    /// When it does not follow; the order then stays as it was.
    pub fn take(&mut self, seq: i64, kind: &str, data: &Value, at: Timestamp) -> Result<(), Broken> {
        if seq != self.seq + 1 {
            return Err(Broken::OutOfPlace(self.seq + 1, seq));
        }
        let event = read(kind, data).map_err(|why| Broken::Unreadable(seq, why))?;
        let state = self.order.as_ref().map(|order| &order.state);
        let applied = model::apply(state, &event).map_err(|refused| Broken::NotAllowed(seq, refused))?;
        let Applied::New(state, _) = applied else { return Err(Broken::Repeated(seq, event.kind())) };
        match (&mut self.order, event) {
            (Some(order), _) => {
                order.state = *state;
                order.updated_at = at;
            }
            (order @ None, Event::OrderPlaced(placed)) => {
                *order = Some(Aggregate::first(self.id, *placed, *state, at));
            }
            (None, _) => {}
        }
        self.seq = seq;
        Ok(())
    }

    /// Where the projection says something else: column, what is stored, what the events tell. `row` is the whole row
    /// of `order_orders`; none when the order was not placed.
    ///
    /// # Errors
    /// When `row` is no such row.
    pub fn differences(&self, row: &Row) -> Result<Vec<(&'static str, String, String)>, StorageError> {
        let Some(order) = &self.order else { return Ok(Vec::new()) };
        let mut differences = Vec::new();
        for (column, told) in order.fixed_columns().into_iter().chain(order.moving_columns()) {
            let stored = views::cell(row, column, &told)?;
            if stored != told {
                differences.push((column, views::show(&stored), views::show(&told)));
            }
        }
        Ok(differences)
    }

    /// Whether `rows`, the order's rows of `order_lines` by their number, are the lines that were bought.
    ///
    /// # Errors
    /// When they are no such rows.
    pub fn has_lines(&self, rows: &[&Row]) -> Result<bool, StorageError> {
        let Some(order) = &self.order else { return Ok(rows.is_empty()) };
        let lines = &order.placed.lines;
        if rows.len() != lines.len() {
            return Ok(false);
        }
        for (row, line) in rows.iter().zip(lines) {
            let amounts =
                [line.unit_price, line.discount, line.tax, line.line_total].map(|money| money.amount);
            let same = row.get::<String>("sku")? == line.sku
                && row.get::<String>("title")? == line.title
                && row.get::<i64>("quantity")? == line.quantity
                && ["unit_price", "discount", "tax", "line_total"]
                    .into_iter()
                    .zip(amounts)
                    .map(|(column, amount)| Ok(row.get::<i64>(column)? == amount))
                    .collect::<Result<Vec<_>, StorageError>>()?
                    .into_iter()
                    .all(|same| same);
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Both engines hand JSON over as text, and it is read in one go: an order's life is a handful of events, a shop's
/// millions.
fn read(kind: &str, data: &Value) -> Result<Event, String> {
    let (Value::Text(text) | Value::Json(text)) = data else { return Err(format!("its data is {data:?}")) };
    let mut whole = String::with_capacity(text.len() + kind.len() + 24);
    whole.push_str("{\"type\":");
    whole.push_str(&serde_json::Value::from(kind).to_string());
    whole.push_str(",\"data\":");
    whole.push_str(text);
    whole.push('}');
    serde_json::from_str(&whole).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::events::samples::{dollars, placed};
    use super::*;

    fn stored(event: &Event) -> (&'static str, Value) {
        (event.kind(), event.data().into())
    }

    #[test]
    fn what_does_not_follow_is_told_apart() {
        let mut replay = Replay::new(OrderId::from_uuid(uuid::Uuid::nil()));
        let at = Timestamp::UNIX_EPOCH;
        let mut take = |seq, event: &Event| {
            let (kind, data) = stored(event);
            replay.take(seq, kind, &data, at)
        };
        let captured = Event::PaymentCaptured { amount: dollars(500) };
        assert!(matches!(take(1, &captured), Err(Broken::NotAllowed(1, _))));
        assert_eq!(take(1, &Event::OrderPlaced(placed(500))), Ok(()));
        assert_eq!(take(3, &Event::StockReserved { expires_at: None }), Err(Broken::OutOfPlace(2, 3)));
        assert_eq!(take(2, &Event::StockReserved { expires_at: None }), Ok(()));
        assert_eq!(
            take(3, &Event::StockReserved { expires_at: None }),
            Err(Broken::Repeated(3, "stock_reserved"))
        );
        assert!(matches!(take(3, &captured), Err(Broken::NotAllowed(3, _))));
        let unreadable = replay.take(3, "no_such_event", &Value::Text("{}".into()), at);
        assert!(matches!(unreadable, Err(Broken::Unreadable(3, _))));
        assert_eq!(replay.seq(), 2);
    }
}
