//! Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
//!
//! The worker has the key, and the server does not.

use clap::Parser;
use encryption::{TASK_QUEUE, encrypted, worker_options};
use payload_codec::EncryptionArgs;
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use temporalio_sdk::Worker;

/// Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    worker: WorkerArgs,

    #[command(flatten)]
    encryption: EncryptionArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        worker: args,
        encryption,
    } = Args::parse();
    let runtime = args.init_telemetry()?;
    let remote = args.connection.remote_address()?;
    let codec = encryption.codec(remote.as_deref())?;
    let client = encrypted(args.connect().await?, codec);
    let options = worker_options(args.task_queue(TASK_QUEUE)?)?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
