//! Starts the workflow, completes it after a while, and prints its result.

use clap::Parser;
use shared::{MainResult, StarterArgs, print_result, print_started};
use sleep_for_days::{
    TASK_QUEUE,
    workflows::{SleepForDaysWorkflow, SleepOptions},
};
use std::{num::NonZeroU32, time::Duration};
use temporalio_client::WorkflowStartOptions;

/// Starts `SleepForDaysWorkflow`, completes it after a while, and prints its result.
#[derive(Parser)]
struct Args {
    /// Seconds from one e-mail to the next [default: 30 days]
    #[arg(long, value_name = "SECONDS")]
    interval: Option<NonZeroU32>,

    /// Seconds after which to complete the workflow
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    complete_after: u32,

    /// Do not complete the workflow, and wait until somebody else does
    #[arg(long, conflicts_with = "complete_after")]
    wait: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let id = args.starter.workflow_id("sleep-for-days")?;
    let options = WorkflowStartOptions::new(task_queue, id.clone()).build();
    let sleep = args.interval.map(|seconds| SleepOptions { seconds });
    let started = client
        .start_workflow(SleepForDaysWorkflow::run, sleep.into(), options)
        .await?;
    print_started(&started, task_queue);
    // By the id, because the signal of a handle that is bound to the first run does not reach a later run.
    let workflow = client.get_workflow_handle::<SleepForDaysWorkflow>(id);
    if !args.wait {
        tokio::time::sleep(Duration::from_secs(args.complete_after.into())).await;
        let complete = SleepForDaysWorkflow::complete;
        workflow
            .signal(complete, ().into(), Default::default())
            .await?;
    }
    print_result(&workflow.get_result(Default::default()).await?)
}
