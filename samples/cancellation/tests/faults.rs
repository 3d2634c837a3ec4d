//! The real worker binary, killed or shut down while its activity works.

#![cfg(unix)]

use cancellation::workflows::CancellationWorkflow;
use shared::STOPPED;
use temporalio_client::errors::WorkflowGetResultError;
use testing::{
    TestEnv, activity_types, address,
    faults::{WorkerProcess, handed_over},
    forget_cache, until_pending, within,
};

const WORKER: &str = env!("CARGO_BIN_EXE_cancellation-worker");

fn worker(env: &TestEnv) -> anyhow::Result<WorkerProcess> {
    WorkerProcess::start(WORKER, address()?, &env.task_queue, &[] as &[&str])
}

/// The server learns about the death from a missing heartbeat. The next worker resumes the work after
/// the last heartbeat: if it began again, its first heartbeat would be 1, which is not more. A workflow
/// that is cancelled then ends CANCELED.
#[tokio::test]
async fn another_worker_continues_the_work() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(CancellationWorkflow::run, ().into(), env.start_options())
        .await?;
    let mut first = worker(&env)?;
    until_pending(&handle, |activity| activity.heartbeat_details.is_some()).await?;
    first.kill().await?;

    let failed = until_pending(&handle, |activity| activity.last_failure.is_some()).await?;
    let failure = failed
        .last_failure
        .map(|failure| failure.message)
        .unwrap_or_default();
    assert_eq!(failure, "activity Heartbeat timeout");
    let told = |details: Option<_>| -> u64 {
        let payloads: temporalio_common::protos::temporal::api::common::v1::Payloads =
            details.unwrap_or_default();
        let json = payloads
            .payloads
            .first()
            .map(|payload| payload.data.clone());
        json.and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default()
    };
    let before = told(failed.heartbeat_details);
    assert!(before > 0);

    let second = worker(&env)?;
    let resumed = until_pending(&handle, |activity| {
        activity.attempt == 2 && told(activity.heartbeat_details.clone()) > before
    });
    resumed.await?;

    forget_cache(&env.client, &handle.info().workflow_id).await?;
    handle.cancel(Default::default()).await?;
    let ended = async { Ok(handle.get_result(Default::default()).await) };
    let ended = within("the cancelled workflow", ended).await?;
    assert!(
        matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
        "{ended:?}"
    );
    assert_eq!(
        activity_types(&handle).await?,
        ["never_complete_activity", "cleanup_activity"]
    );
    drop(second);
    Ok(())
}

/// The worker is killed before its activity learns about the cancellation. The activity has no further
/// attempt, and the workflow still cleans up and ends CANCELED.
#[tokio::test]
async fn a_worker_dies_during_a_cancellation() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(CancellationWorkflow::run, ().into(), env.start_options())
        .await?;
    let mut first = worker(&env)?;
    until_pending(&handle, |activity| activity.heartbeat_details.is_some()).await?;
    first.kill().await?;
    forget_cache(&env.client, &handle.info().workflow_id).await?;
    handle.cancel(Default::default()).await?;
    let _second = worker(&env)?;

    let ended = async { Ok(handle.get_result(Default::default()).await) };
    let ended = within("the cancelled workflow", ended).await?;
    assert!(
        matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
        "{ended:?}"
    );
    assert_eq!(
        activity_types(&handle).await?,
        ["never_complete_activity", "cleanup_activity"]
    );
    Ok(())
}

/// SIGTERM while the activity works. After the grace period the worker cancels the activity, reports that, and
/// ends with status 0. Another worker runs the next attempt without waiting for a timeout. The workflow
/// itself is not cancelled.
#[tokio::test]
async fn a_worker_shuts_down_while_it_works() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(CancellationWorkflow::run, ().into(), env.start_options())
        .await?;
    let _second = handed_over(&handle, [worker(&env)?, worker(&env)?]).await?;
    let again = until_pending(&handle, |activity| activity.attempt == 2).await?;
    let reported = again.last_failure.unwrap_or_default();
    let kind = reported
        .maybe_application_failure()
        .map(|info| info.r#type.as_str());
    assert_eq!(kind, Some(STOPPED), "{reported:?}");
    assert_eq!(activity_types(&handle).await?, ["never_complete_activity"]);
    handle.terminate(Default::default()).await?;
    Ok(())
}
