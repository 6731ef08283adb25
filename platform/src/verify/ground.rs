//! What the checks stand on: the data, read page by page, and what was handed in beside it.
//!
//! Nothing here holds a table in memory. A query runs over a range of keys at a time, so that it stays short on a busy
//! shop and within the patience of the engine, and each is one statement: what it joins, it sees at one moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::orders::Replayed;
use super::statement::Statement;
use super::verifier::Options;
use crate::storage::{Db, Row, StorageError, Value};
use crate::vocabulary::Timestamp;

/// Reads the provider's statement; asked anew for every look.
pub type StatementSource = Arc<dyn Fn() -> BoxFuture<'static, Result<Statement, String>> + Send + Sync>;

/// How long what is bounded may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long anything that is due may wait: a message, a saga's step, an expired reservation, an outbox row.
    pub due: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { due: Duration::from_secs(60) }
    }
}

/// What is handed in beside the data.
#[derive(Clone, Default)]
pub struct Beside {
    /// The provider's statement, and where it comes from.
    pub statement: Option<(String, StatementSource)>,
    /// Journals of acknowledged orders.
    pub journals: Vec<PathBuf>,
    /// Journals that lie beside them and speak of another address, with the address: they are not compared.
    pub journals_elsewhere: Vec<(PathBuf, String)>,
    /// Log files.
    pub logs: Vec<PathBuf>,
    /// Logs that are no files here, by name: their last lines.
    pub log_texts: Vec<(String, String)>,
    /// Other texts that were published, by name: `metrics`, `traces`; of one process among several `metrics of NAME`.
    pub texts: Vec<(String, String)>,
    /// Logs and texts that there are and that could not be read, each in a line.
    pub unread: Vec<String>,
}

impl Beside {
    /// The texts of this kind: the one that is called so, and those of single processes.
    pub(super) fn texts_of<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a str> {
        let (whole, of_one) = (kind.to_owned(), format!("{kind} of "));
        let is_of = move |name: &str| name == whole || name.starts_with(&of_one);
        self.texts.iter().filter(move |(name, _)| is_of(name)).map(|(_, text)| text.as_str())
    }
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beside")
            .field("statement", &self.statement.as_ref().map(|(from, _)| from))
            .field("journals", &self.journals)
            .field("logs", &self.logs)
            .finish_non_exhaustive()
    }
}

/// What one look stands on.
pub(super) struct Ground {
    pub(super) db: Db,
    /// The moment that ages are counted from.
    pub(super) as_of: Timestamp,
    pub(super) bounds: Bounds,
    /// Whether somebody may be writing the data meanwhile.
    pub(super) live: bool,
    pub(super) beside: Beside,
    /// All orders told anew, once for every check that wants them.
    pub(super) replayed: OnceCell<Replayed>,
}

/// A range of keys: after the first, up to and with the second.
pub(super) type Range = (Uuid, Uuid);

/// What a query is paged by: an indexed column of ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys<'a> {
    pub(super) table: &'a str,
    pub(super) key: &'a str,
    /// The condition that the index begins with, or nothing.
    pub(super) only: &'a str,
    /// About how many rows a page has.
    pub(super) page: u32,
}

impl<'a> Keys<'a> {
    /// The ids in `key` of `table`, `page` at a time.
    pub(super) const fn of(table: &'a str, key: &'a str, page: u32) -> Self {
        Self { table, key, only: "1 = 1", page }
    }

    /// Only where `condition` holds.
    pub(super) const fn only(self, condition: &'a str) -> Self {
        Self { only: condition, ..self }
    }
}

impl Ground {
    pub(super) fn new(db: Db, as_of: Timestamp, options: &Options) -> Self {
        let Options { live, bounds, beside, .. } = options;
        Self { db, as_of, bounds: *bounds, live: *live, beside: beside.clone(), replayed: OnceCell::new() }
    }

    /// The moment `ago` before the one that ages are counted from.
    pub(super) fn ago(&self, ago: Duration) -> Timestamp {
        before(self.as_of, ago)
    }

    /// The moment before which what was due then is overdue.
    pub(super) fn overdue(&self) -> Timestamp {
        self.ago(self.bounds.due)
    }

    pub(super) async fn rows(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StorageError> {
        self.db.read(sql, params).await
    }

    /// The one number, named `n`, that `sql` answers.
    pub(super) async fn number(&self, sql: &str, params: Vec<Value>) -> Result<u64, StorageError> {
        let row = self.db.read_one(sql, params).await?;
        let number: Option<i64> = row.map(|row| row.get("n")).transpose()?.flatten();
        Ok(number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
    }

    /// How many rows `table` has.
    pub(super) async fn size(&self, table: &str) -> Result<u64, StorageError> {
        self.number(&format!("SELECT COUNT(*) AS n FROM {table}"), vec![]).await
    }

    /// The ranges that `keys` fall into; the last one is open.
    pub(super) async fn ranges(&self, keys: Keys<'_>) -> Result<Vec<Range>, StorageError> {
        let Keys { table, key, only, page } = keys;
        let sql = format!(
            "SELECT {key} AS k FROM {table} WHERE {only} AND {key} > $1 ORDER BY {key} LIMIT 1 OFFSET $2"
        );
        let (mut ranges, mut after) = (Vec::new(), Uuid::nil());
        loop {
            let params = vec![after.into(), (page.max(1) - 1).into()];
            let Some(row) = self.db.read_one(&sql, params).await? else {
                ranges.push((after, Uuid::max()));
                return Ok(ranges);
            };
            let end: Uuid = row.get("k")?;
            ranges.push((after, end));
            after = end;
        }
    }

    /// Hands every row that `sql` answers for each range of `keys` to `take`. In `sql`, `$1` and `$2` are
    /// the range, and `more` what follows.
    pub(super) async fn each(
        &self,
        keys: Keys<'_>,
        sql: &str,
        more: &[Value],
        mut take: impl FnMut(&Row) -> Result<(), StorageError> + Send,
    ) -> Result<(), StorageError> {
        for (after, end) in self.ranges(keys).await? {
            let mut params: Vec<Value> = vec![after.into(), end.into()];
            params.extend_from_slice(more);
            for row in self.db.read(sql, params).await? {
                take(&row)?;
            }
        }
        Ok(())
    }
}

/// `at` less `ago`, held at the calendar's beginning.
pub(super) fn before(at: Timestamp, ago: Duration) -> Timestamp {
    let us = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(at.as_microsecond().saturating_sub(us)).unwrap_or(Timestamp::MIN)
}

/// When the data was last written, as far as its own times tell; none when there is nothing.
pub(super) async fn last_write(db: &Db) -> Result<Option<Timestamp>, StorageError> {
    const TIMES: &[(&str, &str)] = &[
        ("order_sagas", "updated_at"),
        ("product_reservations", "changed_at"),
        ("payment_attempts", "updated_at"),
        ("payments", "updated_at"),
        ("bus_messages", "sent_at"),
        ("order_outbox", "published_at"),
        ("payment_outbox", "published_at"),
        ("notification_deliveries", "created_at"),
        ("order_carts", "updated_at"),
    ];
    let mut last: Option<Timestamp> = None;
    for (table, column) in TIMES {
        let row = db.read_one(&format!("SELECT MAX({column}) AS at FROM {table}"), vec![]).await?;
        let at: Option<Timestamp> = row.map(|row| row.get("at")).transpose()?.flatten();
        last = last.max(at);
    }
    Ok(last)
}
