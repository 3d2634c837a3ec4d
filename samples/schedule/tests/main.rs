//! The integration tests. They are one binary, because each further binary costs seconds and disk space.

pub mod commands;
pub mod ids;
pub mod replay;
pub mod workflow;
