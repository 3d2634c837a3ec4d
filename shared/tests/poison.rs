//! Sends input that none of our clients would send to a worker that also serves others.

#![allow(missing_docs, reason = "a workflow for this test alone")]

use anyhow::Context;
use shared::{Input, MAX_INPUT, describe};
use std::time::Duration;
use temporalio_client::{Client, UntypedWorkflow, WorkflowHandle, errors::WorkflowStartError};
use temporalio_common::{data_converters::RawValue, protos::temporal::api::common::v1::Payload};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, WorkerOptions, WorkflowContext, WorkflowRegistrationError, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, activity_types, with_worker};
use tokio::time::timeout;

/// Greets the given name by running an activity, as hello does.
#[workflow]
#[derive(Default)]
pub struct GreetingWorkflow;

#[workflow_methods]
impl GreetingWorkflow {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        name: Input<String>,
    ) -> WorkflowResult<String> {
        let name = name.decode(ctx)?;
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(5));
        Ok(ctx
            .execute_activity(Greetings::greet, name, options)
            .await?)
    }
}

pub struct Greetings;

#[activities]
impl Greetings {
    #[activity(name = "greet")]
    pub async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(format!("Hello, {name}!"))
    }
}

fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<GreetingWorkflow>()?
        .register_activities(Greetings)
        .build())
}

/// Long enough for a payload of a megabyte in both directions.
const WITHIN: Duration = Duration::from_secs(10);

const MIB: usize = 1024 * 1024;

fn payload(encoding: &str, data: impl AsRef<[u8]>) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), encoding.into())].into(),
        data: data.as_ref().to_vec(),
        ..Default::default()
    }
}

fn name_of(length: usize) -> Payload {
    payload("json/plain", format!("\"{}\"", "x".repeat(length)))
}

async fn start(
    env: &TestEnv,
    payload: Payload,
) -> Result<WorkflowHandle<Client, GreetingWorkflow>, WorkflowStartError> {
    let options = env.start_options();
    let id = options.workflow_id.clone();
    let (workflow, input) = (
        UntypedWorkflow::new("GreetingWorkflow"),
        RawValue::new(vec![payload]),
    );
    env.client.start_workflow(workflow, input, options).await?;
    Ok(env.client.get_workflow_handle(id))
}

/// Returns how the workflow ended. Fails if it takes longer than a few seconds.
async fn end(handle: &WorkflowHandle<Client, GreetingWorkflow>) -> anyhow::Result<String> {
    let result = timeout(WITHIN, handle.get_result(Default::default())).await;
    Ok(result
        .context("hangs")?
        .unwrap_or_else(|error| describe(&error)))
}

/// Input that does not decode fails its workflow at once. A valid workflow after it completes.
#[tokio::test]
async fn input_that_does_not_decode() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let deep = [vec![b'['; 10_000], vec![b']'; 10_000]].concat();
        let cases = [
            (payload("json/plain", deep), "recursion limit exceeded"),
            (
                payload("json/plain", b"\"\xff\""),
                "invalid unicode code point",
            ),
            (payload("json/plain", r#""\ud800""#), "hex escape"),
            (payload("json/plain", "\"Ada"), "EOF"),
            (payload("json/plain", ""), "EOF"),
            (
                payload("json/strange", "\"Ada\""),
                "the payload's encoding is json/strange",
            ),
            (
                payload("binary/plain", b"Ada"),
                "send JSON instead of bytes",
            ),
            (Payload::default(), "invalid type: null"),
        ];
        let mut poisoned = Vec::new();
        for (payload, reason) in cases {
            poisoned.push((start(&env, payload).await?, reason));
        }
        let good = start(&env, name_of(1)).await?;
        assert_eq!(end(&good).await?, "Hello, x!");
        for (handle, reason) in poisoned {
            let failure = end(&handle).await?;
            let bad_input = failure.starts_with("workflow failed: bad input: ");
            assert!(bad_input && failure.contains(reason), "{failure}");
        }
        Ok(())
    })
    .await
}

/// A name of up to the limit is greeted, and other workflows are served meanwhile. A longer name fails its workflow
/// before an activity is scheduled. The server itself refuses 2 MiB, and the client learns about it.
#[tokio::test]
async fn long_names() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let quotes = "\"\"".len();
        for size in [MAX_INPUT - 1, MAX_INPUT] {
            let long = start(&env, name_of(size - quotes)).await?;
            let good = start(&env, name_of(1)).await?;
            assert_eq!(end(&good).await?, "Hello, x!");
            let greeting = end(&long).await?;
            assert_eq!(greeting.len(), size - quotes + "Hello, !".len());
        }
        // The last one is the largest that the server accepts. Its greeting would be larger.
        for size in [MAX_INPUT + 1, 2 * MIB - 38] {
            let long = start(&env, name_of(size - quotes)).await?;
            let expected = format!(
                "workflow failed: bad input: {size} bytes, more than the limit of 1572864 (BadInput)"
            );
            assert_eq!(end(&long).await?, expected);
            assert!(activity_types(&long).await?.is_empty());
        }
        for (length, reason) in [
            (2 * MIB, "Blob data size exceeds limit"),
            (5 * MIB, "larger than max"),
        ] {
            let error = start(&env, name_of(length)).await.err();
            let error = error.context("started")?.to_string();
            assert!(error.contains(reason), "{error}");
        }
        Ok(())
    })
    .await
}
