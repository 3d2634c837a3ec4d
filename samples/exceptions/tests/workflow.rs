//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::Context;
use exceptions::{
    activities::{ProcessingDetails, Trouble},
    causes::{Cause, causes, details},
    data_converter, worker_options,
    workflows::{DataProcessingWorkflow, TypedErrorsInput, TypedErrorsWorkflow},
};
use serde_json::{Value, json};
use shared::{CHILD_ID_TAKEN, FAILURE_SOURCE, Input, MAX_ERROR, MAX_INPUT, OrCancelled, describe};
use std::{iter::successors, time::Duration};
use temporalio_client::{
    Client, UntypedQuery, WorkflowExecutionStatus, WorkflowHandle, errors::WorkflowGetResultError,
};
use temporalio_common::{
    HasWorkflowDefinition, RetryPolicy,
    error::IncomingError,
    protos::temporal::api::{
        enums::v1::EventType,
        failure::v1::failure::FailureInfo,
        history::v1::{ActivityTaskStartedEventAttributes, history_event::Attributes},
    },
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ChildWorkflowOptions, WorkerOptions, WorkflowContext, WorkflowResult};
use testing::{TestEnv, bad_input, events, raw_json, until};

/// Does the same as `testing::with_worker`, with the data converter of this sample.
async fn with_worker<F>(body: impl FnOnce(TestEnv) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let env = TestEnv::with_data_converter(data_converter()).await?;
    env.work(worker_options, body(env.clone())).await
}

async fn start(
    env: &TestEnv,
    trouble: &str,
) -> anyhow::Result<WorkflowHandle<Client, TypedErrorsWorkflow>> {
    let input = json!({"data": "x", "trouble": trouble});
    env.start_json("TypedErrorsWorkflow", &[input]).await
}

/// Returns the error of a workflow that fails, and the causes that the starter prints.
async fn failure<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<(WorkflowGetResultError, Vec<Cause>)> {
    let Err(error) = handle.get_result(Default::default()).await else {
        anyhow::bail!("the workflow completed");
    };
    let causes = causes(&error, &events(handle).await?);
    Ok((error, causes))
}

/// Returns the start events of activities. The history has one for all attempts of an activity.
async fn activity_starts<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Vec<ActivityTaskStartedEventAttributes>> {
    let start = |attributes| match attributes {
        Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started),
        _ => None,
    };
    let events = events(handle).await?.into_iter();
    Ok(events.filter_map(|event| start(event.attributes)).collect())
}

/// Checks that the activity was scheduled with this timeout and with the retry policy of the sample.
async fn check_activity_options<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    start_to_close: Duration,
) -> anyhow::Result<()> {
    let scheduled = events(handle)
        .await?
        .into_iter()
        .find_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => Some(scheduled),
            _ => None,
        })
        .context("no activity")?;
    assert_eq!(
        scheduled.start_to_close_timeout,
        start_to_close.try_into().ok()
    );
    let policy = RetryPolicy::from(scheduled.retry_policy.unwrap_or_default());
    assert_eq!(policy.initial_interval(), Duration::from_millis(200));
    assert_eq!(policy.backoff_coefficient(), 2.0);
    assert_eq!(policy.maximum_attempts(), 3);
    assert_eq!(policy.non_retryable_error_types(), ["DataRejected"]);
    Ok(())
}

/// After three attempts the client sees the chain of causes, with details and a stack trace of this crate's
/// code.
#[tokio::test]
async fn fails_after_three_attempts() -> anyhow::Result<()> {
    with_worker(async |env| {
        let handle = env
            .start_json::<DataProcessingWorkflow>("DataProcessingWorkflow", &[json!("test-data")])
            .await?;
        let (error, causes) = failure(&handle).await?;
        let [activity, application] = &causes[..] else {
            panic!("{causes:#?}");
        };
        assert_eq!(
            activity.to_string(),
            "activity process_data, attempt 3, MaximumAttemptsReached: Activity task failed"
        );
        let mut lines = application.to_string();
        let frames = lines.split_off(lines.find('\n').expect("a stack trace"));
        assert_eq!(
            lines,
            "ProcessingFailed, attempt 3: Processing failed for: test-data"
        );
        assert!(
            frames.contains("at process (src/activities.rs:"),
            "{frames}"
        );
        assert!(frames.lines().count() < 8, "{frames}");

        let WorkflowGetResultError::Failed(failure) = error else {
            panic!("{error:?}");
        };
        let Some(IncomingError::Application(failure)) = failure.cause() else {
            panic!("{failure:?}");
        };
        let expected = ProcessingDetails {
            data: "test-data".into(),
            attempt: 3,
        };
        assert_eq!(details(failure), Some(expected));
        let attempts: Vec<i32> = activity_starts(&handle)
            .await?
            .iter()
            .map(|s| s.attempt)
            .collect();
        assert_eq!(attempts, [3]);
        check_activity_options(&handle, Duration::from_secs(10)).await
    })
    .await
}

/// An error whose type the policy names fails the activity in its first attempt.
#[tokio::test]
async fn a_type_that_the_policy_names_is_not_retried() -> anyhow::Result<()> {
    with_worker(async |env| {
        let (_, causes) = failure(&start(&env, "rejects").await?).await?;
        let [activity, application] = &causes[..] else {
            panic!("{causes:#?}");
        };
        assert_eq!(activity.attempt, Some(1));
        assert_eq!(activity.retry_state.as_deref(), Some("NonRetryableFailure"));
        assert_eq!(application.what, "DataRejected");
        Ok(())
    })
    .await
}

/// An error can set the delay of the next attempt. Here the second attempt succeeds.
#[tokio::test]
async fn next_retry_delay_replaces_the_interval() -> anyhow::Result<()> {
    with_worker(async |env| {
        let handle = start(&env, "busy").await?;
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(result, "Processed: x");
        let starts = activity_starts(&handle).await?;
        let [start] = &starts[..] else {
            panic!("{starts:#?}");
        };
        assert_eq!(start.attempt, 2);
        let last = start.last_failure.clone().unwrap_or_default();
        let delay = last
            .maybe_application_failure()
            .and_then(|info| info.next_retry_delay);
        assert_eq!(
            delay.map(Duration::try_from),
            Some(Ok(Duration::from_millis(50)))
        );
        Ok(())
    })
    .await
}

/// A timeout is retried like other failures, and is a cause in the chain.
#[tokio::test]
async fn a_timeout_is_retried_and_is_a_cause() -> anyhow::Result<()> {
    with_worker(async |env| {
        let handle = start(&env, "too-slow").await?;
        let (_, causes) = failure(&handle).await?;
        assert_eq!(causes[0].attempt, Some(3));
        assert_eq!(causes[1].what, "timeout StartToClose");
        check_activity_options(&handle, Duration::from_secs(1)).await
    })
    .await
}

/// A panic in an activity is an ordinary failure without a type.
#[tokio::test]
async fn a_panic_in_an_activity_is_retried() -> anyhow::Result<()> {
    with_worker(async |env| {
        let (_, causes) = failure(&start(&env, "panics").await?).await?;
        let [activity, application] = &causes[..] else {
            panic!("{causes:#?}");
        };
        assert_eq!(activity.attempt, Some(3));
        assert_eq!(application.what, "error without a type");
        assert_eq!(
            application.message,
            "Activity function panicked: unexpected data: x"
        );
        Ok(())
    })
    .await
}

/// An error that quotes as much data as a workflow accepts is shortened, and is retried like any other. One
/// byte more fails the workflow before the activity runs.
#[tokio::test]
async fn shortens_errors_that_quote_long_data() -> anyhow::Result<()> {
    with_worker(async |env| {
        let beside = r#"{"data":"","trouble":"rejects"}"#.len();
        let start = |trouble: &str, bytes: usize| {
            let input = [json!({"data": "x".repeat(bytes - beside), "trouble": trouble})];
            let env = env.clone();
            async move {
                env.start_json::<TypedErrorsWorkflow>("TypedErrorsWorkflow", &input)
                    .await
            }
        };
        for (trouble, what, message, attempt) in [
            ("rejects", "DataRejected", "invalid data: ", 1),
            (
                "panics",
                "error without a type",
                "Activity function panicked: unexpected data: ",
                3,
            ),
        ] {
            let (_, causes) = failure(&start(trouble, MAX_INPUT).await?).await?;
            assert_eq!((&*causes[1].what, causes[0].attempt), (what, Some(attempt)));
            let expected = format!(
                "{message}{}… (shortened: the error has {} bytes, more than the limit of {MAX_ERROR})",
                "x".repeat(500 - message.len()),
                MAX_INPUT - beside + message.len()
            );
            assert_eq!(causes[1].message, expected);
        }

        let (_, causes) = failure(&start("rejects", MAX_INPUT + 1).await?).await?;
        let [cause] = &causes[..] else {
            panic!("{causes:#?}");
        };
        assert_eq!(
            cause.to_string(),
            "BadInput: bad input: 1572865 bytes, more than the limit of 1572864"
        );
        Ok(())
    })
    .await
}

/// Runs a child with the given id.
#[workflow]
#[derive(Default)]
struct ParentWorkflow;

#[workflow_methods]
impl ParentWorkflow {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, child_id: String) -> WorkflowResult<String> {
        let options = ChildWorkflowOptions::workflow_id(child_id);
        let child = ctx
            .start_child_workflow(DataProcessingWorkflow::run, "x", options)
            .await
            .or_cancelled(ctx)?;
        child.result().await.or_cancelled(ctx)
    }
}

/// Checks the fields that a workflow in another language sees: each row of the table in `INTEROP.md`.
#[tokio::test]
async fn failures_as_other_sdks_see_them() -> anyhow::Result<()> {
    let env = TestEnv::with_data_converter(data_converter()).await?;
    let with_parent = |task_queue: &str| -> anyhow::Result<WorkerOptions> {
        let mut options = worker_options(task_queue)?;
        options.register_workflow::<ParentWorkflow>()?;
        Ok(options)
    };
    env.work(with_parent, async {
        let failed = async |child_id: String, id: String| {
            let handle = env
                .start_json_as::<ParentWorkflow>(id, "ParentWorkflow", &[json!(child_id)])
                .await?;
            let error = handle.get_result(Default::default()).await;
            let Err(WorkflowGetResultError::Failed(failure)) = error else {
                anyhow::bail!("{error:?}");
            };
            anyhow::Ok(failure.failure().clone())
        };
        let id = || env.start_options().workflow_id;

        // The parent's own id is already in use.
        let own = id();
        let taken = failed(own.clone(), own).await?;
        let info = taken.maybe_application_failure();
        assert_eq!(info.map(|info| &*info.r#type), Some(CHILD_ID_TAKEN));
        assert_eq!(taken.source, FAILURE_SOURCE);

        let child = failed(id(), id()).await?;
        let causes: Vec<_> = successors(Some(&child), |failure| failure.cause.as_deref()).collect();
        let [child, activity, application] = &causes[..] else {
            panic!("{causes:#?}");
        };
        for failure in [child, activity, application] {
            assert_eq!(failure.source, FAILURE_SOURCE, "{failure:?}");
        }
        let Some(FailureInfo::ChildWorkflowExecutionFailureInfo(info)) = &child.failure_info else {
            panic!("{child:#?}");
        };
        assert_eq!(info.namespace, "");
        let activity_info = &activity.failure_info;
        assert!(matches!(
            activity_info,
            Some(FailureInfo::ActivityFailureInfo(_))
        ));

        let (_, panic) = failure(&start(&env, "panics").await?).await?;
        assert_eq!(
            (&*panic[1].what, &*panic[1].stack_trace),
            ("error without a type", "")
        );

        let handle = start(&env, "busy").await?;
        let stack_trace = UntypedQuery::new("__stack_trace");
        let answer = handle
            .query(stack_trace, raw_json(&[]), Default::default())
            .await;
        let error = answer.map(|_| ()).expect_err("no stack trace");
        let unknown = "No query handler for '__stack_trace'";
        assert!(describe(&error).contains(unknown), "{error:?}");
        Ok(())
    })
    .await
}

/// Stands in for a fixed version of `TypedErrorsWorkflow`.
#[workflow]
#[derive(Default)]
pub struct FixedWorkflow;

#[workflow_methods]
impl FixedWorkflow {
    #[run(name = "TypedErrorsWorkflow")]
    pub async fn run(
        _ctx: &mut WorkflowContext<Self>,
        _input: Input<Value>,
    ) -> WorkflowResult<String> {
        Ok("fixed".to_owned())
    }
}

/// A panic in a workflow fails only the workflow task. The workflow continues when a worker has fixed code.
#[tokio::test]
async fn a_workflow_that_panics_waits_for_fixed_code() -> anyhow::Result<()> {
    let env = TestEnv::with_data_converter(data_converter()).await?;
    let mut options = env.start_options();
    // How long the server waits for a worker's answer before it gives the task to another worker.
    options.task_timeout = Some(Duration::from_secs(1));
    let input = TypedErrorsInput {
        data: "x".into(),
        trouble: Trouble::WorkflowPanics,
    };
    let run = TypedErrorsWorkflow::run;
    let handle = env
        .client
        .start_workflow(run, input.into(), options)
        .await?;
    env.work(worker_options, async {
        until(&handle, EventType::WorkflowTaskFailed).await?;
        let status = handle.describe(Default::default()).await?.status();
        assert_eq!(status, WorkflowExecutionStatus::Running);
        Ok(())
    })
    .await?;

    let fixed = |task_queue: &str| -> Result<WorkerOptions, anyhow::Error> {
        Ok(WorkerOptions::new(task_queue)
            .register_workflow::<FixedWorkflow>()?
            .build())
    };
    env.work(fixed, async {
        assert_eq!(handle.get_result(Default::default()).await?, "fixed");
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before its activity starts ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::with_data_converter(data_converter()).await?;
    let handle = start(&env, "too-slow").await?;
    env.ends_cancelled(&handle, worker_options).await
}

/// Input that does not decode fails the workflow at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(async |env| {
        let kind = "DataProcessingWorkflow";
        let handle = env
            .start_json::<DataProcessingWorkflow>(kind, &[json!(5)])
            .await?;
        let reason = "invalid type: integer `5`, expected a string";
        assert_eq!(bad_input(&handle).await?, reason);

        let reason = bad_input(&start(&env, "explodes").await?).await?;
        assert!(
            reason.starts_with("`trouble`: unknown variant `explodes`, expected one of `fails`"),
            "{reason}"
        );
        Ok(())
    })
    .await
}
