//! What a sample's workflows are started with under load, and how each has to end.

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

/// Pause before a call is made again that the server did not answer.
const AGAIN: Duration = Duration::from_millis(100);

/// A sample's `tests/load.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Arguments for the worker, beside where the server is and which task queue.
    #[serde(default)]
    pub worker_args: Vec<String>,
    /// Whether the worker has side effects, and takes a file to tell them to: `--ledger FILE`.
    #[serde(default)]
    pub ledger: bool,
    /// Whether payloads are encrypted, with the development key: the client needs the codec too.
    #[serde(default)]
    pub encrypted: bool,
    /// How many workflows to start: fewer than others if they are slow.
    #[serde(default = "workflows")]
    pub workflows: usize,
    /// What to start, in turn.
    pub cases: Vec<Case>,
}

/// One workflow, and its end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its type.
    pub workflow: String,
    /// Its arguments.
    #[serde(default)]
    pub input: Vec<Value>,
    /// A signal without arguments, sent as soon as it has started.
    #[serde(default)]
    pub signal: Option<String>,
    /// How it ends.
    pub ends: End,
    /// In `make soak`, part of the failure in which it ends instead if the attempts or the time that its
    /// activities have, which is little, are lost to kills and cuts.
    #[serde(default)]
    pub or_fails: Option<String>,
    /// In `tests/faults.rs`, for one that is to fail by its last attempt: part of the failure in which
    /// it ends instead if the kill takes just that attempt, with the failure of the one before in it.
    #[serde(default)]
    pub last_lost: Option<String>,
}

/// How a workflow ends.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With this result, in which `{workflow_id}` stands for its id.
    Result(Value),
    /// In a failure whose description contains this.
    Failure(String),
    /// Cancelled: it is asked to as soon as it has started.
    Cancelled,
}

fn workflows() -> usize {
    40
}

impl Load {
    /// Reads a `load.json`.
    ///
    /// # Errors
    /// If it is none, or without cases.
    pub fn parse(json: &str) -> anyhow::Result<Self> {
        let load: Self = serde_json::from_str(json).context("not a load.json")?;
        ensure!(!load.cases.is_empty(), "a load.json without cases");
        Ok(load)
    }
}

impl Case {
    /// Starts the workflow under `id`, waits for its end, and says how it ended. Goes on asking while
    /// there is no server.
    ///
    /// # Errors
    /// If it ends otherwise than it should.
    pub async fn run(&self, client: &Client, task_queue: &str, id: &str) -> anyhow::Result<End> {
        while let Err(error) = self.start(client, task_queue, id).await {
            match error {
                // By an earlier try, whose answer got lost.
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
        // An earlier try, whose answer got lost, may have begun and ended it already.
        let options = WorkflowStartOptions::new(task_queue, id)
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .build();
        let started = client.start_workflow(workflow, raw_json(&self.input), options);
        started.await.map(drop)
    }
}

/// Calls again until there is an answer. That the workflow has ended is one: of an earlier call.
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
