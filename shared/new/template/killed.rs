//! Kills the real worker binary under the load in `load.json`.

#![cfg(unix)]

use testing::faults::killed_worker;

/// A worker is killed at a random moment, and another one takes over. Every workflow ends as the load says.
#[tokio::test]
async fn a_killed_worker_loses_nothing() -> anyhow::Result<()> {
    let worker = env!("CARGO_BIN_EXE_{{name}}-worker");
    let data_converter = {{data_converter}};
    killed_worker(worker, include_str!("load.json"), data_converter).await
}
