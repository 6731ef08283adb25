//! The shop.

pub mod storage;
pub mod vocabulary;
