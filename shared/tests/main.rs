//! The integration tests of this crate, linked into one binary. `logs` has one of its own, because it
//! installs a log subscriber; `repository` is about the samples, the scripts and the documents.

pub mod claims;
pub mod faults;
pub mod foreign;
pub mod hello;
pub mod init;
pub mod input;
pub mod poison;
pub mod programs;
pub mod shutdown;
pub mod size_limit;
pub mod waiting;
pub mod workflows;
