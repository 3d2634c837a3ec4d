//! Polls the task queue and runs the workflows and their activity, until Ctrl-C or SIGTERM.

use clap::Parser;
use resource_pool::{
    TASK_QUEUE,
    activities::{ResourceActivities, USE_MS},
    ledger::Ledger,
    worker_options,
};
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use std::{path::PathBuf, time::Duration};
use temporalio_sdk::Worker;

/// Polls the task queue and runs the workflows and their activity, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// File in which the resources record who enters and leaves, one line each [default: none]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,

    /// How long one use of a resource takes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = USE_MS)]
    use_ms: u32,

    #[command(flatten)]
    worker: WorkerArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let runtime = args.worker.init_telemetry()?;
    let client = args.worker.connect().await?;
    let activities = ResourceActivities {
        use_time: Duration::from_millis(args.use_ms.into()),
        ledger: args.ledger.map(Ledger::new),
    };
    let options = worker_options(args.worker.task_queue(TASK_QUEUE)?, activities)?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
