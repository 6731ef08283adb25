//! The integration tests of the platform: one binary.

mod architecture;
