//! The integration tests, linked into one binary: each binary more costs seconds and disk space.

pub mod messages;
pub mod poison;
pub mod replay;
pub mod survives;
pub mod waiting;
pub mod workflow;
