//! Commands of operators for the polling activity: pause, unpause, reset and a change of options.

use polled_service::PolledService;
use polling_frequent::{worker_options, workflows::GreetingWorkflow};
use serde_json::json;
use std::time::Duration;
use temporalio_client::{Client, WorkflowHandle, errors::WorkflowGetResultError};
use temporalio_common::protos::temporal::api::enums::v1::PendingActivityState::{Paused, Started};
use testing::{TestEnv, operate, until_pending, with_worker};

/// Id that the SDK gives to the polling activity.
const POLL: &str = "1";

type Handle = WorkflowHandle<Client, GreetingWorkflow>;

/// Runs `body` while an activity polls a service that never has an answer.
async fn while_polling<F>(body: impl FnOnce(Handle, PolledService) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let service = PolledService::start_at("127.0.0.1:0".parse()?, u32::MAX).await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env: TestEnv| {
            let handle: Handle = env
                .start_json("GreetingWorkflow", &[json!("World")])
                .await?;
            until_pending(&handle, |activity| activity.last_heartbeat_time.is_some()).await?;
            body(handle, service).await
        },
    )
    .await
}

/// Cancels the workflow, and checks that it ends CANCELED.
async fn can_be_cancelled(handle: &Handle) -> anyhow::Result<()> {
    handle.cancel(Default::default()).await?;
    let ended = handle.get_result(Default::default()).await;
    assert!(
        matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
        "{ended:?}"
    );
    Ok(())
}

/// A paused activity stops with a failure that is retried later. It does not report "cancelled", which the server
/// would refuse. So its workflow can still be cancelled.
#[tokio::test]
async fn a_paused_activity_can_be_cancelled() -> anyhow::Result<()> {
    while_polling(async |handle, _service| {
        operate::pause(&handle, POLL).await?;
        let paused = until_pending(&handle, |activity| activity.state() == Paused).await?;
        let failure = paused.last_failure.unwrap_or_default().message;
        assert_eq!(failure, "told to stop: the activity is paused");
        can_be_cancelled(&handle).await
    })
    .await
}

/// After the pause, another attempt continues to poll.
#[tokio::test]
async fn an_unpaused_activity_polls_again() -> anyhow::Result<()> {
    while_polling(async |handle, service| {
        operate::pause(&handle, POLL).await?;
        until_pending(&handle, |activity| activity.state() == Paused).await?;
        let before = service.requests();
        operate::unpause(&handle, POLL).await?;
        service.until_requests(before + 1).await?;
        until_pending(&handle, |activity| activity.state() == Started).await?;
        can_be_cancelled(&handle).await
    })
    .await
}

/// If the cancellation arrives before the activity has learned about the pause, the activity ends as cancelled.
#[tokio::test]
async fn paused_and_cancelled_at_once() -> anyhow::Result<()> {
    while_polling(async |handle, _service| {
        operate::pause(&handle, POLL).await?;
        can_be_cancelled(&handle).await
    })
    .await
}

/// A reset activity stops, and polls again in another attempt.
#[tokio::test]
async fn a_reset_activity_starts_again() -> anyhow::Result<()> {
    while_polling(async |handle, _service| {
        let before = until_pending(&handle, |activity| activity.state() == Started).await?;
        operate::reset(&handle, POLL).await?;
        let again = until_pending(&handle, |activity| {
            activity.state() == Started && activity.last_started_time != before.last_started_time
        })
        .await?;
        let failure = again.last_failure.unwrap_or_default().message;
        assert!(failure.starts_with("told to stop: "), "{failure}");
        can_be_cancelled(&handle).await
    })
    .await
}

/// When its options change, the same attempt continues to poll.
#[tokio::test]
async fn changed_options_do_not_stop_the_activity() -> anyhow::Result<()> {
    while_polling(async |handle, service| {
        let before = until_pending(&handle, |activity| activity.state() == Started).await?;
        operate::change_timeout(&handle, POLL, Duration::from_secs(2000)).await?;
        service.until_requests(service.requests() + 2).await?;
        let after = until_pending(&handle, |activity| activity.state() == Started).await?;
        assert_eq!(after.last_started_time, before.last_started_time);
        can_be_cancelled(&handle).await
    })
    .await
}
