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

    /// Adds one `INSERT` for many rows: `insert` is everything before `VALUES`, `columns` how many a row has,
    /// `tail` what follows (`ON CONFLICT …`, or nothing). No rows, no statement. The caller keeps rows few
    /// enough (≤ 200): every count is its own prepared statement.
    pub fn insert_many(&mut self, insert: &str, rows: Vec<Vec<Value>>, tail: &str) -> &mut Self {
        if rows.is_empty() {
            return self;
        }
        let mut sql = String::with_capacity(insert.len() + tail.len() + rows.len() * 24);
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
                sql.push('$');
                sql.push_str(&number.to_string());
            }
            sql.push(')');
        }
        if !tail.is_empty() {
            sql.push(' ');
            sql.push_str(tail);
        }
        self.push("", Expect::Any, sql, rows.into_iter().flatten().collect())
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
