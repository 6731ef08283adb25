//! The shop.

pub mod vocabulary;
