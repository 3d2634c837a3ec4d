//! Starts the workflow and waits for its result, through the same kind of connection as the worker's.

use clap::Parser;
use mtls::{TASK_QUEUE, workflows::SecureWorkflow};
use shared::{MainResult, StarterArgs, print_result, print_started};
use temporalio_client::WorkflowStartOptions;

/// Starts `SecureWorkflow` and prints its result.
#[derive(Parser)]
struct Args {
    /// What to process
    #[arg(long, default_value = "data")]
    data: String,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args { data, starter } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options = WorkflowStartOptions::new(task_queue, starter.workflow_id("mtls")?).build();
    let handle = client
        .start_workflow(SecureWorkflow::run, data.into(), options)
        .await?;
    print_started(&handle, task_queue);
    let result = handle.get_result(Default::default()).await?;
    Ok(print_result(&result)?)
}
