//! Values in PostgreSQL's binary form, both ways.

use std::error::Error;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use crate::storage::{Kind, Row, StorageError, Value};
use crate::vocabulary::Timestamp;

/// PostgreSQL counts microseconds from 2000-01-01; this is that moment in ours.
const EPOCH_US: i64 = 946_684_800_000_000;

/// What the text of a `jsonb` is preceded by on the wire.
const JSONB_VERSION: u8 = 1;

/// The type that a kind is prepared with. Its own, always: PostgreSQL would guess `int4` for `$1 + 1`.
pub(super) fn type_of(kind: Kind) -> Type {
    match kind {
        Kind::Bool => Type::BOOL,
        Kind::Int => Type::INT8,
        Kind::Text => Type::TEXT,
        Kind::Bytes => Type::BYTEA,
        Kind::Uuid => Type::UUID,
        Kind::Time => Type::TIMESTAMPTZ,
        Kind::Json => Type::JSONB,
    }
}

/// A parameter on its way out; the statement was prepared with its kind.
#[derive(Debug)]
pub(super) struct Bound<'value>(pub(super) &'value Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Value::Null(_) => return Ok(IsNull::Yes),
            Value::Bool(truth) => truth.to_sql(ty, out)?,
            Value::Int(number) => number.to_sql(ty, out)?,
            Value::Text(text) => text.to_sql(ty, out)?,
            Value::Bytes(bytes) => bytes.to_sql(ty, out)?,
            Value::Uuid(uuid) => uuid.to_sql(ty, out)?,
            Value::Time(at) => {
                out.put_i64(at.as_microsecond() - EPOCH_US);
                IsNull::No
            }
            Value::Json(text) => {
                out.put_u8(JSONB_VERSION);
                out.put_slice(text.as_bytes());
                IsNull::No
            }
        };
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

struct Jsonb(String);

impl<'bytes> FromSql<'bytes> for Jsonb {
    fn from_sql(_: &Type, raw: &'bytes [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        match raw.split_first() {
            Some((&JSONB_VERSION, text)) => Ok(Self(std::str::from_utf8(text)?.to_owned())),
            _ => Err("a jsonb of a version that this driver does not know".into()),
        }
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }
}

struct Moment(Timestamp);

impl<'bytes> FromSql<'bytes> for Moment {
    fn from_sql(_: &Type, raw: &'bytes [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let us = i64::from_be_bytes(raw.try_into()?);
        let us = us.checked_add(EPOCH_US).ok_or("a time beyond the calendar")?;
        Ok(Self(Timestamp::from_microsecond(us)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

/// The rows of an answer.
pub(super) fn rows(answered: &[tokio_postgres::Row]) -> Result<Vec<Row>, StorageError> {
    let Some(first) = answered.first() else { return Ok(Vec::new()) };
    let columns: Arc<[String]> = first.columns().iter().map(|column| column.name().to_owned()).collect();
    answered
        .iter()
        .map(|row| {
            let values = (0..columns.len()).map(|at| cell(row, at)).collect::<Result<_, _>>()?;
            Ok(Row { columns: Arc::clone(&columns), values })
        })
        .collect()
}

fn cell(row: &tokio_postgres::Row, at: usize) -> Result<Value, StorageError> {
    let column = &row.columns()[at];
    match column.type_() {
        &Type::BOOL => typed(row, at, Kind::Bool, Value::Bool),
        &Type::INT8 => typed(row, at, Kind::Int, Value::Int),
        &Type::INT4 => typed(row, at, Kind::Int, |number: i32| Value::Int(number.into())),
        &Type::INT2 => typed(row, at, Kind::Int, |number: i16| Value::Int(number.into())),
        &Type::TEXT | &Type::VARCHAR | &Type::BPCHAR | &Type::NAME => typed(row, at, Kind::Text, Value::Text),
        &Type::BYTEA => typed(row, at, Kind::Bytes, Value::Bytes),
        &Type::UUID => typed(row, at, Kind::Uuid, |uuid: Uuid| Value::Uuid(uuid)),
        &Type::TIMESTAMPTZ => typed(row, at, Kind::Time, |moment: Moment| Value::Time(moment.0)),
        &Type::JSONB => typed(row, at, Kind::Json, |json: Jsonb| Value::Json(json.0)),
        other => Err(StorageError::Invalid(format!(
            "column `{}` is {other}, which no kind of value holds: cast it, CAST(… AS BIGINT) for a sum",
            column.name()
        ))),
    }
}

fn typed<'row, T: FromSql<'row>>(
    row: &'row tokio_postgres::Row,
    at: usize,
    kind: Kind,
    value: impl Fn(T) -> Value,
) -> Result<Value, StorageError> {
    match row.try_get::<_, Option<T>>(at) {
        Ok(cell) => Ok(cell.map_or(Value::Null(kind), value)),
        Err(error) => Err(StorageError::Invalid(error.to_string())),
    }
}
