//! Starts the workflow, changes its wake-up time, and prints its result.

use anyhow::Context;
use clap::Parser;
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::time::{Duration, SystemTime};
use temporalio_client::{Client, WorkflowHandle, WorkflowStartOptions};
use updatable_timer::{
    TASK_QUEUE,
    workflows::{UpdatableTimerWorkflow, WakeUpTime},
};

/// Starts a workflow that waits, changes its wake-up time, and prints its result.
#[derive(Parser)]
struct Args {
    /// Seconds to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 24 * 60 * 60)]
    seconds: u32,

    /// Seconds to wait after the change
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    update: u32,

    /// Do not change the wake-up time, and wait until it has come or somebody else changes it
    #[arg(long, conflicts_with = "update")]
    wait: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let id = args.starter.workflow_id("updatable-timer")?;
    let options = WorkflowStartOptions::new(task_queue, id.clone()).build();
    let started = client
        .start_workflow(
            UpdatableTimerWorkflow::run,
            after(args.seconds)?.into(),
            options,
        )
        .await?;
    print_started(&started, task_queue);
    // By the id, because a handle that is bound to the first run does not reach a later run.
    let workflow = client.get_workflow_handle::<UpdatableTimerWorkflow>(id);
    print_rest(&workflow).await?;
    if !args.wait {
        let update = UpdatableTimerWorkflow::update_wake_up_time;
        let time = after(args.update)?.into();
        workflow.signal(update, time, Default::default()).await?;
        print_rest(&workflow).await?;
    }
    print_result(&workflow.get_result(Default::default()).await?)
}

/// Returns the time that comes in so many seconds.
fn after(seconds: u32) -> anyhow::Result<WakeUpTime> {
    let time = SystemTime::now().checked_add(Duration::from_secs(seconds.into()));
    Ok(time.context("this machine's clock is wrong")?.into())
}

/// Asks the workflow when it wakes up, and prints how long that is.
async fn print_rest(
    workflow: &WorkflowHandle<Client, UpdatableTimerWorkflow>,
) -> anyhow::Result<()> {
    let query = UpdatableTimerWorkflow::get_wake_up_time;
    let time = workflow.query(query, ().into(), Default::default()).await?;
    let rest = time.and_then(|time| time.rest(SystemTime::now()));
    let seconds = rest.unwrap_or_default().as_secs_f64();
    eprintln!("wakes up in {seconds:.0} s");
    Ok(())
}
