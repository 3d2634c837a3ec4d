//! The integration tests, linked into one binary: each binary more costs seconds and disk space.

mod builds;
mod common;
mod coverage;
mod projects;
mod skeleton;
