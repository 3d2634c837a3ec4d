//! Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
//!
//! It also serves the metrics.

use clap::Parser;
use custom_metrics::{
    TASK_QUEUE,
    metrics::{ADDRESS, Metrics},
    worker_options,
};
use shared::{MainResult, WorkerArgs, end_on_signals, init_logs_as, run_until_shutdown};
use std::net::SocketAddr;
use temporalio_sdk::Worker;

/// Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// Address on which to serve metrics for Prometheus; port 0 stands for any free port
    #[arg(long, default_value = ADDRESS, value_name = "IP:PORT")]
    metrics_address: SocketAddr,

    #[command(flatten)]
    worker: WorkerArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    end_on_signals()?;
    init_logs_as(args.worker.log_format)?;
    let metrics = Metrics::serve(args.metrics_address)?;
    tracing::info!("metrics at http://{}/metrics", metrics.address());
    let runtime = metrics.runtime()?;
    let client = metrics.connect(&args.worker.connection).await?;
    let options = worker_options(args.worker.task_queue(TASK_QUEUE)?, metrics)?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
