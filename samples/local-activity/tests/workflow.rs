//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::bail;
use local_activity::{
    activities::ComposeGreetingInput,
    worker_options,
    workflows::{LocalActivityWorkflow, LocalRetryWorkflow, RegularActivityWorkflow},
};
use serde_json::json;
use shared::{MAX_INPUT, describe};
use std::time::Duration;
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_common::{
    error::IncomingError,
    protos::temporal::api::{
        enums::v1::EventType::{
            MarkerRecorded, TimerFired, TimerStarted, WorkflowExecutionCompleted,
            WorkflowExecutionStarted, WorkflowTaskCompleted, WorkflowTaskScheduled,
            WorkflowTaskStarted,
        },
        history::v1::history_event::Attributes,
    },
};
use temporalio_macros::activities;
use temporalio_sdk::{
    WorkerOptions, WorkflowRegistrationError,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, activity_types, bad_input, event_types, events, with_worker};

/// The history has two markers, no scheduled activity and one workflow task.
#[tokio::test]
async fn greets_within_one_workflow_task() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(
                LocalActivityWorkflow::run,
                "World".into(),
                env.start_options(),
            )
            .await?;
        assert_eq!(
            handle.get_result(Default::default()).await?,
            "Hello, World!"
        );
        let expected = [
            WorkflowExecutionStarted,
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
            WorkflowTaskCompleted,
            MarkerRecorded,
            MarkerRecorded,
            WorkflowExecutionCompleted,
        ];
        assert_eq!(event_types(&handle).await?, expected);
        Ok(())
    })
    .await
}

/// The longest name that an input accepts is greeted, by local and by regular activities. One byte more fails the
/// workflow.
#[tokio::test]
async fn limits_long_names() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let quotes = "\"\"".len();
        for kind in ["LocalActivityWorkflow", "RegularActivityWorkflow"] {
            for size in [MAX_INPUT, MAX_INPUT + 1] {
                let name = json!("x".repeat(size - quotes));
                let handle = env
                    .start_json::<LocalActivityWorkflow>(kind, &[name])
                    .await?;
                match handle.get_result(Default::default()).await {
                    Ok(_) => assert_eq!(size, MAX_INPUT, "{kind}"),
                    Err(error) => assert_eq!(
                        (describe(&error), size),
                        (
                            "workflow failed: bad input: 1572865 bytes, more than the limit of \
                             1572864 (BadInput)"
                                .to_owned(),
                            MAX_INPUT + 1
                        ),
                        "{kind}"
                    ),
                }
            }
        }
        Ok(())
    })
    .await
}

/// Regular activities return the same result. Each of them has its events in the history, and its timeout.
#[tokio::test]
async fn regular_activities_do_the_same() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(
                RegularActivityWorkflow::run,
                "World".into(),
                env.start_options(),
            )
            .await?;
        assert_eq!(
            handle.get_result(Default::default()).await?,
            "Hello, World!"
        );
        assert_eq!(
            activity_types(&handle).await?,
            ["compose_greeting", "validate_input"]
        );
        for event in events(&handle).await? {
            if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) =
                event.attributes
            {
                let two_seconds = Duration::from_secs(2).try_into().ok();
                assert_eq!(scheduled.start_to_close_timeout, two_seconds);
            }
        }
        Ok(())
    })
    .await
}

/// The first wait is short, and the worker itself waits. The second wait is longer, and a timer in the history.
#[tokio::test]
async fn long_waits_use_a_timer() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let timers = async |failures: u32| -> anyhow::Result<usize> {
            let handle = env
                .client
                .start_workflow(
                    LocalRetryWorkflow::run,
                    failures.into(),
                    env.start_options(),
                )
                .await?;
            assert_eq!(handle.get_result(Default::default()).await?, failures + 1);
            let events = event_types(&handle).await?;
            let count = |kind| events.iter().filter(|event| **event == kind).count();
            assert_eq!(count(TimerStarted), count(TimerFired));
            Ok(count(TimerStarted))
        };
        assert_eq!(timers(1).await?, 0);
        assert_eq!(timers(2).await?, 1);
        Ok(())
    })
    .await
}

/// After its last attempt, a local activity fails the workflow with its own failure. There is no activity failure
/// around it.
#[tokio::test]
async fn keeps_the_last_failure() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(LocalRetryWorkflow::run, 100.into(), env.start_options())
            .await?;
        let error = handle.get_result(Default::default()).await;
        let Err(WorkflowGetResultError::Failed(failure)) = error else {
            bail!("{error:?}");
        };
        let IncomingError::Application(application) = &*failure else {
            bail!("{failure:?}");
        };
        assert_eq!(application.type_name(), Some("RequestedFailure"));
        assert_eq!(application.to_string(), "attempt 5 failed on request");
        Ok(())
    })
    .await
}

/// Mocks of the sample's activities, under the same names, whose greetings are blank.
pub struct BlankActivities;

#[activities]
impl BlankActivities {
    #[activity(name = "compose_greeting")]
    pub async fn compose_greeting(
        _ctx: ActivityContext,
        _input: ComposeGreetingInput,
    ) -> Result<String, ActivityError> {
        Ok("  ".to_owned())
    }

    #[activity(name = "validate_input")]
    pub async fn validate_input(
        _ctx: ActivityContext,
        text: String,
    ) -> Result<bool, ActivityError> {
        Ok(!text.trim().is_empty())
    }
}

fn blank_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<LocalActivityWorkflow>()?
        .register_activities(BlankActivities)
        .build())
}

/// If the greeting is blank, the workflow returns an error text instead.
#[tokio::test]
async fn recognizes_a_blank_greeting() -> anyhow::Result<()> {
    with_worker(blank_options, async |env| {
        let handle = env
            .client
            .start_workflow(
                LocalActivityWorkflow::run,
                "World".into(),
                env.start_options(),
            )
            .await?;
        assert_eq!(
            handle.get_result(Default::default()).await?,
            "Invalid result"
        );
        Ok(())
    })
    .await
}

/// Input that is not a string fails the workflow at once.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .start_json::<LocalActivityWorkflow>("LocalActivityWorkflow", &[json!(["World"])])
            .await?;
        let reason = "invalid type: sequence, expected a string";
        assert_eq!(bad_input(&handle).await?, reason);
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(
            LocalActivityWorkflow::run,
            "World".into(),
            env.start_options(),
        )
        .await?;
    env.ends_cancelled(&handle, worker_options).await
}
