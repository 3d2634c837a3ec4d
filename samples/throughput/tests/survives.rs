//! What production does to a worker, done to the real worker binary under load.

#![cfg(unix)]

use shared::testing::survive::killed_worker;

const WORKER: &str = env!("CARGO_BIN_EXE_throughput-worker");
const LOAD: &str = include_str!("load.json");

/// Killed at a random moment, and another takes over: every workflow ends as it should.
#[tokio::test]
async fn a_killed_worker() -> anyhow::Result<()> {
    killed_worker(WORKER, LOAD).await
}
