//! Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.

use clap::Parser;
use polled_service::ServiceUrlArgs;
use polling_periodic::{TASK_QUEUE, worker_options};
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use temporalio_sdk::Worker;

/// Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    service: ServiceUrlArgs,

    #[command(flatten)]
    worker: WorkerArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let runtime = args.worker.init_telemetry()?;
    // `_service` keeps the service running. With `_` it would be dropped here, and stop.
    let (service_url, _service) = args.service.service().await?;
    let client = args.worker.connect().await?;
    let options = worker_options(args.worker.task_queue(TASK_QUEUE)?, service_url)?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
