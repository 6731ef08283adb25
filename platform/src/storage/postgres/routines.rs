//! A batch as one call: its statements become the body of a function on the server, which runs them, checks how many
//! rows each touched, and raises when an expectation fails. The call is a transaction by itself, so `BEGIN`, every
//! statement and `COMMIT` cost one message and one answer together, and plans are kept.
//!
//! The functions are temporary: they belong to one connection, are made there when they are first needed, and leave
//! with it. What does not fit (too many parameters, a shape too many) is sent statement by statement instead.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use deadpool_postgres::Client;
use tokio_postgres::Statement as Prepared;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::cells::{self, Bound};
use crate::storage::{Batch, Expect, Kind, Statement};

/// PostgreSQL takes no more parameters for a function; one is the list of expectations.
const PARAMETERS_MAX: usize = 99;
/// Each function holds plans in every connection that called it.
const ROUTINES_MAX: usize = 256;
/// What a function raises when a statement touched another number of rows than expected: a class of our own.
pub(super) const EXPECTATION: &str = "SH001";
/// In the list of expectations: as many rows as it likes.
const ANY: i64 = -1;

/// Everything that two batches have in common when one function can run both.
type Shape = Vec<(std::borrow::Cow<'static, str>, Vec<Kind>)>;

/// The functions of this process, by what they run.
#[derive(Debug, Default)]
pub(super) struct Routines {
    known: Mutex<HashMap<Shape, Arc<Routine>>>,
    /// The server does not let us make functions.
    refused: AtomicBool,
}

/// One function: how it is made and how it is called.
#[derive(Debug)]
pub(super) struct Routine {
    definition: String,
    call: String,
    types: Vec<Type>,
}

impl Routines {
    /// The function that runs `batch`; none when the batch must go statement by statement.
    pub(super) fn of(&self, batch: &Batch) -> Option<Arc<Routine>> {
        let parameters: usize = batch.statements.iter().map(|statement| statement.params.len()).sum();
        if self.refused.load(Ordering::Relaxed)
            || parameters > PARAMETERS_MAX
            || !batch.statements.iter().all(touches_rows)
        {
            return None;
        }
        let shape: Shape = batch
            .statements
            .iter()
            .map(|statement| {
                let kinds = statement.params.iter().map(crate::storage::Value::kind).collect();
                (statement.sql.clone(), kinds)
            })
            .collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(routine) = known.get(&shape) {
            return Some(Arc::clone(routine));
        }
        if known.len() >= ROUTINES_MAX {
            return None;
        }
        let routine = Arc::new(Routine::new(known.len(), &shape));
        known.insert(shape, Arc::clone(&routine));
        Some(routine)
    }

    /// From now on every batch goes statement by statement.
    pub(super) fn give_up(&self, why: &tokio_postgres::Error) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(%why, "the server lets us make no functions: batches are sent statement by statement");
        }
    }
}

/// Whether the server counts the rows of `statement` without sending any.
fn touches_rows(statement: &Statement) -> bool {
    let sql = statement.sql.trim_start();
    ["INSERT ", "UPDATE ", "DELETE "].iter().any(|verb| sql.starts_with(verb)) && !sql.contains("RETURNING")
}

impl Routine {
    fn new(number: usize, shape: &Shape) -> Self {
        let name = format!("pg_temp.shop_batch_{number}");
        let mut types = vec![Type::INT8_ARRAY];
        let mut body = String::new();
        for (at, (sql, kinds)) in (1..).zip(shape) {
            // Writing into a string cannot fail.
            let _ = write!(
                body,
                "{};\nGET DIAGNOSTICS touched_ = ROW_COUNT;\nall_[{at}] := touched_;\n\
                 IF touched_ <> $1[{at}] AND $1[{at}] <> {ANY} THEN\n\
                 RAISE EXCEPTION USING ERRCODE = '{EXPECTATION}', MESSAGE = '{at}', DETAIL = touched_;\nEND IF;\n",
                renumbered(sql, types.len()),
            );
            types.extend(kinds.iter().map(|kind| cells::type_of(*kind)));
        }
        let list = |word: &dyn Fn(usize, &Type) -> String| {
            types.iter().enumerate().map(|(at, ty)| word(at, ty)).collect::<Vec<_>>().join(", ")
        };
        let taken =
            list(&|_, ty| if *ty == Type::INT8_ARRAY { "int8[]".to_owned() } else { ty.name().to_owned() });
        let given = list(&|at, _| format!("${}", at + 1));
        let definition = format!(
            "CREATE OR REPLACE FUNCTION {name}({taken}) RETURNS int8[] LANGUAGE plpgsql AS $shop_batch$\n\
             #variable_conflict use_column\n\
             DECLARE touched_ int8; all_ int8[];\nBEGIN\n{body}RETURN all_;\nEND\n$shop_batch$"
        );
        Self { definition, call: format!("SELECT {name}({given})"), types }
    }

    /// The call, prepared on `client`; makes the function there when it is not there yet.
    pub(super) async fn prepared(
        &self,
        client: &Client,
        routines: &Routines,
    ) -> Result<Option<Prepared>, tokio_postgres::Error> {
        match client.prepare_typed_cached(&self.call, &self.types).await {
            Ok(prepared) => return Ok(Some(prepared)),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_FUNCTION) => {}
            // The schema of temporary objects is made with the first of them.
            Err(error) if error.code() == Some(&SqlState::INVALID_SCHEMA_NAME) => {}
            Err(error) => return Err(error),
        }
        match client.batch_execute(&self.definition).await {
            Ok(()) => client.prepare_typed_cached(&self.call, &self.types).await.map(Some),
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                routines.give_up(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Runs `batch` as one transaction; answers once it is committed.
    pub(super) async fn call(
        &self,
        client: &Client,
        prepared: &Prepared,
        batch: &Batch,
    ) -> Result<Vec<u64>, tokio_postgres::Error> {
        let expected: Vec<i64> = batch
            .statements
            .iter()
            .map(|statement| match statement.expect {
                Expect::Any => ANY,
                Expect::Rows(rows) => i64::try_from(rows).unwrap_or(i64::MAX),
            })
            .collect();
        let bound: Vec<Bound<'_>> =
            batch.statements.iter().flat_map(|statement| &statement.params).map(Bound).collect();
        let mut given: Vec<&(dyn ToSql + Sync)> = Vec::with_capacity(bound.len() + 1);
        given.push(&expected);
        given.extend(bound.iter().map(|bound| bound as &(dyn ToSql + Sync)));
        // All of the answer: the commit's own outcome comes after the row.
        let rows = client.query(prepared, &given).await?;
        let touched: Vec<i64> = rows.first().map_or(Ok(Vec::new()), |row| row.try_get(0))?;
        Ok(touched.into_iter().map(|rows| u64::try_from(rows).unwrap_or(0)).collect())
    }
}

/// `sql` with `$1` as `$(1 + by)` and so on; what stands between quotes stays as it is.
fn renumbered(sql: &str, by: usize) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let mut rest = sql;
    let mut quoted = false;
    while let Some(at) = rest.find(['$', '\'']) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let digits = found[1..].bytes().take_while(u8::is_ascii_digit).count();
        let (mark, after) = found.split_at(1 + if found.starts_with('$') { digits } else { 0 });
        match mark[1..].parse::<usize>() {
            Ok(number) if !quoted => {
                let _ = write!(out, "${}", number + by);
            }
            _ => out.push_str(mark),
        }
        quoted ^= mark == "'";
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_through_and_text_is_left_alone() {
        assert_eq!(renumbered("SET a = $2, b = $12 WHERE c = $1", 10), "SET a = $12, b = $22 WHERE c = $11");
        assert_eq!(renumbered("SET a = 'it costs $1', b = $1", 1), "SET a = 'it costs $1', b = $2");
        assert_eq!(renumbered("SET a = 'it''s', b = $1 || '$'", 1), "SET a = 'it''s', b = $2 || '$'");
    }

    #[test]
    fn one_function_serves_every_batch_of_its_shape() {
        let batch = |rows: u64, key: &str| {
            let mut batch = Batch::new();
            batch.push(
                "a",
                Expect::Rows(rows),
                "UPDATE t SET n = $1 WHERE k = $2",
                vec![1.into(), key.into()],
            );
            batch
        };
        let routines = Routines::default();
        let first = routines.of(&batch(1, "a")).unwrap();
        assert!(Arc::ptr_eq(&first, &routines.of(&batch(2, "b")).unwrap()));
        let mut other = batch(1, "a");
        other.statements[0].params[0] = crate::storage::Value::Null(Kind::Text);
        assert!(!Arc::ptr_eq(&first, &routines.of(&other).unwrap()));
    }

    #[test]
    fn what_does_not_fit_goes_statement_by_statement() {
        let routines = Routines::default();
        let mut reads = Batch::new();
        reads.run("SELECT 1", vec![]);
        assert!(routines.of(&reads).is_none());
        let mut wide = Batch::new();
        wide.run("INSERT INTO t (n) VALUES ($1)", vec![1.into(); PARAMETERS_MAX + 1]);
        assert!(routines.of(&wide).is_none());
    }
}
