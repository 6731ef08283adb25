//! Data that an older binary wrote, under the tables of this one.

use platform::bus;
use platform::services::SERVICES;
use platform::storage::{Batch, Db, EngineConfig, Migration, StorageError};
use platform::testing::postgres;
use platform::vocabulary::Env;

/// The migrations by which the tables of a checkout became narrower.
const NARROWED: &str = "narrow";

fn all() -> Vec<Migration> {
    let services = SERVICES.iter().flat_map(|service| service.migrations);
    bus::MIGRATIONS.iter().chain(services).copied().collect()
}

/// An engine with the tables as they were before, and one order's rows in them.
async fn every_engine(check: impl AsyncFn(Db)) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = EngineConfig::Sqlite { path: folder.path().join("shop.db") };
    let postgres = postgres::database().await.map(|url| EngineConfig::Postgres { url, connections_max: 4 });
    for config in std::iter::once(sqlite).chain(postgres) {
        let db = Db::open(&config).await.unwrap();
        let before: Vec<Migration> =
            all().into_iter().filter(|migration| migration.name != NARROWED).collect();
        db.migrate(&before, &Env::system()).await.unwrap();
        db.write(rows(&Env::system())).await.unwrap();
        assert!(db.migrate(&all(), &Env::system()).await.unwrap() > 0);
        check(db.clone()).await;
        db.close().await;
    }
}

/// One row of each table that changes, and of those that belong to it.
fn rows(env: &Env) -> Batch {
    let (order, payment, delivery) = (env.uuid(), env.uuid(), env.uuid());
    let now = env.now();
    let mut batch = Batch::new();
    batch.one(
        "saga",
        "INSERT INTO order_sagas (id, subject, kind, version, state, step, attempt, next_at, epoch, params, log_n,
           created_at, updated_at)
         VALUES ($1, $1, 'checkout', 1, 'running', 'capture', 0, $2, 1, $3, 3, $2, $2)",
        vec![order.into(), now.into(), serde_json::json!({ "key": "k" }).into()],
    );
    batch.one(
        "payment",
        "INSERT INTO payments (id, order_id, amount, currency, status, authorized, captured, refunded, provider,
           version, told, created_at, updated_at)
         VALUES ($1, $2, 5, 'USD', 'captured', 5, 5, 0, 'fakepay', 1, 0, $3, $3)",
        vec![payment.into(), order.into(), now.into()],
    );
    for (n, state) in [(1i64, "done"), (2, "open")] {
        batch.one(
            "attempt",
            ATTEMPT,
            vec![
                env.uuid().into(),
                payment.into(),
                n.into(),
                format!("key {n}").into(),
                state.into(),
                now.into(),
            ],
        );
    }
    for (account, debit, credit) in [("provider_receivable", 5i64, 0i64), ("sales", 0, 5)] {
        batch.one(
            "ledger",
            "INSERT INTO payment_ledger (entry_id, tx_id, payment_id, account, debit, credit, currency, at)
             VALUES ($1, $2, $3, $4, $5, $6, 'USD', $7)",
            vec![
                env.uuid().into(),
                order.into(),
                payment.into(),
                account.into(),
                debit.into(),
                credit.into(),
                now.into(),
            ],
        );
    }
    batch.one(
        "reservation",
        "INSERT INTO product_reservations (order_id, state, expires_at, returns, created_at, changed_at)
         VALUES ($1, 'held', $2, 0, $2, $2)",
        vec![order.into(), now.into()],
    );
    batch.one(
        "delivery",
        "INSERT INTO notification_deliveries (id, event_id, channel, recipient, template, facts, order_id, state,
           next_at, created_at)
         VALUES ($1, $1, 'log', 'ada@example.com', 'order_confirmed', $4, $2, 'failed', $3, $3)",
        vec![delivery.into(), order.into(), now.into(), serde_json::json!({}).into()],
    );
    batch.one(
        "delivery's attempt",
        "INSERT INTO notification_attempts (delivery_id, n, at, reason, took_ms) VALUES ($1, 1, $2, 'away', 7)",
        vec![delivery.into(), now.into()],
    );
    batch
}

const ATTEMPT: &str =
    "INSERT INTO payment_attempts (id, payment_id, n, operation, act_key, idem_key, amount, state,
   tries, next_at, created_at, updated_at)
 VALUES ($1, $2, $3, 'capture', $4, $4, 5, $5, 0, $6, $6, $6)";

async fn text(db: &Db, sql: &str) -> String {
    db.read_one(sql, vec![]).await.unwrap().unwrap().get("found").unwrap()
}

async fn count(db: &Db, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) AS found FROM {table}");
    db.read_one(&sql, vec![]).await.unwrap().unwrap().get("found").unwrap()
}

async fn written(db: &Db, sql: &str) -> Result<u64, StorageError> {
    let mut batch = Batch::new();
    batch.run(sql.to_owned(), vec![]);
    Ok(db.write(batch).await?.iter().sum())
}

#[tokio::test]
async fn what_an_older_binary_wrote_is_there_after_the_tables_became_narrower() {
    every_engine(async |db| {
        assert_eq!(
            text(&db, "SELECT step AS found FROM order_sagas WHERE state = 'running'").await,
            "capture"
        );
        assert_eq!(text(&db, "SELECT idem_key AS found FROM payment_attempts WHERE n = 2").await, "key 2");
        assert_eq!(text(&db, "SELECT account AS found FROM payment_ledger WHERE credit = 5").await, "sales");
        assert_eq!(text(&db, "SELECT state AS found FROM product_reservations").await, "held");
        assert_eq!(
            text(&db, "SELECT template AS found FROM notification_deliveries").await,
            "order_confirmed"
        );
        assert_eq!(text(&db, "SELECT reason AS found FROM notification_attempts").await, "away");
        assert_eq!(count(&db, "product_reservation_lines").await, 0);
    })
    .await;
}

#[tokio::test]
async fn the_narrower_tables_refuse_what_the_wider_ones_refused() {
    every_engine(async |db| {
        for wrong in [
            "UPDATE order_sagas SET state = 'lost'",
            "UPDATE payment_attempts SET state = 'lost'",
            "UPDATE payment_attempts SET operation = 'steal'",
            "UPDATE payment_attempts SET state = 'open'",
            "UPDATE payment_attempts SET n = 1",
            "UPDATE payment_attempts SET idem_key = 'key 1'",
            "UPDATE payment_ledger SET debit = -1",
            "UPDATE product_reservations SET state = 'lost', expires_at = NULL",
            "UPDATE product_reservations SET state = 'pinned'",
            "UPDATE notification_deliveries SET state = 'lost'",
            "DELETE FROM payments",
        ] {
            let refused = written(&db, wrong).await.unwrap_err();
            assert!(matches!(refused, StorageError::Conflict { .. }), "{wrong}: {refused}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_attempts_of_a_delivery_still_go_with_it() {
    every_engine(async |db| {
        assert_eq!(written(&db, "DELETE FROM notification_deliveries").await, Ok(1));
        assert_eq!(count(&db, "notification_attempts").await, 0);
    })
    .await;
}
