//! Operations of an operator on the running activity: pause, unpause, reset, other options.

use anyhow::Context;
use cancellation::{worker_options, workflows::CancellationWorkflow};
use std::time::Duration;
use temporalio_client::{Client, WorkflowHandle, errors::WorkflowGetResultError};
use temporalio_common::protos::temporal::api::{
    enums::v1::PendingActivityState::{Paused, Started},
    workflow::v1::PendingActivityInfo,
};
use temporalio_sdk::WorkerOptions;
use testing::{TestEnv, activity_types, operate, until_pending, with_worker};

/// The id that the SDK gives to the first activity of a workflow.
const WORK: &str = "1";

/// Number of steps that the last heartbeat reports.
fn done(activity: &PendingActivityInfo) -> u64 {
    let details = activity.heartbeat_details.as_ref();
    let payload = details.and_then(|details| details.payloads.first());
    payload
        .and_then(|payload| serde_json::from_slice(&payload.data).ok())
        .unwrap_or_default()
}

/// Starts the workflow and waits until the activity has sent a heartbeat.
async fn working(env: &TestEnv) -> anyhow::Result<WorkflowHandle<Client, CancellationWorkflow>> {
    let handle = env.start_json("CancellationWorkflow", &[]).await?;
    until_pending(&handle, |activity| done(activity) > 0).await?;
    Ok(handle)
}

/// Cancels the workflow, and checks that it cleans up and ends CANCELED.
async fn can_be_cancelled(
    handle: &WorkflowHandle<Client, CancellationWorkflow>,
) -> anyhow::Result<()> {
    handle.cancel(Default::default()).await?;
    let ended = handle.get_result(Default::default()).await;
    assert!(
        matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
        "{ended:?}"
    );
    assert_eq!(
        activity_types(handle).await?,
        ["never_complete_activity", "cleanup_activity"]
    );
    Ok(())
}

/// A paused activity stops with a retryable failure. The server would refuse the answer that it was
/// cancelled, and then its workflow could not be cancelled.
#[tokio::test]
async fn a_paused_activity_can_be_cancelled() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = working(&env).await?;
        operate::pause(&handle, WORK).await?;
        let paused = until_pending(&handle, |activity| activity.state() == Paused).await?;
        let failure = paused.last_failure.unwrap_or_default().message;
        assert_eq!(failure, "told to stop: the activity is paused");
        can_be_cancelled(&handle).await
    })
    .await
}

/// After the pause another attempt goes on where the paused one has stopped.
#[tokio::test]
async fn an_unpaused_activity_goes_on() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = working(&env).await?;
        operate::pause(&handle, WORK).await?;
        let paused = until_pending(&handle, |activity| activity.state() == Paused).await?;
        operate::unpause(&handle, WORK).await?;
        let before = done(&paused);
        until_pending(&handle, |activity| {
            activity.state() == Started && done(activity) > before
        })
        .await?;
        can_be_cancelled(&handle).await
    })
    .await
}

/// If a cancellation arrives before the activity has learned about a pause, the activity ends as cancelled.
#[tokio::test]
async fn cancelled_before_it_learns_about_a_pause() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = working(&env).await?;
        operate::pause(&handle, WORK).await?;
        can_be_cancelled(&handle).await
    })
    .await
}

/// A reset activity stops, and its next attempt begins at the first step.
#[tokio::test]
async fn a_reset_activity_begins_again() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = working(&env).await?;
        let before = until_pending(&handle, |activity| done(activity) >= 10).await?;
        operate::reset(&handle, WORK).await?;
        let again = until_pending(&handle, |activity| {
            activity.state() == Started
                && activity.last_started_time != before.last_started_time
                && done(activity) > 0
        })
        .await?;
        assert!(done(&again) < done(&before), "{again:?}");
        let failure = again.last_failure.unwrap_or_default().message;
        assert!(failure.starts_with("told to stop: "), "{failure}");
        can_be_cancelled(&handle).await
    })
    .await
}

/// A worker that shuts down stops the activity after its grace period, and reports that. The next worker
/// goes on with the activity without waiting for a heartbeat timeout.
#[tokio::test]
async fn a_shutdown_hands_the_activity_to_another_worker() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let options = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let mut options = worker_options(queue)?;
        options.graceful_shutdown_period = Some(Duration::from_millis(100));
        Ok(options)
    };
    let mut handle = None;
    let started = async {
        handle = Some(working(&env).await?);
        Ok(())
    };
    env.work(options, started).await?;
    let handle = handle.context("the workflow has not started")?;
    let stopped = until_pending(&handle, |activity| activity.last_failure.is_some()).await?;
    let before = done(&stopped);
    let failure = stopped.last_failure.unwrap_or_default().message;
    assert!(failure.starts_with("told to stop: "), "{failure}");
    env.work(worker_options, async {
        until_pending(&handle, |activity| done(activity) > before).await?;
        can_be_cancelled(&handle).await
    })
    .await
}

/// Changed options do not stop the running attempt.
#[tokio::test]
async fn changed_options_do_not_stop_the_activity() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = working(&env).await?;
        operate::change_timeout(&handle, WORK, Duration::from_secs(2000)).await?;
        let before = until_pending(&handle, |activity| done(activity) > 0).await?;
        let after = until_pending(&handle, |activity| done(activity) > done(&before)).await?;
        assert_eq!(after.last_started_time, before.last_started_time);
        can_be_cancelled(&handle).await
    })
    .await
}
