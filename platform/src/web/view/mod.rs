//! What pages show: plain values that the templates read, and the words for them. Nothing here calls a
//! service; handlers fill these from the services' clients.

mod cart;
mod catalogue;
mod order;
mod order_words;
mod time;

pub use cart::{Cart, CartLine, Totals};
pub use catalogue::{Category, Filter, ProductCard, ProductDetail, StockHint, Variant};
#[cfg(test)]
pub(crate) use order::tests::order as order_for_tests;
pub use order::{Address, Badge, Notice, Order, OrderLine, OrderRow, Step, StepState};
pub use order_words::{Moment, STREAMED_EVENTS};
pub use time::{clock_words, date_words, moment_words};
