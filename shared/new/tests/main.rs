//! The integration tests, linked into one binary: each binary more costs seconds and disk space.

#![allow(clippy::disallowed_methods, reason = "no workflow code in here")]

mod builds;
mod common;
mod coverage;
mod projects;
mod skeleton;
