//! A transaction as a value: it can be printed, tested, and made to fail in one place.

use std::borrow::Cow;

use super::Value;

/// How many rows a statement must touch for the batch to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// As many as it likes.
    Any,
    /// Exactly this many.
    Rows(u64),
}

/// One statement of a batch.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The SQL, the same for both engines, with `$1…$n`.
    pub sql: Cow<'static, str>,
    /// The parameters.
    pub params: Vec<Value>,
    /// The rows it must touch.
    pub expect: Expect,
    /// What its failure means to the caller: comes back in [`super::StorageError::Expectation`] and `Conflict`.
    pub name: Cow<'static, str>,
}

/// Each length is a prepared statement of its own in every connection, so only these are made.
const ROWS_AT_ONCE: [usize; 6] = [64, 16, 4, 3, 2, 1];

fn insert_sql(insert: &str, rows: &[Vec<Value>], tail: &str) -> String {
    let mut sql = String::with_capacity(insert.len() + tail.len() + rows.len() * 32);
    sql.push_str(insert);
    sql.push_str(" VALUES ");
    let mut number = 0;
    for (at, row) in rows.iter().enumerate() {
        sql.push_str(if at == 0 { "(" } else { ", (" });
        for column in 0..row.len() {
            number += 1;
            if column > 0 {
                sql.push_str(", ");
            }
            push_place(&mut sql, number);
        }
        sql.push(')');
    }
    if !tail.is_empty() {
        sql.push(' ');
        sql.push_str(tail);
    }
    sql
}

/// `$first, …`: as many places for parameters as `count` says.
pub(crate) fn places(first: usize, count: usize) -> String {
    let mut list = String::with_capacity(count * 6);
    for number in first..first + count {
        if number > first {
            list.push_str(", ");
        }
        push_place(&mut list, number);
    }
    list
}

/// `$12`. By hand: statements are made of many of these, and formatting machinery costs more than the digits.
fn push_place(sql: &mut String, number: usize) {
    let mut unit = 1;
    while number / unit >= 10 {
        unit *= 10;
    }
    sql.push('$');
    while unit > 0 {
        // A digit, so it fits.
        sql.push(char::from(b'0' + u8::try_from(number / unit % 10).unwrap_or_default()));
        unit /= 10;
    }
}

/// Statements that are written together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In the order in which they run.
    pub statements: Vec<Statement>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a statement that may touch any number of rows.
    pub fn run(&mut self, sql: impl Into<Cow<'static, str>>, params: Vec<Value>) -> &mut Self {
        self.push("", Expect::Any, sql, params)
    }

    /// Adds a statement that must touch exactly one row; `name` is what its failure means.
    pub fn one(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        sql: impl Into<Cow<'static, str>>,
        params: Vec<Value>,
    ) -> &mut Self {
        self.push(name, Expect::Rows(1), sql, params)
    }

    /// Adds a statement.
    pub fn push(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        expect: Expect,
        sql: impl Into<Cow<'static, str>>,
        params: Vec<Value>,
    ) -> &mut Self {
        self.statements.push(Statement { sql: sql.into(), params, expect, name: name.into() });
        self
    }

    /// Adds as few `INSERT`s as many rows need: `insert` is everything before `VALUES`, `tail` what follows
    /// (`ON CONFLICT …`, or nothing). No rows, no statement.
    pub fn insert_many(&mut self, insert: &str, rows: Vec<Vec<Value>>, tail: &str) -> &mut Self {
        self.insert_rows("", insert, rows, tail)
    }

    /// As [`Batch::insert_many`], with a name for what a conflict means.
    pub fn insert_rows(
        &mut self,
        name: &'static str,
        insert: &str,
        rows: Vec<Vec<Value>>,
        tail: &str,
    ) -> &mut Self {
        let mut left = rows.len();
        let mut rows = rows.into_iter();
        while let Some(size) = ROWS_AT_ONCE.into_iter().find(|size| *size <= left) {
            left -= size;
            let chunk: Vec<Vec<Value>> = rows.by_ref().take(size).collect();
            let sql = insert_sql(insert, &chunk, tail);
            self.push(name, Expect::Any, sql, chunk.into_iter().flatten().collect());
        }
        self
    }

    /// Adds all of `other`'s statements at the end.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.statements.extend(other.statements);
        self
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_become_few_statements_of_few_lengths() {
        let mut batch = Batch::new();
        let rows = (0..100i64).map(|n| vec![n.into(), "x".into()]).collect();
        batch.insert_many("INSERT INTO t (n, x)", rows, "ON CONFLICT DO NOTHING");
        let lengths: Vec<usize> =
            batch.statements.iter().map(|statement| statement.params.len() / 2).collect();
        assert_eq!(lengths, [64, 16, 16, 4]);
        assert!(
            batch.statements[3]
                .sql
                .ends_with("($1, $2), ($3, $4), ($5, $6), ($7, $8) ON CONFLICT DO NOTHING")
        );
        let numbers: Vec<&Value> =
            batch.statements.iter().flat_map(|statement| statement.params.iter().step_by(2)).collect();
        assert_eq!(numbers, (0..100i64).map(Value::Int).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        assert!(Batch::new().insert_many("INSERT INTO t (n)", vec![], "").is_empty());
    }

    #[test]
    fn places_are_numbered_from_the_first() {
        assert_eq!(places(2, 3), "$2, $3, $4");
        assert_eq!(places(9, 2), "$9, $10");
        assert!(places(98, 3).ends_with("$99, $100"));
        assert_eq!(places(1, 0), "");
    }
}
