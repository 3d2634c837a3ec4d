//! The integration tests. They are one binary, because each further binary costs seconds and disk space.

#[cfg(unix)]
pub mod faults;
pub mod replay;
pub mod service;
pub mod workflow;
