//! The integration tests. They are one binary, because each further binary costs seconds and disk space.

#![allow(
    clippy::disallowed_macros,
    reason = "this file contains no workflow code"
)]

pub mod alerts;
pub mod endpoint;
pub mod promql;
pub mod replay;
pub mod workflow;
