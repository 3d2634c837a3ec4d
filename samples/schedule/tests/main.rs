//! The integration tests, linked into one binary: each binary more costs seconds and disk space.

pub mod commands;
pub mod ids;
pub mod replay;
pub mod workflow;
