//! The integration tests. They are one binary, because each further binary costs seconds and disk space.

mod builds;
mod common;
mod coverage;
mod projects;
mod skeleton;
