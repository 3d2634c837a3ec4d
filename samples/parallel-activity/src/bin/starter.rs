//! Starts one of the three workflows and waits for its result.

use clap::Parser;
use parallel_activity::{
    TASK_QUEUE,
    workflows::{BoundedInput, SayHelloBoundedWorkflow, SayHelloEachWorkflow, SayHelloWorkflow},
};
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::num::NonZeroUsize;
use temporalio_client::WorkflowStartOptions;

/// Starts `SayHelloWorkflow`, or `SayHelloBoundedWorkflow` with --names, and prints its result.
#[derive(Parser)]
struct Args {
    /// Greet these users instead of the five; separate the names with commas
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    names: Vec<String>,

    /// Run at most this many greetings at the same time
    #[arg(long, default_value = "2", value_name = "WIDTH", requires = "names")]
    at_most: NonZeroUsize,

    /// Start `SayHelloEachWorkflow`, which reports failed greetings instead of failing
    #[arg(long, requires = "names")]
    each: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        names,
        at_most,
        each,
        starter,
    } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options =
        WorkflowStartOptions::new(task_queue, starter.workflow_id("parallel-activity")?).build();
    if names.is_empty() {
        let handle = client
            .start_workflow(SayHelloWorkflow::run, ().into(), options)
            .await?;
        print_started(&handle, task_queue);
        return print_result(&handle.get_result(Default::default()).await?);
    }
    let input = BoundedInput { names, at_most };
    if each {
        let handle = client
            .start_workflow(SayHelloEachWorkflow::run, input.into(), options)
            .await?;
        print_started(&handle, task_queue);
        return print_result(&handle.get_result(Default::default()).await?);
    }
    let handle = client
        .start_workflow(SayHelloBoundedWorkflow::run, input.into(), options)
        .await?;
    print_started(&handle, task_queue);
    print_result(&handle.get_result(Default::default()).await?)
}
