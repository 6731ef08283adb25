//! What pages show beside what the services answer: the words, and small values that templates read. Nothing here
//! calls a service.

mod cart;
mod catalogue;
mod order;
mod order_words;
mod time;

pub use cart::{CartRow, CartView, Totals, gross, units};
pub use catalogue::{Filter, StockHint, first_in_stock, has_choices, stock};
#[cfg(test)]
pub(crate) use order::tests::order as order_for_tests;
pub use order::{Badge, Notice, OrderView, Step, StepState};
pub use order_words::{Moment, STREAMED_EVENTS};
pub use time::{clock_words, date_words, exact_words, microseconds, milliseconds, moment_words};
