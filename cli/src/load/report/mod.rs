//! A run that is over, as a page, a table or a sheet: made from its record and nothing else, so that a record of
//! years ago reads as one of today.

mod causes;
mod chart;
mod page;
mod pictures;
mod repeat;
mod rows;
#[cfg(test)]
pub(super) mod sample;

pub use page::html;
pub use rows::{markdown, seconds};
