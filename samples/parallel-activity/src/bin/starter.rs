//! Starts one of the two workflows and waits for its result.

use clap::Parser;
use parallel_activity::{
    TASK_QUEUE,
    workflows::{BoundedInput, SayHelloBoundedWorkflow, SayHelloWorkflow},
};
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::num::NonZeroUsize;
use temporalio_client::WorkflowStartOptions;

/// Starts `SayHelloWorkflow`, or with --names `SayHelloBoundedWorkflow`, and prints its result.
#[derive(Parser)]
struct Args {
    /// Greet these instead of the five users, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    names: Vec<String>,

    /// How many of them at a time
    #[arg(long, default_value = "2", requires = "names")]
    at_most: NonZeroUsize,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        names,
        at_most,
        starter,
    } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options =
        WorkflowStartOptions::new(task_queue, starter.workflow_id("parallel-activity")?).build();
    let result = if names.is_empty() {
        let handle = client
            .start_workflow(SayHelloWorkflow::run, ().into(), options)
            .await?;
        print_started(&handle, task_queue);
        handle.get_result(Default::default()).await?
    } else {
        let input = BoundedInput { names, at_most };
        let handle = client
            .start_workflow(SayHelloBoundedWorkflow::run, input.into(), options)
            .await?;
        print_started(&handle, task_queue);
        handle.get_result(Default::default()).await?
    };
    Ok(print_result(&result)?)
}
