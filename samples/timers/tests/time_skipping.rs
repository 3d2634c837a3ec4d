//! Real intervals of months, on a server that skips the time in which a workflow only waits.

use serde_json::json;
use shared::describe;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use temporalio_client::{Client, WorkflowHandle};
use temporalio_common::HasWorkflowDefinition;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions, WorkflowRegistrationError,
    activities::{ActivityContext, ActivityError},
};
use testing::{activity_types, elapsed, skip_time, with_time_skipping};
use timers::workflows::{
    ActivityDeadlineWorkflow, ProcessOrderWorkflow, ProgressWorkflow, WorkflowDeadlineWorkflow,
};

type Handle<W> = WorkflowHandle<Client, W>;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// 30 days in milliseconds.
const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// A service that is down until an e-mail has been sent. It says to come back in 60 days.
#[derive(Default)]
pub struct DownForMonths {
    email_sent: AtomicBool,
}

#[activities]
impl DownForMonths {
    #[activity(name = "processOrder")]
    pub async fn process_order(
        self: Arc<Self>,
        _ctx: ActivityContext,
    ) -> Result<(), ActivityError> {
        match self.email_sent.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(down()),
        }
    }

    #[activity(name = "do_work")]
    pub async fn do_work(_ctx: ActivityContext, _milliseconds: u64) -> Result<(), ActivityError> {
        Err(down())
    }

    #[activity(name = "sendNotificationEmail")]
    pub async fn send_notification_email(
        self: Arc<Self>,
        _ctx: ActivityContext,
    ) -> Result<(), ActivityError> {
        self.email_sent.store(true, Ordering::Relaxed);
        Ok(())
    }

    #[activity(name = "clean_up")]
    pub async fn clean_up(_ctx: ActivityContext) -> Result<(), ActivityError> {
        Ok(())
    }
}

fn down() -> ActivityError {
    let down = ApplicationFailure::builder("the service is down");
    down.next_retry_delay(60 * DAY).build().into()
}

fn options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<ProcessOrderWorkflow>()?
        .register_workflow::<ProgressWorkflow>()?
        .register_workflow::<ActivityDeadlineWorkflow>()?
        .register_workflow::<WorkflowDeadlineWorkflow>()?
        .register_activities(DownForMonths::default())
        .build())
}

/// Returns how many whole days the workflow has taken by its own clock.
async fn days<W: HasWorkflowDefinition>(handle: &Handle<W>) -> anyhow::Result<u64> {
    Ok(elapsed(handle).await?.as_secs() / DAY.as_secs())
}

/// A reminder after 30 days, two deadlines of 30 days, and ten seconds of progress. By their own clocks, the workflows
/// take the time of their timers. The test does not.
#[tokio::test]
async fn months_pass() -> anyhow::Result<()> {
    with_time_skipping(options, async |env| {
        let input = json!({"orderProcessingMS": 1000, "sendDelayedEmailTimeoutMS": MONTH_MS});
        let order: Handle<ProcessOrderWorkflow> =
            env.start_json("processOrderWorkflow", &[input]).await?;
        let input = json!({"work_ms": 1, "deadline_ms": MONTH_MS});
        let activity: Handle<ActivityDeadlineWorkflow> =
            env.start_json("ActivityDeadlineWorkflow", &[input]).await?;
        let input = json!({"steps": 1, "step_ms": 1, "deadline_ms": MONTH_MS});
        let workflow: Handle<WorkflowDeadlineWorkflow> =
            env.start_json("WorkflowDeadlineWorkflow", &[input]).await?;
        let progress: Handle<ProgressWorkflow> = env.start_json("progress", &[]).await?;
        skip_time(&order, 20).await?;
        skip_time(&activity, 20).await?;
        skip_time(&workflow, 20).await?;
        skip_time(&progress, 20).await?;

        let result = order.get_result(Default::default()).await?;
        assert_eq!(result, "Order completed!");
        let expected = ["processOrder", "sendNotificationEmail"];
        assert_eq!(activity_types(&order).await?, expected);
        assert!(days(&order).await? >= 30);

        let result = activity.get_result(Default::default()).await?;
        assert_eq!(result, "stopped at the deadline");
        assert_eq!(days(&activity).await?, 30);

        let error = workflow.get_result(Default::default()).await;
        let reason = error.map_err(|error| describe(&error));
        let expected = "workflow failed: not done within 2592000000 ms (DeadlineExceeded)";
        assert_eq!(reason, Err(expected.to_owned()));
        assert_eq!(activity_types(&workflow).await?, ["do_work", "clean_up"]);
        assert_eq!(days(&workflow).await?, 30);

        progress.get_result(Default::default()).await?;
        assert!(elapsed(&progress).await? >= Duration::from_secs(10));
        let query = ProgressWorkflow::get_progress;
        let percent = progress.query(query, ().into(), Default::default());
        assert_eq!(percent.await?, 100);
        Ok(())
    })
    .await
}
