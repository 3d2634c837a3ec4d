//! Starts the workflow and waits for its result.

use clap::Parser;
use hello::{TASK_QUEUE, workflows::HelloWorkflow};
use shared::{MainResult, StarterArgs, print_result, print_started};
use temporalio_client::WorkflowStartOptions;

/// Starts `HelloWorkflow` and prints its result.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    starter: StarterArgs,

    /// Name to greet
    #[arg(long, default_value = "Temporal")]
    name: String,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args { starter, name } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options = WorkflowStartOptions::new(task_queue, starter.workflow_id("hello")?).build();
    let handle = client
        .start_workflow(HelloWorkflow::run, name.into(), options)
        .await?;
    print_started(&handle, task_queue);
    let result = handle.get_result(Default::default()).await?;
    print_result(&result)
}
