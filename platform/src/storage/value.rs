//! What goes into a statement and what comes out of a read.

use std::sync::Arc;

use uuid::Uuid;

use super::StorageError;
use crate::vocabulary::{Currency, Id, Timestamp};

/// The type of a value, so that a NULL too can be prepared with its own type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `boolean`
    Bool,
    /// `bigint`
    Int,
    /// `text`
    Text,
    /// `bytea`
    Bytes,
    /// `uuid`
    Uuid,
    /// `timestamptz`
    Time,
    /// `jsonb`
    Json,
}

/// A typed parameter or cell. SQLite keeps a uuid as 16 bytes, a time as microseconds since the epoch,
/// a boolean as 0 or 1, JSON as text; PostgreSQL keeps each in its native type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL of a kind.
    Null(Kind),
    /// A truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A UUID.
    Uuid(Uuid),
    /// A moment.
    Time(Timestamp),
    /// A JSON object, as text: it is written once, by whoever has the object, and read once.
    Json(String),
}

impl Value {
    /// The value's kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Null(kind) => *kind,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Text(_) => Kind::Text,
            Self::Bytes(_) => Kind::Bytes,
            Self::Uuid(_) => Kind::Uuid,
            Self::Time(_) => Kind::Time,
            Self::Json(_) => Kind::Json,
        }
    }
}

/// A JSON object that is only passed on: nobody on the way needs to know what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(pub String);

impl JsonText {
    /// `object` as text. What cannot be written as JSON becomes an empty object.
    #[must_use]
    pub fn of(object: &impl serde::Serialize) -> Self {
        Self(serde_json::to_string(object).unwrap_or_else(|_| "{}".to_owned()))
    }
}

/// A Rust type that stands for one kind of cell, both ways.
pub trait FromValue: Sized {
    /// The kind it is stored as.
    const KIND: Kind;
    /// Reads a cell; `None` when the cell holds something else (or NULL).
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for bool {
    const KIND: Kind = Kind::Bool;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(truth) => Some(*truth),
            Value::Int(number) => Some(*number != 0),
            _ => None,
        }
    }
}
impl FromValue for i64 {
    const KIND: Kind = Kind::Int;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }
}
impl FromValue for String {
    const KIND: Kind = Kind::Text;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}
impl FromValue for Vec<u8> {
    const KIND: Kind = Kind::Bytes;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}
impl FromValue for Uuid {
    const KIND: Kind = Kind::Uuid;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Uuid(uuid) => Some(*uuid),
            Value::Bytes(bytes) => Self::from_slice(bytes).ok(),
            _ => None,
        }
    }
}
impl<K> FromValue for Id<K> {
    const KIND: Kind = Kind::Uuid;
    fn from_value(value: &Value) -> Option<Self> {
        Uuid::from_value(value).map(Self::from_uuid)
    }
}
impl FromValue for Timestamp {
    const KIND: Kind = Kind::Time;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Time(at) => Some(*at),
            Value::Int(us) => Self::from_microsecond(*us).ok(),
            _ => None,
        }
    }
}
impl FromValue for serde_json::Value {
    const KIND: Kind = Kind::Json;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Json(text) | Value::Text(text) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }
}
impl FromValue for JsonText {
    const KIND: Kind = Kind::Json;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Json(text) | Value::Text(text) => Some(Self(text.clone())),
            _ => None,
        }
    }
}
impl FromValue for Currency {
    const KIND: Kind = Kind::Text;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}
impl<T: FromValue> FromValue for Option<T> {
    const KIND: Kind = T::KIND;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null(_) => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}
impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}
impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}
impl From<Uuid> for Value {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}
impl<K> From<Id<K>> for Value {
    fn from(id: Id<K>) -> Self {
        Self::Uuid(id.uuid())
    }
}
impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Time(at)
    }
}
impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        Self::Json(json.to_string())
    }
}
impl From<JsonText> for Value {
    fn from(json: JsonText) -> Self {
        Self::Json(json.0)
    }
}
impl From<Currency> for Value {
    fn from(currency: Currency) -> Self {
        Self::Text(currency.as_str().to_owned())
    }
}
impl<T: Into<Self> + FromValue> From<Option<T>> for Value {
    fn from(option: Option<T>) -> Self {
        option.map_or(Self::Null(T::KIND), Into::into)
    }
}

/// One row of an answer.
#[derive(Clone, Debug)]
pub struct Row {
    /// The columns' names, shared by all rows of an answer.
    pub columns: Arc<[String]>,
    /// The cells, in the columns' order.
    pub values: Vec<Value>,
}

impl Row {
    /// The cell in `column`, as `T`. A missing column or another kind is [`StorageError::Invalid`]: a bug in the query.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T, StorageError> {
        let cell = self
            .columns
            .iter()
            .position(|name| name == column)
            .and_then(|at| self.values.get(at))
            .ok_or_else(|| StorageError::Invalid(format!("the answer has no column `{column}`")))?;
        T::from_value(cell).ok_or_else(|| {
            StorageError::Invalid(format!("column `{column}` holds {cell:?}, wanted {:?}", T::KIND))
        })
    }
}
