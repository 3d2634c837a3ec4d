//! What production does to a worker, done to the real worker binary under load.

#![cfg(unix)]

use anyhow::ensure;
use shared::testing::{
    address,
    survive::{Scene, killed_worker, moment},
};

const WORKER: &str = env!("CARGO_BIN_EXE_parallel-activity-worker");
const LOAD: &str = include_str!("load.json");

/// Killed at a random moment, and another takes over: every workflow ends as it should.
#[tokio::test]
async fn a_killed_worker() -> anyhow::Result<()> {
    killed_worker(WORKER, LOAD).await
}

/// SIGTERM in a rolling update: what runs is finished, hardly a task is lost, and the status is 0.
#[tokio::test]
async fn a_worker_told_to_end() -> anyhow::Result<()> {
    let server = address()?;
    let scene = Scene::new(WORKER, LOAD, server, server).await?;
    let mut first = scene.worker().await?;
    let mut second = scene
        .play(async {
            moment().await;
            let second = scene.worker().await?;
            let status = first.terminate().await?;
            ensure!(status.success(), "{status}: {}", first.log()?);
            Ok(second)
        })
        .await?;
    // None, on a machine with time to spare. On another, a task may be on its way to a poll that the
    // worker gives up at that moment: it is handed out again when it times out.
    let timeouts = scene.timeouts().await?;
    ensure!(timeouts <= 2, "{timeouts} tasks in hand timed out");
    second.kill().await
}
