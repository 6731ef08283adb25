//! The words every room shares: ids, money, time, events, who is asking.
//!
//! Nothing here knows a service, a socket or a database. Imports std, serde, uuid, jiff and rand only.

pub mod clock;
pub mod env;
pub mod events;
pub mod fate;
pub mod identity;
pub mod ids;
pub mod money;

pub use clock::{Clock, Timestamp};
pub use env::Env;
pub use events::{Event, Topic};
pub use fate::{Fate, Verdict};
pub use identity::{Identity, Role};
pub use ids::{
    AddressId, AttemptId, CartId, DeliveryId, EventId, Id, MovementId, OrderId, PaymentId, ProductId,
    RefundId, ReservationId, SessionId, UserId,
};
pub use money::{Currency, Money, MoneyError};
