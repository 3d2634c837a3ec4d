//! The integration tests of this crate, in one binary. `logs` is a binary of its own, because it installs a log
//! subscriber. `repository` is another one, which tests the samples, the scripts and the documents.

pub mod claims;
pub mod faults;
pub mod foreign;
pub mod handlers;
pub mod hello;
pub mod init;
pub mod input;
pub mod poison;
pub mod programs;
pub mod shutdown;
pub mod size_limit;
pub mod waiting;
pub mod workflows;
