//! The real worker binary, killed under the load in `load.json`.

#![cfg(unix)]

use testing::faults::killed_worker;

/// Killed at a random moment, and another takes over: every workflow ends as the load says.
#[tokio::test]
async fn a_killed_worker_loses_nothing() -> anyhow::Result<()> {
    let worker = env!("CARGO_BIN_EXE_{{name}}-worker");
    let data_converter = {{data_converter}};
    killed_worker(worker, include_str!("load.json"), data_converter).await
}
