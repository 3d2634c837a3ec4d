//! Starts a workflow that fails, and prints why.

use anyhow::{Context, bail};
use clap::Parser;
use exceptions::{
    TASK_QUEUE,
    activities::Trouble,
    causes::causes,
    workflows::{DataProcessingWorkflow, TypedErrorsInput, TypedErrorsWorkflow},
};
use futures::TryStreamExt;
use shared::{MainResult, StarterArgs, print_result, print_started, printable};
use temporalio_client::{
    Client, WorkflowFetchHistoryOptions, WorkflowHandle, WorkflowStartOptions,
    errors::WorkflowGetResultError,
};
use temporalio_common::{
    HasWorkflowDefinition, protos::temporal::api::history::v1::history_event::Attributes,
};

/// Starts `DataProcessingWorkflow`, which fails, and prints the chain of causes.
#[derive(Parser)]
struct Args {
    /// Data to process
    #[arg(long, default_value = "test-data")]
    data: String,

    /// Start `TypedErrorsWorkflow` instead, and let it fail in this way
    #[arg(long, value_enum)]
    trouble: Option<Trouble>,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        data,
        trouble,
        starter,
    } = Args::parse();
    // Only the worker needs our data converter. A client reads stack traces without it.
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options = WorkflowStartOptions::new(task_queue, starter.workflow_id("exceptions")?).build();
    let Some(trouble) = trouble else {
        let run = DataProcessingWorkflow::run;
        let handle = client.start_workflow(run, data.into(), options).await?;
        print_started(&handle, task_queue);
        return print_result(failed(&handle).await?);
    };

    let input = TypedErrorsInput { data, trouble };
    let handle = client
        .start_workflow(TypedErrorsWorkflow::run, input.into(), options)
        .await?;
    print_started(&handle, task_queue);
    match trouble {
        Trouble::Busy => print_result(&handle.get_result(Default::default()).await?),
        Trouble::WorkflowPanics => print_result(stuck(&handle).await?),
        _ => print_result(failed(&handle).await?),
    }
}

/// Waits until the workflow fails, and prints each cause with its stack trace.
async fn failed<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<&'static str> {
    let error = match handle.get_result(Default::default()).await {
        Ok(_) => bail!("the workflow completed, although it should have failed"),
        Err(error @ WorkflowGetResultError::Failed(_)) => error,
        Err(other) => return Err(other.into()),
    };
    let history = handle.fetch_history(Default::default());
    for cause in causes(&error, &history.into_events().await?) {
        eprintln!("cause    {cause}");
    }
    Ok("FAILED")
}

/// Waits until a workflow task has failed, prints why, and terminates the workflow. Otherwise the server
/// would retry the task forever.
async fn stuck<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<&'static str> {
    let follow = WorkflowFetchHistoryOptions::builder()
        .wait_new_event(true)
        .build();
    let mut history = handle.fetch_history(follow);
    let message = loop {
        let event = history
            .try_next()
            .await?
            .context("the workflow ended, although it should have panicked")?;
        if let Some(Attributes::WorkflowTaskFailedEventAttributes(task)) = event.attributes {
            break task.failure.unwrap_or_default().message;
        }
    };
    eprintln!("stuck    workflow task failed: {}", printable(&message));
    handle.terminate(Default::default()).await?;
    Ok("TERMINATED")
}
