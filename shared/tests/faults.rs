//! Injects faults while a real worker is under load. The worker of hello stands for all workers.

#![cfg(unix)]

use crate::hello;
use std::time::Duration;
use testing::{
    address,
    faults::{LoadTest, Network, ServerProcess, random_delay},
};
use tokio::time::sleep;

const LOAD: &str = include_str!("../../samples/hello/tests/load.json");

/// The server is killed and starts again two seconds later. Nothing is lost, and no worker gives up.
#[tokio::test]
async fn a_killed_server() -> anyhow::Result<()> {
    let mut server = ServerProcess::start().await?;
    let address = server.address();
    let load_test = LoadTest::new(hello::binary("hello-worker")?, LOAD, &address, &address).await?;
    let mut worker = load_test.worker().await?;
    load_test
        .run_during(async {
            random_delay().await;
            server.kill_and_restart(Duration::from_secs(2)).await
        })
        .await?;
    // All workflows have ended, so a kill would prove nothing now, and the harness refuses it.
    let idle = load_test.freeze_at_work(&worker).await;
    let idle = idle.expect_err("no workflow runs").to_string();
    assert_eq!(idle, "all workflows ended before the worker was killed");
    // Fails if the worker has ended by itself.
    worker.kill().await
}

/// For twenty seconds there is no network between worker and server. The worker then reconnects by itself.
#[tokio::test]
async fn a_cut_network() -> anyhow::Result<()> {
    let server = address()?;
    let network = Network::to(server).await?;
    let load_test = LoadTest::new(
        hello::binary("hello-worker")?,
        LOAD,
        server,
        &network.address(),
    )
    .await?;
    let mut worker = load_test.worker().await?;
    load_test
        .run_during(async {
            random_delay().await;
            network.cut();
            sleep(Duration::from_secs(20)).await;
            network.mend();
            Ok(())
        })
        .await?;
    worker.kill().await
}
