//! The three words that say where an order stands. They are kept apart so that the product of states stays small.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Makes an enum of words that are the same in code, in the database and on the wire.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$why:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$why])* $variant,)+ }

        impl $name {
            /// Every one, in the order of an order's life.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word on the wire and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text { $($word => Ok(Self::$variant),)+ other => Err(format!("`{other}` is not a {}", stringify!($name))) }
            }
        }
    };
}

words! {
    /// Where an order stands.
    Status {
        /// Placed, nothing held yet.
        Pending = "pending",
        /// Stock is held.
        Reserved = "reserved",
        /// The provider was asked for the money.
        Authorizing = "authorizing",
        /// The provider is away; stock is held meanwhile.
        PaymentQueued = "payment_queued",
        /// The provider holds the money.
        Authorized = "authorized",
        /// Paid. From here on only forward, or back by a cancellation of its own.
        Confirmed = "confirmed",
        /// Being packed.
        Fulfilling = "fulfilling",
        /// On its way.
        Shipped = "shipped",
        /// Arrived.
        Delivered = "delivered",
        /// Arrived so long ago that nothing can come back.
        Closed = "closed",
        /// Everything that was done is being undone.
        Cancelling = "cancelling",
        /// Undone: no money, no stock.
        Cancelled = "cancelled",
        /// There was not enough stock.
        Rejected = "rejected",
        /// The payment did not come through in time, or the stock was not held long enough.
        Expired = "expired",
    }
}

impl Status {
    /// Whether nothing can follow any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Closed | Self::Cancelled | Self::Rejected | Self::Expired)
    }

    /// Whether the checkout is over, one way or the other: the buyer need not wait any longer.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        !matches!(
            self,
            Self::Pending
                | Self::Reserved
                | Self::Authorizing
                | Self::PaymentQueued
                | Self::Authorized
                | Self::Cancelling
        )
    }
}

words! {
    /// Where an order's money stands.
    PaymentStatus {
        /// Not asked for.
        None = "none",
        /// Waits for the provider to come back.
        Queued = "queued",
        /// Asked for; the answer never came. It is asked again until it is known.
        Unknown = "unknown",
        /// Held by the provider.
        Authorized = "authorized",
        /// Ours.
        Captured = "captured",
        /// Ours, and some of it given back.
        PartiallyRefunded = "partially_refunded",
        /// All given back.
        Refunded = "refunded",
        /// The hold was let go.
        Voided = "voided",
        /// Declined.
        Failed = "failed",
    }
}

words! {
    /// Where an order's parcel stands.
    FulfilmentStatus {
        /// Not begun.
        None = "none",
        /// Packed.
        Packed = "packed",
        /// On its way.
        Shipped = "shipped",
        /// Arrived.
        Delivered = "delivered",
        /// The customer wants to send some of it back.
        ReturnRequested = "return_requested",
        /// Some came back.
        PartiallyReturned = "partially_returned",
        /// All came back.
        Returned = "returned",
    }
}
