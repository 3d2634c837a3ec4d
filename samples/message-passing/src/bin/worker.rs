//! Polls the task queue and runs the workflow and its activity, until Ctrl-C or SIGTERM.

use clap::Parser;
use message_passing::{TASK_QUEUE, language::Language, worker_options};
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use temporalio_sdk::Worker;

/// Polls the task queue and runs the workflow and its activity, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// A language that the greeting service does not know; can be given several times
    #[arg(long, value_name = "LANGUAGE")]
    unsupported: Vec<Language>,

    #[command(flatten)]
    worker: WorkerArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        unsupported,
        worker: args,
    } = Args::parse();
    let runtime = args.init_telemetry()?;
    let client = args.connect().await?;
    let options = worker_options(args.task_queue(TASK_QUEUE)?, unsupported)?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
