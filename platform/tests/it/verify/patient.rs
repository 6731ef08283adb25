//! A copy of a stopped shop's data that a test may break, by statements that ask nobody.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use platform::storage::{Db, EngineConfig};
use platform::verify::{Beside, Report, Statement};
use platform::vocabulary::{OrderId, Timestamp};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio_postgres::NoTls;
use uuid::Uuid;

use super::story::{self, Orders, Story, at_rest, journal_in, log_in};

/// A copy to be broken.
pub(super) struct Patient<'story> {
    pub(super) orders: &'story Orders,
    /// What the provider says.
    pub(super) statement: Statement,
    /// When the shop ended, about.
    pub(super) ended: Timestamp,
    engine: EngineConfig,
    folder: TempDir,
}

impl<'story> Patient<'story> {
    /// A copy of what `story` left behind.
    pub(super) async fn of(story: &'story Story) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let folder = tempfile::tempdir().expect("a folder");
        let engine = match &story.engine {
            EngineConfig::Sqlite { path } => {
                let copy = folder.path().join("shop.db");
                std::fs::copy(path, &copy).expect("a copy");
                EngineConfig::Sqlite { path: copy }
            }
            EngineConfig::Postgres { url, connections_max } => {
                let (server, name) = url.rsplit_once('/').expect("a database");
                let copy = format!("{name}_copy_{}", NEXT.fetch_add(1, Ordering::Relaxed));
                postgres(&format!("{server}/postgres"), &format!("CREATE DATABASE {copy} TEMPLATE {name}"))
                    .await;
                EngineConfig::Postgres { url: format!("{server}/{copy}"), connections_max: *connections_max }
            }
        };
        for file in [journal_in, log_in] {
            std::fs::copy(file(story.folder.path()), file(folder.path())).expect("a copy");
        }
        let statement = Statement::at_rest(&story.folder.path().join("fakepay")).expect("a statement");
        let mut patient = Self {
            orders: &story.orders,
            statement: statement.expect("there is one"),
            ended: Timestamp::UNIX_EPOCH,
            engine,
            folder,
        };
        patient.ended = patient.time("SELECT MAX(updated_at) AS found FROM order_sagas").await;
        patient
    }

    pub(super) fn journal(&self) -> PathBuf {
        journal_in(self.folder.path())
    }

    pub(super) fn log(&self) -> PathBuf {
        log_in(self.folder.path())
    }

    /// Runs `sql` against the data, past every check and every foreign key.
    pub(super) async fn run(&self, sql: &str) {
        self.either(sql, sql).await;
    }

    /// Runs the one for this engine.
    pub(super) async fn either(&self, on_sqlite: &str, on_postgres: &str) {
        match &self.engine {
            EngineConfig::Sqlite { path } => sqlite(path, on_sqlite),
            EngineConfig::Postgres { url, .. } => postgres(url, on_postgres).await,
        }
    }

    /// Takes every constraint off `table`.
    pub(super) async fn unguard(&self, table: &str) {
        let rebuilt = format!(
            "PRAGMA legacy_alter_table = ON; CREATE TABLE copied AS SELECT * FROM {table}; DROP TABLE {table};
             ALTER TABLE copied RENAME TO {table};"
        );
        let dropped = format!(
            "DO $$ DECLARE c text; BEGIN
               FOR c IN SELECT conname FROM pg_constraint WHERE conrelid = '{table}'::regclass LOOP
                 EXECUTE format('ALTER TABLE {table} DROP CONSTRAINT %I CASCADE', c);
               END LOOP; END $$"
        );
        self.either(&rebuilt, &dropped).await;
    }

    /// An id as this engine writes it.
    pub(super) fn id(&self, id: Uuid) -> String {
        match &self.engine {
            EngineConfig::Sqlite { .. } => format!("x'{}'", id.simple()),
            EngineConfig::Postgres { .. } => format!("'{id}'::uuid"),
        }
    }

    /// An order's id as this engine writes it.
    pub(super) fn order(&self, id: OrderId) -> String {
        self.id(id.uuid())
    }

    /// A moment as this engine writes it.
    pub(super) fn moment(&self, at: Timestamp) -> String {
        match &self.engine {
            EngineConfig::Sqlite { .. } => at.as_microsecond().to_string(),
            EngineConfig::Postgres { .. } => format!("'{at}'::timestamptz"),
        }
    }

    /// Ten minutes before the shop ended.
    pub(super) fn long_before(&self) -> String {
        let us = self.ended.as_microsecond() - 600_000_000;
        self.moment(Timestamp::from_microsecond(us).expect("a moment"))
    }

    /// The id that `sql` answers as `found`.
    pub(super) async fn find(&self, sql: &str) -> Uuid {
        self.row(sql).await.get("found").expect("an id")
    }

    /// The number that `sql` answers as `found`.
    pub(super) async fn number(&self, sql: &str) -> i64 {
        self.row(sql).await.get("found").expect("a number")
    }

    async fn time(&self, sql: &str) -> Timestamp {
        self.row(sql).await.get("found").expect("a moment")
    }

    async fn row(&self, sql: &str) -> platform::storage::Row {
        let db = Db::open_read_only(&self.engine).await.expect("the data");
        let row = db.read_one(sql, vec![]).await.expect("an answer").expect("a row");
        db.close().await;
        row
    }

    /// What verify says of the copy.
    pub(super) async fn verify(&self) -> Report {
        let statement = self.statement.clone();
        let told = move || -> futures_util::future::BoxFuture<'static, Result<Statement, String>> {
            let statement = statement.clone();
            Box::pin(async move { Ok(statement) })
        };
        let beside = Beside {
            statement: Some(("the statement".to_owned(), Arc::new(told))),
            ..story::beside(self.folder.path())
        };
        at_rest(&self.engine, beside).await.expect("a report")
    }
}

fn sqlite(path: &Path, sql: &str) {
    let connection = Connection::open(path).expect("the data");
    connection.pragma_update(None, "ignore_check_constraints", true).expect("no checks");
    connection.pragma_update(None, "foreign_keys", false).expect("no foreign keys");
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
}

async fn postgres(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    let driven = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    drop(client);
    driven.await.expect("a connection").ok();
}
