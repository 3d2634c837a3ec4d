//! This crate has no code. Only the features in its `Cargo.toml` matter.
