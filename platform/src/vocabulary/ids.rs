//! Typed ids. `Id<kind::Order>` and `Id<kind::Cart>` are both a UUID and never each other.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// What an id names. Append only.
pub mod kind {
    /// A user's account.
    #[derive(Debug)]
    pub enum User {}
    /// A sign-in and its refresh tokens.
    #[derive(Debug)]
    pub enum Session {}
    /// An address in a user's book.
    #[derive(Debug)]
    pub enum Address {}
    /// A product of the catalogue.
    #[derive(Debug)]
    pub enum Product {}
    /// A cart; for guests the id is the key to it, so it is random (UUIDv4).
    #[derive(Debug)]
    pub enum Cart {}
    /// An order, and the saga that carries it.
    #[derive(Debug)]
    pub enum Order {}
    /// Units held for an order.
    #[derive(Debug)]
    pub enum Reservation {}
    /// A line of the stock ledger.
    #[derive(Debug)]
    pub enum Movement {}
    /// The payment of an order.
    #[derive(Debug)]
    pub enum Payment {}
    /// One call to the payment provider.
    #[derive(Debug)]
    pub enum Attempt {}
    /// Money given back.
    #[derive(Debug)]
    pub enum Refund {}
    /// A domain event.
    #[derive(Debug)]
    pub enum Event {}
    /// One message to one recipient over one channel.
    #[derive(Debug)]
    pub enum Delivery {}
}

/// The UUID of a thing of kind `K`.
pub struct Id<K> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

/// Names a user.
pub type UserId = Id<kind::User>;
/// Names a session.
pub type SessionId = Id<kind::Session>;
/// Names an address.
pub type AddressId = Id<kind::Address>;
/// Names a product.
pub type ProductId = Id<kind::Product>;
/// Names a cart.
pub type CartId = Id<kind::Cart>;
/// Names an order.
pub type OrderId = Id<kind::Order>;
/// Names a reservation.
pub type ReservationId = Id<kind::Reservation>;
/// Names a stock movement.
pub type MovementId = Id<kind::Movement>;
/// Names a payment.
pub type PaymentId = Id<kind::Payment>;
/// Names a provider call.
pub type AttemptId = Id<kind::Attempt>;
/// Names a refund.
pub type RefundId = Id<kind::Refund>;
/// Names an event.
pub type EventId = Id<kind::Event>;
/// Names a delivery.
pub type DeliveryId = Id<kind::Delivery>;

impl<K> Id<K> {
    /// Gives an existing UUID its kind.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self { uuid, kind: PhantomData }
    }

    /// The bare UUID.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.uuid
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}
impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid.fmt(f)
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid.fmt(f)
    }
}
impl<K> From<Uuid> for Id<K> {
    fn from(uuid: Uuid) -> Self {
        Self::from_uuid(uuid)
    }
}
impl<K> FromStr for Id<K> {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::from_uuid)
    }
}
impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.uuid.serialize(serializer)
    }
}
impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::from_uuid)
    }
}
