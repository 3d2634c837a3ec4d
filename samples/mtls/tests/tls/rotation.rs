//! Replaces a client certificate that is in use, and revokes the CA of the old one.

use crate::tls::pki::{Ca, Gateway, STARTER, WORKER, command, error, pki};
use anyhow::{Context, ensure};
use mtls::workflows::SecureWorkflow;
use shared::ConnectionArgs;
use std::{process::Stdio, time::Duration};
use temporalio_client::{Client, WorkflowStartOptions};
use testing::TestEnv;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::watch,
    time::timeout,
};
use uuid::Uuid;

/// Runs workflows one after another and counts them, until one fails.
async fn load(client: Client, task_queue: String, done: watch::Sender<u32>) -> anyhow::Result<()> {
    loop {
        let id = format!("mtls-{}", Uuid::new_v4());
        let options = WorkflowStartOptions::new(&*task_queue, id)
            // If a task is on its way when the gateway ends, it is lost. The server schedules it again after
            // this timeout, which is ten seconds by default.
            .task_timeout(Duration::from_secs(1))
            .build();
        let handle = client
            .start_workflow(SecureWorkflow::run, "data".into(), options)
            .await?;
        handle.get_result(Default::default()).await?;
        done.send_modify(|done| *done += 1);
    }
}

/// Worker and client work without a pause while their certificate is replaced by one of another CA, the gateway
/// revokes the old CA, and the gateway restarts, so that they must connect again. Nothing fails, and the old
/// certificate is refused.
#[tokio::test]
async fn rotates_under_load() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (folder, old) = pki()?;
    old.issue(&folder, "old", &[], -1..1)?;
    let new = Ca::new(&folder, "new-ca")?;
    let new_ca = folder.read("new-ca.pem")?;
    folder.write("clients.pem", &(folder.read("ca.pem")? + &new_ca))?;
    let gateway = Gateway::start(&folder, "clients.pem", "127.0.0.1:0").await?;
    let address = gateway.address.clone();

    let mut worker = command(WORKER);
    worker
        .args(["--address", &address, "--task-queue", &env.task_queue])
        .args(folder.flags("ca.pem", Some("client")));
    let mut worker = worker.stderr(Stdio::piped()).spawn()?;
    let mut log = BufReader::new(worker.stderr.take().context("piped")?).lines();

    let client = ConnectionArgs {
        address: Some(address.clone()),
        tls_ca_path: Some(folder.file("ca.pem")),
        tls_cert_path: Some(folder.file("client.pem")),
        tls_key_path: Some(folder.file("client.key")),
        ..ConnectionArgs::default()
    };
    let (done, mut counted) = watch::channel(0);
    let load = load(client.connect().await?, env.task_queue.clone(), done);
    let rotation = async {
        counted.wait_for(|done| *done >= 3).await?;
        new.issue(&folder, "client", &[], -1..1)?;
        folder.write("clients.pem", &new_ca)?;
        let mut starter = command(STARTER);
        starter
            .args(["--address", &address])
            .args(folder.flags("ca.pem", Some("old")));
        let error = error(starter).await?;
        ensure!(error.contains("refuses the client certificate"), "{error}");

        gateway.stop().await?;
        let _gateway = Gateway::start(&folder, "clients.pem", &address).await?;
        loop {
            let line = log.next_line().await?.context("the worker ended")?;
            if line.contains("new client certificate") {
                break;
            }
        }
        let before = *counted.borrow_and_update();
        counted.wait_for(|done| *done >= before + 3).await?;
        anyhow::Ok(())
    };
    tokio::select! {
        failed = load => failed.context("a workflow failed"),
        rotated = timeout(Duration::from_secs(25), rotation) => rotated?,
    }
}
