//! Starts the workflow and prints its result. It connects with TLS as the worker does, by configuration alone.

use clap::Parser;
use mtls::{TASK_QUEUE, workflows::SecureWorkflow};
use shared::{MainResult, StarterArgs, print_result, print_started};
use temporalio_client::WorkflowStartOptions;

/// Starts `SecureWorkflow` and prints its result.
#[derive(Parser)]
struct Args {
    /// Text to process
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
    print_result(&result)
}
