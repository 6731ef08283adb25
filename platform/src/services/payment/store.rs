//! The payment service's tables: what is read, and the batches that are written.

pub(super) mod rows;

use std::time::Duration;

use serde_json::{Value as Json, json};

use self::rows::{
    ATTEMPT_COLUMNS, PAYMENT_COLUMNS, attempt_of, insert_attempt, insert_payment, record_of,
    rows_with_pending,
};
use super::client::{PaymentResult, PaymentStatus};
use super::model::{Attempt, AttemptState, Intent, LedgerLine, Operation, Record, Settlement};
use crate::bus::{Bus, outbox};
use crate::http::Context;
use crate::storage::{Batch, Db, JsonText, StorageError, Value};
use crate::vocabulary::{
    AttemptId, Env, Event, EventId, Identity, Money, OrderId, PaymentId, RefundId, Timestamp, Topic, clock,
};

/// The outbox.
pub const OUTBOX: &str = "payment_outbox";
/// The statement that makes a payment: conflicts when the order has one.
pub const NEW_PAYMENT: &str = "payment";
/// The statement that makes an attempt: conflicts when somebody was faster.
pub const NEW_ATTEMPT: &str = "attempt";
/// The statement that ends an attempt: touches nothing when its outcome is known already.
pub const END_ATTEMPT: &str = "end_attempt";
/// The statement that changes a payment: touches nothing when somebody was faster.
pub const CHANGE_PAYMENT: &str = "change_payment";

/// A payment with its attempts, oldest first.
#[derive(Clone, Debug)]
pub struct Known {
    /// The payment.
    pub record: Record,
    /// Its attempts.
    pub attempts: Vec<Attempt>,
}

/// The tables. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) db: Db,
    bus: Bus,
    pub(super) env: Env,
}

impl Store {
    /// The tables in `db`.
    #[must_use]
    pub fn new(db: Db, bus: Bus, env: Env) -> Self {
        Self { db, bus, env }
    }

    /// The payment of an order and all its attempts.
    pub async fn known(&self, order_id: OrderId) -> Result<Option<Known>, StorageError> {
        let sql = format!(
            "SELECT {PAYMENT_COLUMNS}, {ATTEMPT_COLUMNS} FROM payments p
             LEFT JOIN payment_attempts a ON a.payment_id = p.id WHERE p.order_id = $1 ORDER BY a.n"
        );
        let rows = self.db.read(&sql, vec![order_id.into()]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let record = record_of(first)?;
        let mut attempts = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.get::<Option<AttemptId>>("a_id")?.is_some() {
                attempts.push(attempt_of(row, record.id)?);
            }
        }
        Ok(Some(Known { record, attempts }))
    }

    /// A payment that is asked for the first time, and its first attempt: the intent.
    pub async fn begin_payment(&self, record: &Record, attempt: &Attempt) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        insert_payment(&mut batch, record);
        insert_attempt(&mut batch, attempt, self.env.now());
        self.db.write(batch).await.map(drop)
    }

    /// A payment that was let go before it was.
    pub async fn insert_tombstone(&self, record: &Record) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        insert_payment(&mut batch, record);
        self.db.write(batch).await.map(drop)
    }

    /// Lets a payment go that has never held anything.
    pub async fn void_unheld(&self, record: &Record) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        let voided = Record { status: PaymentStatus::Voided, ..record.clone() };
        self.update_payment(&mut batch, record, &voided);
        self.db.write(batch).await.map(drop)
    }

    /// Another attempt of a payment: the intent. `record` changes with it when it starts over after a decline.
    pub async fn begin_attempt(&self, record: &Record, attempt: &Attempt) -> Result<Record, StorageError> {
        let mut batch = Batch::new();
        let mut after = record.clone();
        insert_attempt(&mut batch, attempt, self.env.now());
        if attempt.operation == Operation::Refund {
            self.insert_refund(&mut batch, record, attempt);
        }
        if attempt.operation == Operation::Authorize && record.status == PaymentStatus::Failed {
            let amount = Money::new(attempt.amount, record.amount.currency);
            let pending = Record { status: PaymentStatus::Pending, amount, ..record.clone() };
            after = self.update_payment(&mut batch, record, &pending);
        }
        self.db.write(batch).await?;
        Ok(after)
    }

    /// An attempt that never left is sent after all.
    pub async fn reopen(&self, attempt: &Attempt, next_at: Timestamp) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        batch.one(
            NEW_ATTEMPT,
            "UPDATE payment_attempts SET state = 'open', next_at = $3, updated_at = $4
             WHERE payment_id = $1 AND n = $2 AND state = 'unsent'",
            vec![attempt.payment_id.into(), attempt.n.into(), next_at.into(), self.env.now().into()],
        );
        self.db.write(batch).await.map(drop)
    }

    /// What a provider's answer came to: the outcome. `tell` is whether anybody needs an event to hear of it.
    pub async fn settle(
        &self,
        before: &Record,
        attempt: &Attempt,
        settlement: &Settlement,
        tell: bool,
    ) -> Result<Record, StorageError> {
        let mut batch = Batch::new();
        let now = self.env.now();
        let outcome = settlement.result.is_final().then_some(&settlement.result);
        // A lookup is looked at soon; what never left waits for its caller.
        batch.one(
            END_ATTEMPT,
            "UPDATE payment_attempts SET state = $3, outcome = $4, failed_at = $5, next_at = $6, updated_at = $6
             WHERE payment_id = $1 AND n = $2 AND state IN ('open', 'lookup')",
            vec![
                attempt.payment_id.into(),
                attempt.n.into(),
                settlement.state.as_str().into(),
                outcome.map(JsonText::of).into(),
                settlement.failed_at.into(),
                now.into(),
            ],
        );
        let mut after = settlement.record.clone();
        let event = settlement.event.filter(|_| tell);
        after.told += i64::from(event.is_some());
        if after != *before {
            after = self.update_payment(&mut batch, before, &after);
        }
        self.insert_ledger(&mut batch, &after, &settlement.ledger, now);
        if attempt.operation == Operation::Refund && settlement.result.is_final() {
            let state = if settlement.state == AttemptState::Done { "succeeded" } else { "failed" };
            batch.run(
                "UPDATE payment_refunds SET state = $2, updated_at = $3 WHERE act_key = $1",
                vec![attempt.act_key.as_str().into(), state.into(), now.into()],
            );
        }
        if let Some(follow_up) = &settlement.follow_up {
            let mut next =
                self.attempt(&after, follow_up.clone(), Duration::ZERO, attempt.request_id.clone());
            next.tries = 1;
            insert_attempt(&mut batch, &next, now);
        }
        if let Some(kind) = event {
            self.tell(&mut batch, &after, attempt, kind, &settlement.result);
        }
        self.db.write(batch).await?;
        if event.is_some() {
            self.bus.wake(Topic::Payment);
        }
        Ok(after)
    }

    /// The act goes on under another key: nothing happened under the old one. Answers the new attempt.
    pub async fn supersede(
        &self,
        record: &Record,
        attempt: &Attempt,
        intent: Intent,
    ) -> Result<Attempt, StorageError> {
        let mut batch = Batch::new();
        let now = self.env.now();
        batch.one(
            END_ATTEMPT,
            "UPDATE payment_attempts SET state = 'superseded', updated_at = $3
             WHERE payment_id = $1 AND n = $2 AND state IN ('open', 'lookup')",
            vec![attempt.payment_id.into(), attempt.n.into(), now.into()],
        );
        let next = self.attempt(record, intent, Duration::ZERO, attempt.request_id.clone());
        insert_attempt(&mut batch, &next, now);
        self.db.write(batch).await?;
        Ok(next)
    }

    /// An attempt row for `intent`; the resolver takes it up after `patience` if nobody settled it.
    #[must_use]
    pub fn attempt(
        &self,
        record: &Record,
        intent: Intent,
        patience: Duration,
        request_id: Option<String>,
    ) -> Attempt {
        let now = self.env.now();
        Attempt {
            id: self.env.id(),
            payment_id: record.id,
            n: intent.n,
            operation: intent.operation,
            act_key: intent.act_key,
            idem_key: intent.idem_key,
            amount: intent.amount,
            payment_method: intent.payment_method,
            reference: intent.reference,
            state: AttemptState::Open,
            outcome: None,
            tries: 0,
            next_at: clock::add(now, patience),
            failed_at: None,
            request_id,
            created_at: now,
        }
    }

    /// Orders with an attempt that is due, oldest first, and when it is due next: (order, attempt, tries).
    pub async fn due(&self, limit: usize) -> Result<Vec<(OrderId, Attempt)>, StorageError> {
        let sql = format!(
            "SELECT p.id, p.order_id, {ATTEMPT_COLUMNS} FROM payment_attempts a JOIN payments p ON p.id = a.payment_id
             WHERE a.state IN ('open', 'lookup') AND a.next_at <= $1 ORDER BY a.next_at LIMIT $2"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.db.read(&sql, vec![self.env.now().into(), limit.into()]).await?;
        rows.iter().map(|row| Ok((row.get("order_id")?, attempt_of(row, row.get("id")?)?))).collect()
    }

    /// Takes an attempt up for one more try, unless another process was faster.
    pub async fn take_up(&self, attempt: &Attempt, next_at: Timestamp) -> Result<bool, StorageError> {
        let mut batch = Batch::new();
        batch.one(
            "take_up",
            "UPDATE payment_attempts SET tries = tries + 1, next_at = $4
             WHERE payment_id = $1 AND n = $2 AND tries = $3 AND state IN ('open', 'lookup')",
            vec![attempt.payment_id.into(), attempt.n.into(), attempt.tries.into(), next_at.into()],
        );
        match self.db.write(batch).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_expectation("take_up") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says when an attempt that is still unknown is looked at next.
    pub async fn postpone(&self, attempt: &Attempt, next_at: Timestamp) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        batch.run(
            "UPDATE payment_attempts SET next_at = $3 WHERE payment_id = $1 AND n = $2 AND state IN ('open', 'lookup')",
            vec![attempt.payment_id.into(), attempt.n.into(), next_at.into()],
        );
        self.db.write(batch).await.map(drop)
    }

    /// Makes every unknown attempt due now: the provider is back.
    pub async fn hurry(&self) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        batch.run(
            "UPDATE payment_attempts SET next_at = $1 WHERE state IN ('open', 'lookup') AND next_at > $1",
            vec![self.env.now().into()],
        );
        self.db.write(batch).await.map(drop)
    }

    /// Tells all services that a provider's breaker opened or closed.
    pub async fn tell_of_provider(&self, kind: &str, breaker: &str) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        // Each is a story of its own: there is no payment that it belongs to.
        let event = Event {
            id: self.env.id(),
            topic: Topic::Payment,
            kind: kind.to_owned(),
            aggregate: self.env.uuid(),
            aggregate_seq: 1,
            at: self.env.now(),
            request_id: None,
            traceparent: None,
            data: json!({ "breaker": breaker }),
        };
        outbox::append(&mut batch, OUTBOX, &event);
        self.db.write(batch).await?;
        self.bus.wake(Topic::Payment);
        Ok(())
    }

    /// Payments, newest first, from before `before`.
    pub async fn list(
        &self,
        status: Option<PaymentStatus>,
        before: Option<PaymentId>,
        limit: usize,
    ) -> Result<Vec<(Record, Option<Operation>)>, StorageError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut params: Vec<Value> = vec![limit.into()];
        let mut wanted = String::from("1 = 1");
        for (column, value) in
            [("p.status =", status.map(|status| status.as_str().into())), ("p.id <", before.map(Value::from))]
        {
            if let Some(value) = value {
                params.push(value);
                wanted.push_str(&format!(" AND {column} ${}", params.len()));
            }
        }
        let sql = format!(
            "SELECT {PAYMENT_COLUMNS}, a.operation AS pending FROM payments p
             LEFT JOIN payment_attempts a ON a.payment_id = p.id AND a.state IN ('open', 'lookup')
             WHERE {wanted} ORDER BY p.id DESC LIMIT $1"
        );
        rows_with_pending(&self.db.read(&sql, params).await?)
    }

    /// Payments made at or after `since`, oldest first, from after `after`.
    pub async fn since(
        &self,
        since: Timestamp,
        after: Option<PaymentId>,
        limit: usize,
    ) -> Result<Vec<(Record, Option<Operation>)>, StorageError> {
        let sql = format!(
            "SELECT {PAYMENT_COLUMNS}, a.operation AS pending FROM payments p
             LEFT JOIN payment_attempts a ON a.payment_id = p.id AND a.state IN ('open', 'lookup')
             WHERE p.created_at >= $1 AND p.id > $2 ORDER BY p.id LIMIT $3"
        );
        let after = after.unwrap_or(PaymentId::from_uuid(uuid::Uuid::nil()));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        rows_with_pending(&self.db.read(&sql, vec![since.into(), after.into(), limit.into()]).await?)
    }

    /// The breakers that a person holds open: (name, reason).
    pub async fn held_breakers(&self) -> Result<Vec<(String, String)>, StorageError> {
        let rows = self.db.read("SELECT name, reason FROM payment_breakers WHERE held_open", vec![]).await?;
        rows.iter().map(|row| Ok((row.get("name")?, row.get("reason")?))).collect()
    }

    /// A person opens or closes a breaker: the state that outlives the process, and the audit.
    pub async fn turn_breaker(
        &self,
        context: &Context,
        name: &str,
        held_open: bool,
        reason: &str,
        before: &str,
    ) -> Result<(), StorageError> {
        let now = self.env.now();
        let actor = context.identity.as_deref().map_or_else(|| "shop".to_owned(), Identity::actor);
        let mut batch = Batch::new();
        batch.run(
            "INSERT INTO payment_breakers (name, held_open, reason, actor, at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name) DO UPDATE SET held_open = excluded.held_open, reason = excluded.reason,
               actor = excluded.actor, at = excluded.at",
            vec![name.into(), held_open.into(), reason.into(), actor.as_str().into(), now.into()],
        );
        let after = if held_open { "open" } else { "closed" };
        batch.one(
            "audit",
            "INSERT INTO payment_audit (id, at, actor, action, subject, before, after, request_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            vec![
                self.env.uuid().into(),
                now.into(),
                actor.into(),
                (if held_open { "breaker_opened" } else { "breaker_closed" }).into(),
                name.into(),
                json!({ "state": before }).into(),
                json!({ "state": after, "reason": reason }).into(),
                (&*context.request_id).into(),
            ],
        );
        self.db.write(batch).await.map(drop)
    }

    fn update_payment(&self, batch: &mut Batch, before: &Record, after: &Record) -> Record {
        let after = Record { version: before.version + 1, updated_at: self.env.now(), ..after.clone() };
        batch.one(
            CHANGE_PAYMENT,
            "UPDATE payments SET status = $3, authorized = $4, captured = $5, refunded = $6, provider_reference = $7,
               amount = $8, told = $9, version = version + 1, updated_at = $10 WHERE id = $1 AND version = $2",
            vec![
                after.id.into(),
                before.version.into(),
                after.status.as_str().into(),
                after.authorized.into(),
                after.captured.into(),
                after.refunded.into(),
                after.reference.clone().into(),
                after.amount.amount.into(),
                after.told.into(),
                after.updated_at.into(),
            ],
        );
        after
    }

    fn insert_ledger(&self, batch: &mut Batch, record: &Record, lines: &[LedgerLine], now: Timestamp) {
        let tx_id = self.env.uuid();
        let rows = lines
            .iter()
            .map(|line| {
                vec![
                    self.env.uuid().into(),
                    tx_id.into(),
                    record.id.into(),
                    line.account.into(),
                    line.debit.into(),
                    line.credit.into(),
                    record.amount.currency.into(),
                    now.into(),
                ]
            })
            .collect();
        batch.insert_many(
            "INSERT INTO payment_ledger (entry_id, tx_id, payment_id, account, debit, credit, currency, at)",
            rows,
            "",
        );
    }

    fn insert_refund(&self, batch: &mut Batch, record: &Record, attempt: &Attempt) {
        let id: RefundId = self.env.id();
        let now = self.env.now();
        batch.run(
            "INSERT INTO payment_refunds (id, payment_id, amount, state, act_key, created_at, updated_at)
             VALUES ($1, $2, $3, 'pending', $4, $5, $5) ON CONFLICT (act_key) DO NOTHING",
            vec![
                id.into(),
                record.id.into(),
                attempt.amount.into(),
                attempt.act_key.as_str().into(),
                now.into(),
            ],
        );
    }

    fn tell(
        &self,
        batch: &mut Batch,
        record: &Record,
        attempt: &Attempt,
        kind: &str,
        result: &PaymentResult,
    ) {
        let id: EventId = self.env.id();
        let amount = Money::new(attempt.amount, record.amount.currency);
        let mut data: Json = json!({
            "order_id": record.order_id,
            "payment_id": record.id,
            "amount": amount,
            "key": attempt.act_key,
        });
        if let PaymentResult::Declined { code, message } = result {
            data["code"] = code.as_str().into();
            data["message"] = message.as_str().into();
        }
        let event = Event {
            id,
            topic: Topic::Payment,
            kind: kind.to_owned(),
            aggregate: record.order_id.uuid(),
            aggregate_seq: record.told,
            at: self.env.now(),
            request_id: attempt.request_id.clone(),
            traceparent: None,
            data,
        };
        outbox::append(batch, OUTBOX, &event);
    }
}
