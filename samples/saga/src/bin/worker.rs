//! Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.

use clap::Parser;
use saga::{TASK_QUEUE, ledger::Ledger, worker_options};
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use std::path::PathBuf;
use temporalio_sdk::Worker;

/// Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// SQLite database in which the activities record what they do
    #[arg(long, value_name = "FILE", default_value = ".temporal/saga/ledger.db")]
    ledger: PathBuf,

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
    let ledger = Ledger::open(&ledger)?;
    let client = args.connect().await?;
    let options = worker_options(args.task_queue(TASK_QUEUE)?, ledger)?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
