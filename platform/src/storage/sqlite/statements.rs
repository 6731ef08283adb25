//! The statements that one connection keeps prepared, and where each of their parameters goes.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Statement};

use super::cells::Bound;
use crate::storage::Value;

/// The most that a connection keeps. One more, and it begins anew: no part of the shop needs as many.
const STATEMENTS_MAX: usize = 256;

/// Prepared statements, found by their text.
pub(super) struct Statements<'connection> {
    connection: &'connection Connection,
    places: HashMap<Box<str>, usize>,
    prepared: Vec<Prepared<'connection>>,
}

/// One prepared statement.
pub(super) struct Prepared<'connection> {
    statement: Statement<'connection>,
    /// To SQLite `$2` is a name, numbered by its first appearance: for each place, which of the parameters it wants.
    wanted: Box<[usize]>,
    /// The answer's columns.
    columns: Arc<[String]>,
}

impl<'connection> Statements<'connection> {
    pub(super) fn new(connection: &'connection Connection) -> Self {
        Self { connection, places: HashMap::new(), prepared: Vec::new() }
    }

    /// The statement `sql`, prepared now or before.
    pub(super) fn of(&mut self, sql: &str) -> rusqlite::Result<&mut Prepared<'connection>> {
        let place = match self.places.get(sql) {
            Some(place) => *place,
            None => self.prepare(sql)?,
        };
        Ok(&mut self.prepared[place])
    }

    fn prepare(&mut self, sql: &str) -> rusqlite::Result<usize> {
        let prepared = Prepared::new(self.connection.prepare(sql)?);
        if self.prepared.len() == STATEMENTS_MAX {
            self.forget();
        }
        self.prepared.push(prepared);
        let place = self.prepared.len() - 1;
        self.places.insert(sql.into(), place);
        Ok(place)
    }

    /// Lets all of them go.
    pub(super) fn forget(&mut self) {
        self.places.clear();
        self.prepared.clear();
    }
}

impl<'connection> Prepared<'connection> {
    fn new(statement: Statement<'connection>) -> Self {
        let number = |place| {
            statement.parameter_name(place).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok())
        };
        // A place that nothing can fill finds no parameter when it is bound.
        let wanted = (1..=statement.parameter_count())
            .map(|place| number(place).and_then(|number| number.checked_sub(1)).unwrap_or(usize::MAX))
            .collect();
        let columns = columns_of(&statement);
        Self { statement, wanted, columns }
    }

    /// The statement with `params` in their places.
    pub(super) fn bound(&mut self, params: &[Value]) -> rusqlite::Result<&mut Statement<'connection>> {
        for (place, wanted) in (1..).zip(&self.wanted) {
            let value =
                params.get(*wanted).ok_or(rusqlite::Error::InvalidParameterCount(params.len(), place))?;
            self.statement.raw_bind_parameter(place, Bound(value))?;
        }
        Ok(&mut self.statement)
    }

    /// The answer's columns. SQLite prepares a statement anew when the tables changed, and then there may be more.
    pub(super) fn columns(&mut self) -> Arc<[String]> {
        if self.columns.len() != self.statement.column_count() {
            self.columns = columns_of(&self.statement);
        }
        Arc::clone(&self.columns)
    }
}

fn columns_of(statement: &Statement<'_>) -> Arc<[String]> {
    statement.column_names().map(str::to_owned).collect()
}
