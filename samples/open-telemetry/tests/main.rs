//! The integration tests. They are one binary, because each further binary costs seconds and disk space.

pub mod otlp;
pub mod outline;
pub mod replay;
pub mod workflow;
