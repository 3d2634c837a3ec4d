//! Polls the task queue and runs the workflow of one stage and its activities, until Ctrl-C or SIGTERM.

use clap::Parser;
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use temporalio_sdk::Worker;
use versioning::{TASK_QUEUE, stages::Stage, worker_options};

/// Polls the task queue and runs the workflow of one stage and its activities, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// Stage of the code to run
    // Also from the environment, because the ARGS of `make run-versioning` go to the starter.
    #[arg(long, env = "VERSIONING_STAGE", value_enum, default_value_t = Stage::Patched)]
    stage: Stage,

    #[command(flatten)]
    worker: WorkerArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        stage,
        worker: args,
    } = Args::parse();
    let runtime = args.init_telemetry()?;
    let client = args.connect().await?;
    let options = worker_options(args.task_queue(TASK_QUEUE)?, stage)?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
