//! Logs and the SDK's runtime, each in one call.

use anyhow::Context;
use std::io::IsTerminal;
use temporalio_sdk::Runtime;
use tracing_subscriber::EnvFilter;

/// Ours at `info`, the SDK's own at `warn`, unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info,temporalio_client=warn,temporalio_common=warn,temporalio_sdk=warn,temporalio_sdk_core=warn";

/// Sends logs to stderr: without a subscriber the SDK logs nothing at all, not even why a
/// workflow task fails.
///
/// # Errors
/// If `RUST_LOG` is not a valid filter, or if a subscriber has been installed already.
pub fn init_logs() -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter)
            .with_context(|| format!("RUST_LOG is not a valid filter: `{filter}`"))?,
        _ => EnvFilter::new(DEFAULT_FILTER),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot install the log subscriber: {error}"))
}

/// Logs by [`init_logs`], then the SDK's runtime on the current tokio runtime.
///
/// # Errors
/// As [`init_logs`]; also when called outside a tokio runtime.
pub fn init_telemetry() -> anyhow::Result<Runtime> {
    // Before the runtime: a subscriber that the SDK installs would see the calling thread alone,
    // and the activities run on the others.
    init_logs()?;
    Runtime::from_current_tokio(Default::default()).context("cannot start the SDK's runtime")
}
