//! What production does to a worker, done to a real worker under load. That of hello stands for all.

#![cfg(unix)]

use crate::hello;
use std::time::Duration;
use testing::{
    address,
    faults::{LoadTest, Network, ServerProcess, random_delay},
};
use tokio::time::sleep;

const LOAD: &str = include_str!("../../samples/hello/tests/load.json");

/// The server is killed, and back two seconds later: nothing is lost, and no worker gives up.
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
    // Every workflow has ended, so a kill would now prove nothing, and the harness refuses it.
    let idle = load_test.freeze_at_work(&worker).await;
    let idle = idle.expect_err("no workflow runs").to_string();
    assert_eq!(idle, "all workflows ended before the worker was killed");
    // An error if it has ended by itself.
    worker.kill().await
}

/// Twenty seconds without a network between worker and server: the worker finds back by itself.
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
