//! Polls the task queue and runs the workflows and their activities, until Ctrl-C or SIGTERM.

use clap::Parser;
use mutex::{TASK_QUEUE, ledger::Ledger, worker_options};
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use std::path::PathBuf;
use temporalio_sdk::Worker;

/// Polls the task queue and runs the workflows and their activities, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// File in which the resource records who enters and leaves, one line each [default: none]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,

    #[command(flatten)]
    worker: WorkerArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        ledger,
        worker: args,
    } = Args::parse();
    let runtime = args.init_telemetry()?;
    let client = args.connect().await?;
    let options = worker_options(args.task_queue(TASK_QUEUE)?, ledger.map(Ledger::new))?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
