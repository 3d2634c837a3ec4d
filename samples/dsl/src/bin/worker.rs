//! Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.

use clap::Parser;
use dsl::{TASK_QUEUE, worker_options};
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use temporalio_sdk::Worker;

#[tokio::main]
async fn main() -> MainResult {
    let args = WorkerArgs::parse();
    let runtime = args.init_telemetry()?;
    let client = args.connect().await?;
    let options = worker_options(args.task_queue(TASK_QUEUE)?)?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
