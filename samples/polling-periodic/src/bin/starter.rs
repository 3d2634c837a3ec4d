//! Starts the workflow, and prints its result and how many history events the polling needed.

use anyhow::Context;
use clap::Parser;
use polling_periodic::{
    TASK_QUEUE,
    workflows::{GreetingWorkflow, PollGreetingWorkflow, PollOptions},
};
use shared::{MainResult, StarterArgs, histories, print_result, print_started};
use std::num::NonZeroU32;
use temporalio_client::{
    Client, NamespacedClient, WorkflowExecutionInfo, WorkflowHandle, WorkflowStartOptions,
};
use temporalio_common::protos::temporal::api::history::v1::{
    HistoryEvent, history_event::Attributes,
};

/// Starts `GreetingWorkflow` and prints its result.
#[derive(Parser)]
struct Args {
    /// Name to greet
    #[arg(long, default_value = "World")]
    name: String,

    /// Seconds between two polls [default: 1, which is the workflow's default]
    #[arg(long, value_name = "SECONDS")]
    poll_interval: Option<NonZeroU32>,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        name,
        poll_interval,
        starter,
    } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options =
        WorkflowStartOptions::new(task_queue, starter.workflow_id("polling-periodic")?).build();
    let poll_options = poll_interval.map(|poll_interval_seconds| PollOptions {
        poll_interval_seconds,
    });
    let handle = client
        .start_workflow(GreetingWorkflow::run, (name, poll_options).into(), options)
        .await?;
    print_started(&handle, task_queue);
    let result = handle.get_result(Default::default()).await?;

    let history = handle.fetch_history(Default::default());
    let events = history.into_events().await?;
    let runs = child_runs(&client, &events).await?;
    eprintln!(
        "cost     {} history events, and {} in {} runs of the child",
        events.len(),
        runs.iter().sum::<usize>(),
        runs.len()
    );
    print_result(&result)
}

/// Returns the number of events in each run of the child.
async fn child_runs(client: &Client, parent: &[HistoryEvent]) -> anyhow::Result<Vec<usize>> {
    let started = |event: &HistoryEvent| match &event.attributes {
        Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(started)) => {
            started.workflow_execution.clone()
        }
        _ => None,
    };
    let first = parent
        .iter()
        .find_map(started)
        .context("the history has no child workflow")?;
    let info = WorkflowExecutionInfo::builder()
        .namespace(client.namespace())
        .workflow_id(first.workflow_id)
        .run_id(first.run_id)
        .build();
    let child = WorkflowHandle::<Client, PollGreetingWorkflow>::new(client.clone(), info);
    Ok(histories(&child).await?.iter().map(Vec::len).collect())
}
