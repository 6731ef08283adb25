//! Migrations: per service, forward only, each in its own transaction with the row that remembers it.

use sha2::{Digest, Sha256};

use super::{Db, Dialect, StorageError};
use crate::vocabulary::Env;

/// One step of one service's tables. `sql` is run on both engines; `sqlite` or `postgres` after it on that engine.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Whose tables.
    pub service: &'static str,
    /// Counts from 1 within the service, without gaps.
    pub version: i64,
    /// What it does, as in the file's name.
    pub name: &'static str,
    /// The text for both engines.
    pub sql: &'static str,
    /// What only SQLite needs (full-text tables).
    pub sqlite: &'static str,
    /// What only PostgreSQL needs.
    pub postgres: &'static str,
}

impl Migration {
    fn script(&self, dialect: Dialect) -> String {
        let own = match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        };
        format!("{}\n{own}", self.sql)
    }

    fn digest(&self, dialect: Dialect) -> String {
        Sha256::digest(self.script(dialect)).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS shop_migrations (
  service text NOT NULL, version bigint NOT NULL, name text NOT NULL, digest text NOT NULL,
  applied_at timestamptz NOT NULL, PRIMARY KEY (service, version));";

/// The name under which engines report what a script violated.
pub const CLAIMED: &str = "script";

/// What a binary of before does with tables that a newer one brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Newer {
    /// It refuses them.
    Refused,
    /// It works with them, unless something was taken away: versions run side by side while one replaces the other.
    Expanded,
}

/// A migration whose name begins so takes away what older binaries need.
pub const CONTRACT: &str = "contract_";

/// Runs what has not run yet, in the list's order. Data newer than `all` knows, or a migration that was edited
/// after it ran, is refused with [`StorageError::Schema`].
pub(super) async fn migrate(db: &Db, all: &[Migration], env: &Env) -> Result<usize, StorageError> {
    db.script(TABLE.to_owned()).await?;
    let mut ran = 0;
    for migration in pending(db, all, Newer::Refused).await? {
        let digest = migration.digest(db.dialect());
        match apply(db, migration, &digest, env).await {
            Ok(()) => ran += 1,
            Err(error) if error.is_conflict(CLAIMED) || matches!(error, StorageError::Unknown(_)) => {
                // Another process was faster, or the answer was lost: it ran, or this is a real failure.
                confirm(db, migration, &digest, error).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ran)
}

/// How many of `all` have not run yet; writes nothing. Tables that a newer binary added to are fine here, as long as
/// it took nothing away ([`CONTRACT`]); tables that it changed under an old name are not.
pub(super) async fn missing(db: &Db, all: &[Migration]) -> Result<usize, StorageError> {
    let sql = match db.dialect() {
        Dialect::Sqlite => "SELECT COUNT(*) AS n FROM sqlite_master WHERE name = 'shop_migrations'",
        Dialect::Postgres => "SELECT COUNT(*) AS n FROM pg_class WHERE oid = to_regclass('shop_migrations')",
    };
    let found = db.read_one(sql, vec![]).await?;
    if found.map_or(Ok(0), |row| row.get::<i64>("n"))? == 0 {
        return Ok(all.len());
    }
    Ok(pending(db, all, Newer::Expanded).await?.len())
}

/// What of `all` has not run yet, in its order.
async fn pending<'all>(
    db: &Db,
    all: &'all [Migration],
    newer: Newer,
) -> Result<Vec<&'all Migration>, StorageError> {
    let rows = db.read("SELECT service, version, name, digest FROM shop_migrations", vec![]).await?;
    let mut applied = std::collections::HashMap::new();
    for row in rows {
        let (service, version) = (row.get::<String>("service")?, row.get::<i64>("version")?);
        let is_known = all.iter().any(|known| known.service == service && known.version == version);
        let may_stay = newer == Newer::Expanded && !row.get::<String>("name")?.starts_with(CONTRACT);
        if !is_known && !may_stay {
            return Err(StorageError::Schema(format!(
                "the data has migration {version} of service `{service}`, which this binary does not know: it was written by a newer one"
            )));
        }
        applied.insert((service, version), row.get::<String>("digest")?);
    }
    let mut pending = Vec::new();
    for migration in all {
        match applied.get(&(migration.service.to_owned(), migration.version)) {
            Some(before) if *before == migration.digest(db.dialect()) => {}
            Some(_) => {
                return Err(StorageError::Schema(format!(
                    "migration {}/{:04}_{} was changed after it ran",
                    migration.service, migration.version, migration.name
                )));
            }
            None => pending.push(migration),
        }
    }
    Ok(pending)
}

/// The script and the row that remembers it are one transaction, so a crash between them cannot happen. The row
/// comes first: of two processes that migrate at once the second waits for the first and then conflicts.
async fn apply(db: &Db, migration: &Migration, digest: &str, env: &Env) -> Result<(), StorageError> {
    // A script runs without parameters; the values here are our own constants and a time, never a user's.
    let at = match db.dialect() {
        Dialect::Sqlite => env.now().as_microsecond().to_string(),
        Dialect::Postgres => format!("'{}'", env.now()),
    };
    let script = format!(
        "INSERT INTO shop_migrations (service, version, name, digest, applied_at) VALUES ('{}', {}, '{}', '{digest}', {at});\n{}",
        migration.service,
        migration.version,
        migration.name,
        migration.script(db.dialect()),
    );
    db.script(script).await
}

async fn confirm(
    db: &Db,
    migration: &Migration,
    digest: &str,
    failure: StorageError,
) -> Result<(), StorageError> {
    let row = db
        .read_one(
            "SELECT digest FROM shop_migrations WHERE service = $1 AND version = $2",
            vec![migration.service.into(), migration.version.into()],
        )
        .await?;
    match row {
        Some(row) if row.get::<String>("digest")? == digest => Ok(()),
        _ => Err(failure),
    }
}

/// Which migrations ran, as (service, version).
pub async fn applied(db: &Db) -> Result<Vec<(String, i64)>, StorageError> {
    let rows =
        db.read("SELECT service, version FROM shop_migrations ORDER BY service, version", vec![]).await?;
    rows.iter().map(|row| Ok((row.get("service")?, row.get("version")?))).collect()
}
