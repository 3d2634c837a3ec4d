//! Kills the workers of all samples side by side. Every workflow must still end as the sample's `tests/load.json`
//! says.

#![cfg(unix)]

use anyhow::{Context, ensure};
use soak::Sample;
use std::time::Duration;
use testing::{address, binaries};
use tokio::{task::JoinSet, time::timeout};

/// Number of workflows for each worker. All workers share one server and the cores of one machine.
const WORKFLOWS: usize = 12;

/// Maximum time for one worker and its successor.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Each worker is killed at a random moment, and another one takes over. Every workflow ends as its load says, and
/// no side effect happens twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers() -> anyhow::Result<()> {
    let server = address()?;
    let mut killed = JoinSet::new();
    for mut sample in Sample::all(&binaries()?, server, server).await? {
        sample.load_test.load.workflows = sample.load_test.load.workflows.min(WORKFLOWS);
        killed.spawn(async move {
            let survived = timeout(TIMEOUT, sample.load_test.killed_worker()).await;
            let survived = survived
                .context("took too long")
                .and_then(|survived| survived);
            survived.with_context(|| sample.name)
        });
    }
    ensure!(!killed.is_empty(), "no sample has a tests/load.json");
    let mut failures = Vec::new();
    while let Some(survived) = killed.join_next().await {
        if let Err(error) = survived? {
            failures.push(format!("{error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
