//! Starts the workflow, and prints its result and how many history events the polling needed.

use clap::Parser;
use polling_infrequent::{
    TASK_QUEUE,
    workflows::{GreetingWorkflow, POLL_INTERVAL, PollOptions},
};
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::num::NonZeroU32;
use temporalio_client::WorkflowStartOptions;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;

/// Starts `GreetingWorkflow` and prints its result.
#[derive(Parser)]
struct Args {
    /// Name to greet
    #[arg(long, default_value = "World")]
    name: String,

    /// Seconds between two polls; with 60, the workflow's default, no second argument is sent
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    poll_interval: NonZeroU32,

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
        WorkflowStartOptions::new(task_queue, starter.workflow_id("polling-infrequent")?).build();
    let shortened = u64::from(poll_interval.get()) != POLL_INTERVAL.as_secs();
    let poll_options = shortened.then_some(PollOptions {
        poll_interval_seconds: poll_interval,
    });
    let handle = client
        .start_workflow(GreetingWorkflow::run, (name, poll_options).into(), options)
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
