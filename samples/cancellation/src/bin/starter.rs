//! Starts the workflow, waits until it works, cancels it, and checks how it ended.

use anyhow::bail;
use cancellation::{TASK_QUEUE, workflows::CancellationWorkflow};
use clap::Parser;
use shared::{MainResult, StarterArgs, print_result, print_started, printable};
use std::time::Duration;
use temporalio_client::{
    Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowStartOptions,
    errors::WorkflowGetResultError,
};
use temporalio_common::{
    HasWorkflowDefinition, protos::temporal::api::history::v1::history_event::Attributes,
};

/// Starts `CancellationWorkflow`, cancels it, and prints how it ended.
#[derive(Parser)]
struct Args {
    /// Terminate the workflow instead of cancelling it, so that it cannot clean up
    #[arg(long)]
    terminate: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args { terminate, starter } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options =
        WorkflowStartOptions::new(task_queue, starter.workflow_id("cancellation")?).build();
    let handle = client
        .start_workflow(CancellationWorkflow::run, ().into(), options)
        .await?;
    print_started(&handle, task_queue);
    wait_for_heartbeat(&handle).await?;

    let expected = if terminate {
        handle.terminate(Default::default()).await?;
        "TERMINATED"
    } else {
        // This is only a request: the workflow decides when and how it ends.
        handle.cancel(Default::default()).await?;
        "CANCELED"
    };
    let ended = match handle.get_result(Default::default()).await {
        Ok(()) => "COMPLETED",
        Err(WorkflowGetResultError::Cancelled { .. }) => "CANCELED",
        Err(WorkflowGetResultError::Terminated { .. }) => "TERMINATED",
        Err(other) => return Err(other.into()),
    };
    eprintln!(
        "ran      {}",
        printable(&activities(&handle).await?.join(", "))
    );
    if ended != expected {
        return Err(anyhow::anyhow!("the workflow ended {ended}, not {expected}").into());
    }
    print_result(ended)
}

/// Waits for the first heartbeat of the activity, so that the cancellation meets running work.
async fn wait_for_heartbeat<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<()> {
    loop {
        let description = handle.describe(Default::default()).await?;
        let pending = &description.raw().pending_activities;
        if pending
            .iter()
            .any(|activity| activity.last_heartbeat_time.is_some())
        {
            return Ok(());
        }
        if description.status() != WorkflowExecutionStatus::Running {
            bail!("the workflow ended before it was cancelled");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the types of the activities that the workflow has scheduled.
async fn activities<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Vec<String>> {
    let events = handle
        .fetch_history(Default::default())
        .into_events()
        .await?;
    let scheduled = events
        .into_iter()
        .filter_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(a)) => {
                Some(a.activity_type?.name)
            }
            _ => None,
        });
    Ok(scheduled.collect())
}
