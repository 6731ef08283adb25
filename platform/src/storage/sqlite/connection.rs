//! How a file is opened, and what its errors mean.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::storage::StorageError;

/// In KiB when negative, as SQLite wants it. The operating system caches the file too; this only saves a copy.
const READER_CACHE_KIB: i64 = -2_048;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A writer that was asked nothing for so long gives its pages back.
pub(super) const IDLE: Duration = Duration::from_secs(1);

/// A connection to the file at `path`.
pub(super) fn connect(path: &Path, extra: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | extra;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", READER_CACHE_KIB)?;
    // Else a statement whose parameter meets the condition of a partial index is prepared anew at every run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A checkpoint syncs the whole file, so it pays to let the log grow to 16 MiB first.
    connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(connection)
}

/// Gives back the pages that `connection` keeps: the operating system has them too. What is prepared stays.
pub(super) fn shrink(connection: &Connection) {
    if let Err(error) = connection.execute_batch("PRAGMA shrink_memory") {
        tracing::debug!(%error, "could not give memory back");
    }
}

/// A connection that cannot write, whatever it is asked.
pub(super) fn look(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    Ok(connection)
}

/// What `error` means to the caller; `statement` is whose fault a constraint is.
pub(super) fn failure(error: &rusqlite::Error, statement: Option<(usize, &str)>) -> StorageError {
    let why = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => {
            let (statement, name) = statement.unwrap_or((0, "commit"));
            StorageError::Conflict { statement, name: name.to_owned(), constraint: why }
        }
        Some(ErrorCode::DiskFull) => StorageError::Full(why),
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::PermissionDenied,
        ) => StorageError::Unavailable(why),
        _ => StorageError::Invalid(why),
    }
}

/// Whether the disk is at fault.
pub(super) fn is_io(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}
