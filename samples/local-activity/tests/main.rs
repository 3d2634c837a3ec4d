//! The integration tests, linked into one binary: each binary more costs seconds and disk space.

pub mod replay;
pub mod timeouts;
pub mod workflow;
