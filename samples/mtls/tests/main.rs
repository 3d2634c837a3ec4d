//! The integration tests. They are one binary, because each further binary costs seconds and disk space.

#![allow(
    clippy::disallowed_macros,
    reason = "this file contains no workflow code"
)]

pub mod replay;
pub mod tls;
pub mod workflow;
