//! Polls the task queue and runs the workflow and its activities.

use activity_choice::{TASK_QUEUE, ledger::Ledger, worker_options};
use clap::Parser;
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use std::path::PathBuf;
use temporalio_sdk::Worker;

/// Polls a task queue and runs the workflow and its activities, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// File for the orders, a line each [default: they are made nowhere]
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
    Ok(run_until_shutdown(worker).await?)
}
