//! Polls the task queue and runs the workflow as it is at one stage, and its activities.

use clap::Parser;
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use temporalio_sdk::Worker;
use versioning::{TASK_QUEUE, stages::Stage, worker_options};

/// Polls a task queue and runs the workflow and its activities, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// Which stage of the code to run
    // From the environment too, for `make run-versioning`, whose ARGS go to the starter.
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
    Ok(run_until_shutdown(worker).await?)
}
