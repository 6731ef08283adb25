//! Values as SQLite keeps them, both ways.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::storage::{Kind, Value};

/// A value on its way into a statement.
pub(super) struct Bound<'value>(pub(super) &'value Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let borrowed = |value| Ok(ToSqlOutput::Borrowed(value));
        match self.0 {
            Value::Null(_) => borrowed(ValueRef::Null),
            Value::Bool(truth) => borrowed(ValueRef::Integer(i64::from(*truth))),
            Value::Int(number) => borrowed(ValueRef::Integer(*number)),
            Value::Text(text) | Value::Json(text) => borrowed(ValueRef::Text(text.as_bytes())),
            Value::Bytes(bytes) => borrowed(ValueRef::Blob(bytes)),
            Value::Uuid(uuid) => borrowed(ValueRef::Blob(uuid.as_bytes())),
            Value::Time(at) => borrowed(ValueRef::Integer(at.as_microsecond())),
        }
    }
}

pub(super) fn cell(value: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null(Kind::Text),
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(text) => Value::Text(std::str::from_utf8(text)?.to_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => {
            return Err(rusqlite::Error::InvalidColumnType(
                0,
                "a fraction, which no kind of value holds".to_owned(),
                rusqlite::types::Type::Real,
            ));
        }
    })
}
