//! Registers the search attribute, then polls the task queue and runs the workflow and its activity.

use clap::Parser;
use resumable_activity::{TASK_QUEUE, search_attribute, worker_options};
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use temporalio_sdk::Worker;

#[tokio::main]
async fn main() -> MainResult {
    let args = WorkerArgs::parse();
    let runtime = args.init_telemetry()?;
    let client = args.connect().await?;
    search_attribute::register(&client).await?;
    let options = worker_options(args.task_queue(TASK_QUEUE)?)?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
