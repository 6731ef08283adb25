//! Outside systems that the shop is tested against, well enough made that the real client libraries accept them.

pub mod fakepay;
