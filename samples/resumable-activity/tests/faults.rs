//! Kills the real worker binary while a transfer is parked.

#![cfg(unix)]

use crate::workflow::{accounts, send, start, until_listed, until_status};
use resumable_activity::workflows::Status::AwaitingCorrection;
use serde_json::json;
use testing::{TestEnv, address, faults::WorkerProcess, forget_cache, within};

const WORKER: &str = env!("CARGO_BIN_EXE_resumable-activity-worker");

/// A parked transfer needs no worker: operators find it and correct it while none runs. The next worker goes on with
/// the correction. The worker binary has registered the search attribute.
#[tokio::test]
async fn a_parked_transfer_needs_no_worker() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let no_arguments: [&str; 0] = [];
    let worker = || WorkerProcess::start(WORKER, address()?, &env.task_queue, &no_arguments);
    let mut first = worker()?;
    let handle = start(&env, "account-000").await?;
    within("the worker", first.ready()).await?;
    until_status(&handle, AwaitingCorrection).await?;
    first.kill().await?;
    forget_cache(&env.client, &handle.info().workflow_id).await?;
    until_listed(&env, &handle, AwaitingCorrection).await?;
    send(&handle, "retry_with_correction", json!("account-456")).await?;
    send(&handle, "approve", json!(true)).await?;

    let _second = worker()?;
    let result = async { Ok(handle.get_result(Default::default()).await?) };
    let done = "Transfer of 500.0 to account-456 completed";
    assert_eq!(within("the result", result).await?, done);
    assert_eq!(accounts(&handle).await?, ["account-000", "account-456"]);
    Ok(())
}
