//! Starts the workflow, and prints its result and how many history events the polling needed.

use clap::Parser;
use polling_frequent::{TASK_QUEUE, workflows::GreetingWorkflow};
use shared::{MainResult, StarterArgs, print_result, print_started};
use temporalio_client::WorkflowStartOptions;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;

/// Starts `GreetingWorkflow` and prints its result.
#[derive(Parser)]
struct Args {
    /// Name to greet
    #[arg(long, default_value = "World")]
    name: String,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args { name, starter } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options =
        WorkflowStartOptions::new(task_queue, starter.workflow_id("polling-frequent")?).build();
    let handle = client
        .start_workflow(GreetingWorkflow::run, name.into(), options)
        .await?;
    print_started(&handle, task_queue);
    let result = handle.get_result(Default::default()).await?;

    let history = handle.fetch_history(Default::default());
    let events = history.into_events().await?;
    let attempt = events.iter().find_map(|event| match &event.attributes {
        Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started.attempt),
        _ => None,
    });
    eprintln!(
        "cost     {} history events, attempt {}",
        events.len(),
        attempt.unwrap_or_default()
    );
    print_result(&result)
}
