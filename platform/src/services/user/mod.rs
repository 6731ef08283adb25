//! Users: accounts, sign-ins, sessions, roles and addresses.

pub mod client;
