//! The integration tests. They are one binary, because each further binary costs seconds and disk space.

pub mod browser;
pub mod codec_server;
pub mod format;
pub mod keys;
pub mod plaintext;
pub mod replay;
pub mod rotation;
pub mod starter;
pub mod workflow;
