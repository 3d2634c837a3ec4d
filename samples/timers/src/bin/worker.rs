//! Polls the task queue and runs the workflows and their activities, until Ctrl-C or SIGTERM.

use clap::Parser;
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use temporalio_sdk::Worker;
use timers::{TASK_QUEUE, activities::OrderActivities, worker_options};

/// Polls the task queue and runs the workflows and their activities, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// Let the e-mail service fail
    #[arg(long)]
    email_down: bool,

    #[command(flatten)]
    worker: WorkerArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        email_down,
        worker: args,
    } = Args::parse();
    let runtime = args.init_telemetry()?;
    let client = args.connect().await?;
    let options = worker_options(args.task_queue(TASK_QUEUE)?, OrderActivities { email_down })?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
