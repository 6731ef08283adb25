//! Rows in and out: the columns, and how they become what the rules speak of.

use serde_json::Value as Json;

use super::{NEW_ATTEMPT, NEW_PAYMENT};
use crate::services::payment::model::{Attempt, Operation, Record};
use crate::storage::{Batch, Row, StorageError};
use crate::vocabulary::{Money, PaymentId, Timestamp};

pub(super) const PAYMENT_COLUMNS: &str =
    "p.id, p.order_id, p.amount, p.currency, p.status, p.authorized, p.captured, p.refunded,
  p.provider, p.provider_reference, p.version, p.told, p.created_at, p.updated_at";
pub(super) const ATTEMPT_COLUMNS: &str =
    "a.id AS a_id, a.n, a.operation, a.act_key, a.idem_key, a.amount AS a_amount,
  a.payment_method, a.provider_reference AS a_reference, a.state, a.outcome, a.tries, a.next_at, a.failed_at,
  a.request_id, a.created_at AS a_created_at";

pub(super) fn insert_payment(batch: &mut Batch, record: &Record) {
    batch.one(
        NEW_PAYMENT,
        "INSERT INTO payments (id, order_id, amount, currency, status, authorized, captured, refunded, provider,
           provider_reference, version, told, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, 0, 0, 0, $6, $7, 1, 0, $8, $8)",
        vec![
            record.id.into(),
            record.order_id.into(),
            record.amount.amount.into(),
            record.amount.currency.into(),
            record.status.as_str().into(),
            record.provider.as_str().into(),
            record.reference.clone().into(),
            record.created_at.into(),
        ],
    );
}

pub(super) fn insert_attempt(batch: &mut Batch, attempt: &Attempt, now: Timestamp) {
    batch.one(
        NEW_ATTEMPT,
        "INSERT INTO payment_attempts (id, payment_id, n, operation, act_key, idem_key, amount, payment_method,
           provider_reference, state, tries, next_at, request_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'open', 0, $10, $11, $12, $12)",
        vec![
            attempt.id.into(),
            attempt.payment_id.into(),
            attempt.n.into(),
            attempt.operation.as_str().into(),
            attempt.act_key.as_str().into(),
            attempt.idem_key.as_str().into(),
            attempt.amount.into(),
            attempt.payment_method.clone().into(),
            attempt.reference.clone().into(),
            attempt.next_at.into(),
            attempt.request_id.clone().into(),
            now.into(),
        ],
    );
}

pub(super) fn rows_with_pending(rows: &[Row]) -> Result<Vec<(Record, Option<Operation>)>, StorageError> {
    rows.iter()
        .map(|row| {
            let pending = row.get::<Option<String>>("pending")?;
            Ok((record_of(row)?, pending.and_then(|word| word.parse().ok())))
        })
        .collect()
}

pub(in crate::services::payment) fn record_of(row: &Row) -> Result<Record, StorageError> {
    Ok(Record {
        id: row.get("id")?,
        order_id: row.get("order_id")?,
        amount: Money::new(row.get("amount")?, row.get("currency")?),
        status: word(row, "status")?,
        authorized: row.get("authorized")?,
        captured: row.get("captured")?,
        refunded: row.get("refunded")?,
        provider: row.get("provider")?,
        reference: row.get("provider_reference")?,
        version: row.get("version")?,
        told: row.get("told")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

pub(super) fn attempt_of(row: &Row, payment_id: PaymentId) -> Result<Attempt, StorageError> {
    let outcome: Option<Json> = row.get("outcome")?;
    Ok(Attempt {
        id: row.get("a_id")?,
        payment_id,
        n: row.get("n")?,
        operation: word(row, "operation")?,
        act_key: row.get("act_key")?,
        idem_key: row.get("idem_key")?,
        amount: row.get("a_amount")?,
        payment_method: row.get("payment_method")?,
        reference: row.get("a_reference")?,
        state: word(row, "state")?,
        outcome: outcome.and_then(|outcome| serde_json::from_value(outcome).ok()),
        tries: row.get("tries")?,
        next_at: row.get("next_at")?,
        failed_at: row.get("failed_at")?,
        request_id: row.get("request_id")?,
        created_at: row.get("a_created_at")?,
    })
}

fn word<T: std::str::FromStr>(row: &Row, column: &str) -> Result<T, StorageError> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| StorageError::Invalid(format!("column `{column}` holds `{text}`")))
}
