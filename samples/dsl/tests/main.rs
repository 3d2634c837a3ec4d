//! The integration tests. They are one binary, because each further binary costs seconds and disk space.

pub mod document;
pub mod replay;
pub mod workflow;
