//! The integration tests, linked into one binary: each binary more costs seconds and disk space.

#![allow(clippy::disallowed_macros, reason = "no workflow code in here")]

pub mod replay;
pub mod workflow;
