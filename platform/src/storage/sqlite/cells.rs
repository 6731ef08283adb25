//! Values as SQLite keeps them, both ways.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::storage::{Kind, Value};

/// To SQLite `$2` is a name, numbered by its first appearance: so each place is asked for its name.
pub(super) fn bind(prepared: &mut rusqlite::Statement<'_>, params: &[Value]) -> rusqlite::Result<()> {
    for place in 1..=prepared.parameter_count() {
        let number =
            prepared.parameter_name(place).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
        let value = number
            .and_then(|number| params.get(number.checked_sub(1)?))
            .ok_or(rusqlite::Error::InvalidParameterCount(params.len(), place))?;
        prepared.raw_bind_parameter(place, Bound(value))?;
    }
    Ok(())
}

struct Bound<'value>(&'value Value);

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
