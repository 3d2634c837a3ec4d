//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use cancellation::{worker_options, workflows::CancellationWorkflow};
use serde_json::json;
use std::sync::Arc;
use temporalio_client::{Client, WorkflowHandle, errors::WorkflowGetResultError};
use temporalio_common::protos::temporal::api::enums::v1::EventType::{
    ActivityTaskCancelRequested, ActivityTaskCanceled, ActivityTaskCompleted,
    WorkflowExecutionCanceled, WorkflowExecutionTerminated,
};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, activity_types, event_types, operate, until_pending, with_worker};
use tokio::sync::Notify;

const WORK: &str = "never_complete_activity";
const CLEANUP: &str = "cleanup_activity";

async fn start(env: &TestEnv) -> anyhow::Result<WorkflowHandle<Client, CancellationWorkflow>> {
    env.start_json("CancellationWorkflow", &[]).await
}

/// The activity is cancelled and stops, cleanup completes, and the workflow ends CANCELED.
#[tokio::test]
async fn stops_cleans_up_and_ends_cancelled() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = start(&env).await?;
        until_pending(&handle, |activity| activity.last_heartbeat_time.is_some()).await?;
        handle.cancel(Default::default()).await?;
        let error = handle
            .get_result(Default::default())
            .await
            .expect_err("cancelled");
        assert!(
            matches!(error, WorkflowGetResultError::Cancelled { .. }),
            "{error:?}"
        );
        assert_eq!(activity_types(&handle).await?, [WORK, CLEANUP]);
        let events = event_types(&handle).await?;
        let interesting = [
            ActivityTaskCancelRequested,
            ActivityTaskCanceled,
            ActivityTaskCompleted,
            WorkflowExecutionCanceled,
        ];
        let seen: Vec<_> = events
            .into_iter()
            .filter(|event| interesting.contains(event))
            .collect();
        assert_eq!(seen, interesting);
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it also cleans up.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env).await?;
    env.ends_cancelled(&handle, worker_options).await?;
    assert_eq!(activity_types(&handle).await?, [CLEANUP]);
    Ok(())
}

/// A terminated workflow does not clean up.
#[tokio::test]
async fn termination_skips_cleanup() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = start(&env).await?;
        until_pending(&handle, |activity| activity.last_heartbeat_time.is_some()).await?;
        handle.terminate(Default::default()).await?;
        let error = handle
            .get_result(Default::default())
            .await
            .expect_err("terminated");
        assert!(
            matches!(error, WorkflowGetResultError::Terminated { .. }),
            "{error:?}"
        );
        assert_eq!(activity_types(&handle).await?, [WORK]);
        assert_eq!(
            event_types(&handle).await?.last(),
            Some(&WorkflowExecutionTerminated)
        );
        Ok(())
    })
    .await
}

/// A mock of the sample's activities: the work fails at once, and cleanup waits until the test lets it go
/// on.
pub struct SlowCleanup {
    go_on: Arc<Notify>,
}

#[activities]
impl SlowCleanup {
    #[activity(name = "never_complete_activity")]
    pub async fn never_complete_activity(_ctx: ActivityContext) -> Result<(), ActivityError> {
        Err(ApplicationFailure::non_retryable("the work failed").into())
    }

    #[activity(name = "cleanup_activity")]
    pub async fn cleanup_activity(
        self: Arc<Self>,
        _ctx: ActivityContext,
    ) -> Result<(), ActivityError> {
        self.go_on.notified().await;
        Ok(())
    }
}

/// Cleanup also runs after work that fails, and a cancellation during the cleanup does not stop it.
#[tokio::test]
async fn cancelled_during_cleanup() -> anyhow::Result<()> {
    let go_on = Arc::new(Notify::new());
    let activities = SlowCleanup {
        go_on: go_on.clone(),
    };
    let options = |task_queue: &str| -> Result<WorkerOptions, anyhow::Error> {
        Ok(WorkerOptions::new(task_queue)
            .register_workflow::<CancellationWorkflow>()?
            .register_activities(activities)
            .build())
    };
    with_worker(options, async |env| {
        let handle = start(&env).await?;
        until_pending(&handle, |activity| {
            activity
                .activity_type
                .as_ref()
                .is_some_and(|kind| kind.name == CLEANUP)
        })
        .await?;
        handle.cancel(Default::default()).await?;
        go_on.notify_one();
        let error = handle
            .get_result(Default::default())
            .await
            .expect_err("failed");
        let reason = "workflow failed: activity never_complete_activity failed: the work failed";
        assert_eq!(shared::describe(&error), reason);
        assert!(event_types(&handle).await?.contains(&ActivityTaskCompleted));
        Ok(())
    })
    .await
}

/// The workflow without its activities, so that the test can answer for the activity.
fn workflow_only(task_queue: &str) -> anyhow::Result<WorkerOptions> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<CancellationWorkflow>()?
        .build())
}

/// Heartbeat details that do not decode, here a map from another version of the activity or from another
/// language. The next attempt begins at its first step. If it failed, all attempts after it would fail, too.
#[tokio::test]
async fn heartbeat_details_that_do_not_decode() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env).await?;
    let details = [json!({ "steps": 3 })];
    env.work(workflow_only, operate::fail_activity(&env, false, &details))
        .await?;
    env.work(worker_options, async {
        let seen = until_pending(&handle, |activity| {
            let details = activity.heartbeat_details.as_ref();
            let is_number = details
                .and_then(|details| details.payloads.first())
                .is_some_and(|details| serde_json::from_slice::<u64>(&details.data).is_ok());
            is_number || activity.attempt > 2
        })
        .await?;
        assert_eq!(seen.attempt, 2, "{:?}", seen.last_failure);
        handle.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}
