//! An engine that only reads: for whoever looks at a shop's data from outside.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Batch, Dialect, Engine, Row, StorageError, StorageHealth, Value};

pub(super) struct ReadOnly {
    pub(super) inner: Arc<dyn Engine>,
}

fn refused<T>() -> Result<T, StorageError> {
    Err(StorageError::Invalid("the data was opened for reading only".to_owned()))
}

impl Engine for ReadOnly {
    fn write(&self, _: Batch) -> BoxFuture<'_, Result<Vec<u64>, StorageError>> {
        Box::pin(async { refused() })
    }

    fn read(&self, sql: &str, params: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, StorageError>> {
        self.inner.read(sql, params)
    }

    fn script(&self, _: String) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async { refused() })
    }

    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    fn health(&self) -> StorageHealth {
        self.inner.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
