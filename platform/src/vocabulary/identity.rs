//! Who is asking.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::UserId;

/// What a user may do beyond buying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys.
    Customer,
    /// Helps customers: sees orders and users, cancels and refunds.
    Support,
    /// Keeps the catalogue, the stock and the promotions.
    Merchandiser,
    /// Runs the shop: sagas, queues, breakers, fault switches.
    Ops,
    /// May do everything.
    Admin,
}

impl Role {
    /// Every role, weakest first.
    pub const ALL: [Self; 5] = [Self::Customer, Self::Support, Self::Merchandiser, Self::Ops, Self::Admin];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Support => "support",
            Self::Merchandiser => "merchandiser",
            Self::Ops => "ops",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(())
    }
}

/// A user whose token was verified by the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user; nil for an operator, who has no account.
    pub user_id: UserId,
    /// The user's e-mail as it was when the token was made; an operator's name.
    pub email: String,
    /// What the user may do.
    pub roles: Vec<Role>,
}

impl Identity {
    /// Who it is in an audit: the user's id, or the name of an operator, who has no account.
    #[must_use]
    pub fn actor(&self) -> String {
        if self.user_id.uuid().is_nil() { self.email.clone() } else { self.user_id.to_string() }
    }

    /// Whether the user holds `role`, or is an admin.
    #[must_use]
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role) || self.roles.contains(&Role::Admin)
    }

    /// Whether the user holds any of `roles`, or is an admin.
    #[must_use]
    pub fn is_any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.is(*role))
    }
}
