//! Runs the shop's services by themselves.
fn main() {}
