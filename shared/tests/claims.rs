//! Tests statements of the READMEs about the SDK. If a new version of the SDK behaves differently, a test fails. Then
//! change the text that it names.

#![allow(missing_docs, reason = "workflows for this test alone")]

use anyhow::Context;
use serde_json::json;
use shared::describe;
use std::time::Duration;
use temporalio_client::{
    ActivityStartOptions, Client, ClientOptions, ConnectionOptions, UntypedSignal, UntypedWorkflow,
    Url,
};
use temporalio_common::{
    RetryPolicy, UntypedActivity,
    protos::temporal::api::{
        enums::v1::EventType::{WorkflowTaskCompleted, WorkflowTaskFailed},
        history::v1::history_event::Attributes,
    },
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, SyncWorkflowContext, WorkerOptions, WorkflowContext,
    WorkflowRegistrationError, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{event_types, events, raw_json, until, with_worker};
use tokio::net::TcpListener;

/// Awaits a timer of tokio.
#[workflow]
#[derive(Default)]
pub struct ForeignFutureWorkflow;

#[workflow_methods]
impl ForeignFutureWorkflow {
    #[run]
    pub async fn run(_ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(())
    }

    #[signal]
    pub fn wake(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {}
}

/// Runs an activity whose result is too large, with a retry policy that does not retry this failure.
#[workflow]
#[derive(Default)]
pub struct LargeResultWorkflow;

#[workflow_methods]
impl LargeResultWorkflow {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<usize> {
        let policy = RetryPolicy::builder()
            .non_retryable_error_types(vec!["PayloadsTooLarge".to_owned()])
            .build();
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(10))
            .retry_policy(policy)
            .build();
        let large = ctx.execute_activity(Activities::large, (), options).await?;
        Ok(large.len())
    }
}

pub struct Activities;

#[activities]
impl Activities {
    #[activity]
    pub async fn large(_ctx: ActivityContext) -> Result<String, ActivityError> {
        Ok("x".repeat(3 << 20))
    }

    #[activity]
    pub async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(format!("Hello, {name}!"))
    }
}

/// Returns options without the interceptors of the samples, which handle large results themselves.
fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<ForeignFutureWorkflow>()?
        .register_workflow::<LargeResultWorkflow>()?
        .register_activities(Activities)
        .build())
}

/// Trap 1 of the README: workflow code that awaits a future of another library waits until the next workflow task,
/// which then fails.
#[tokio::test]
async fn a_foreign_future_fails_the_next_task() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .start_json::<UntypedWorkflow>("ForeignFutureWorkflow", &[])
            .await?;
        until(&handle, WorkflowTaskCompleted).await?;
        // Much longer than the workflow sleeps.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            event_types(&handle).await?.last(),
            Some(&WorkflowTaskCompleted)
        );

        let wake = UntypedSignal::new("wake");
        handle
            .signal(wake, raw_json(&[]), Default::default())
            .await?;
        until(&handle, WorkflowTaskFailed).await?;
        let failed = events(&handle)
            .await?
            .into_iter()
            .find_map(|event| match event.attributes {
                Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) => failed.failure,
                _ => None,
            });
        let message = failed.context("no failure")?.message;
        assert!(
            message.starts_with("[TMPRL1100] Nondeterministic future detected"),
            "{message}"
        );
        handle.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}

/// Trap 15 of the README: the worker itself refuses an activity's result that is too large. The failure has a type
/// that a retry policy can exclude from retries.
#[tokio::test]
async fn a_large_result_has_a_type() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .start_json::<LargeResultWorkflow>("LargeResultWorkflow", &[])
            .await?;
        let error = handle.get_result(Default::default()).await;
        let error = describe(&error.err().context("completed")?);
        let failed = "workflow failed: activity Activities::large failed: ";
        assert!(error.starts_with(failed), "{error}");
        assert!(error.ends_with("(PayloadsTooLarge)"), "{error}");
        Ok(())
    })
    .await
}

/// Trap 4 of the README: an activity without an explicit name has the name of its method.
#[tokio::test]
async fn a_default_name_is_a_string() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let options = ActivityStartOptions::with_start_to_close_timeout(
            &env.task_queue,
            env.start_options().workflow_id,
            Duration::from_secs(10),
        );
        let greet = UntypedActivity::new("Activities::greet");
        let name = raw_json(&[json!("World")]);
        let started = env.client.start_activity(greet, name, options.build());
        let result = started.await?.result().await?;
        assert_eq!(result.payloads[0].data, b"\"Hello, World!\"");
        Ok(())
    })
    .await
}

/// Trap 9 of the README: the SDK's own limit on connecting is off by default, and does not cover a peer that sends
/// nothing.
#[tokio::test]
async fn connecting_has_no_limit() -> anyhow::Result<()> {
    let mute = TcpListener::bind("127.0.0.1:0").await?;
    let url = Url::parse(&format!("http://{}", mute.local_addr()?))?;
    let mut connection = ConnectionOptions::new(url).build();
    assert_eq!(connection.connect_timeout, None);
    connection.connect_timeout = Some(Duration::from_millis(100));
    let client = ClientOptions::new("default").build();
    let connecting = Client::connect(connection, client);
    let waited = tokio::time::timeout(Duration::from_secs(1), connecting).await;
    assert!(waited.is_err(), "it has ended by itself");
    Ok(())
}
