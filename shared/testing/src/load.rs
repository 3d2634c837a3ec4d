//! The load of a sample: which workflows are started with which input, and how each of them must end.

use super::raw_json;
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use shared::describe;
use std::time::Duration;
use temporalio_client::{
    Client, UntypedSignal, UntypedWorkflow, WorkflowIdReusePolicy, WorkflowStartOptions,
    errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowStartError},
};
use temporalio_common::data_converters::RawValue;
use tokio::time::sleep;

/// Pause before a call that the server did not answer is repeated.
const AGAIN: Duration = Duration::from_millis(100);

/// A sample's `tests/load.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Arguments for the worker, in addition to the address and the task queue.
    #[serde(default)]
    pub worker_args: Vec<String>,
    /// Whether the worker has side effects, and writes them to the file of `--ledger FILE`.
    #[serde(default)]
    pub ledger: bool,
    /// Whether payloads are encrypted with the development key. The client then needs the codec, too.
    #[serde(default)]
    pub encrypted: bool,
    /// Number of workflows to start. Lower for a sample with slow workflows.
    #[serde(default = "workflows")]
    pub workflows: usize,
    /// The workflows to start, in turn.
    pub cases: Vec<Case>,
}

/// A workflow, and how it must end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Workflow type.
    pub workflow: String,
    /// Arguments, in which `{task_queue}` stands for the task queue of the test. With it, workflows of one test share
    /// something that no other test uses.
    #[serde(default)]
    pub input: Vec<Value>,
    /// Signal without arguments, which is sent as soon as the workflow has started.
    #[serde(default)]
    pub signal: Option<String>,
    /// How the workflow must end.
    pub ends: End,
    /// In `make soak`, part of the failure that is also accepted. It occurs if faults use up all attempts, or all
    /// the time, of an activity that has few.
    #[serde(default)]
    pub or_fails: Option<String>,
    /// In `tests/faults.rs`, for a workflow whose activity must fail at its last attempt: part of the failure that
    /// is also accepted. It occurs if the kill hits just that attempt, and contains the failure of the attempt
    /// before.
    #[serde(default)]
    pub last_lost: Option<String>,
}

/// How a workflow ends.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Completes with this result, in which `{workflow_id}` stands for its id.
    Result(Value),
    /// Fails, with a description that contains this text.
    Failure(String),
    /// Ends as CANCELED. The cancellation is sent as soon as the workflow has started.
    Cancelled,
}

fn workflows() -> usize {
    40
}

impl Load {
    /// Reads a `load.json`.
    ///
    /// # Errors
    /// If it does not decode, or has no cases.
    pub fn parse(json: &str) -> anyhow::Result<Self> {
        let load: Self = serde_json::from_str(json).context("not a load.json")?;
        ensure!(!load.cases.is_empty(), "a load.json without cases");
        Ok(load)
    }
}

impl Case {
    /// Starts the workflow under `id`, waits for its end, and returns how it ended. Keeps trying while the server
    /// does not answer.
    ///
    /// # Errors
    /// If the workflow does not end as this case says.
    pub async fn run(&self, client: &Client, task_queue: &str, id: &str) -> anyhow::Result<End> {
        while let Err(error) = self.start(client, task_queue, id).await {
            match error {
                // An earlier call, whose answer was lost, has started it.
                WorkflowStartError::AlreadyStarted { .. } => break,
                WorkflowStartError::Rpc(_) => sleep(AGAIN).await,
                error => return Err(error.into()),
            }
        }
        let handle = client.get_workflow_handle::<UntypedWorkflow>(id);
        if let Some(signal) = &self.signal {
            let nothing = || raw_json(&[]);
            let signal = || UntypedSignal::new(signal);
            until_heard(|| handle.signal(signal(), nothing(), Default::default())).await;
        }
        if self.ends == End::Cancelled {
            until_heard(|| handle.cancel(Default::default())).await;
        }
        let end = loop {
            match handle.get_result(Default::default()).await {
                Err(WorkflowGetResultError::Rpc(_) | WorkflowGetResultError::Other(_)) => {
                    sleep(AGAIN).await;
                }
                Ok(result) => break End::Result(json(&result)?),
                Err(WorkflowGetResultError::Cancelled { .. }) => break End::Cancelled,
                Err(error) => break End::Failure(describe(&error)),
            }
        };
        let as_designed = match (&end, &self.ends) {
            (End::Failure(failure), End::Failure(part)) if failure.contains(part) => true,
            (End::Result(result), End::Result(designed)) => {
                let (result, designed) = (result.to_string(), designed.to_string());
                result == designed.replace("{workflow_id}", id)
            }
            (End::Failure(failure), _) => {
                let part = self.or_fails.as_ref();
                part.is_some_and(|part| failure.contains(part))
            }
            (end, designed) => end == designed,
        };
        ensure!(as_designed, "{id} ended otherwise: {end:?}");
        Ok(end)
    }

    async fn start(
        &self,
        client: &Client,
        task_queue: &str,
        id: &str,
    ) -> Result<(), WorkflowStartError> {
        let workflow = UntypedWorkflow::new(&self.workflow);
        // An earlier call, whose answer was lost, may have started the workflow, which may even have ended.
        let options = WorkflowStartOptions::new(task_queue, id)
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .build();
        let started = client.start_workflow(workflow, raw_json(&self.input), options);
        started.await.map(drop)
    }
}

/// Repeats a call until the server answers. "The workflow has ended" is an answer, too: an earlier call ended it.
async fn until_heard<F>(call: impl Fn() -> F)
where
    F: Future<Output = Result<(), WorkflowInteractionError>>,
{
    while let Err(error) = call().await {
        if let WorkflowInteractionError::NotFound(_) = error {
            break;
        }
        sleep(AGAIN).await;
    }
}

fn json(result: &RawValue) -> anyhow::Result<Value> {
    match &result.payloads[..] {
        [payload] if payload.data.is_empty() => Ok(Value::Null),
        [payload] => serde_json::from_slice(&payload.data).context("a result that is no JSON"),
        payloads => bail!("{} results", payloads.len()),
    }
}
