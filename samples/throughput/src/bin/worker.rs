//! Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
//!
//! Its flags change how much the worker costs.

use clap::Parser;
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use std::num::NonZeroUsize;
use temporalio_client::GrpcCompression;
use temporalio_sdk::{
    Worker,
    runtime::{AutoscalingOptions, PollerBehavior},
};
use throughput::{TASK_QUEUE, encryption::Encryption, worker_options};
use tokio::runtime::Builder;

/// Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    worker: WorkerArgs,

    /// Number of workflows kept in memory; other workflows are replayed from their histories [default: 1000]
    #[arg(long, value_name = "COUNT")]
    max_cached_workflows: Option<usize>,

    /// Number of concurrent polls, for workflow tasks and for activity tasks each; with `auto`, the server
    /// decides [default: 5]
    #[arg(long, value_name = "COUNT|auto", value_parser = pollers)]
    pollers: Option<PollerBehavior>,

    /// Number of threads for activities and connections [default: one per core]. With 1, an activity that
    /// blocks or computes stops every heartbeat and poll of the worker
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,

    /// Compression of requests [default: none on this machine, gzip elsewhere]
    #[arg(long, value_enum)]
    compression: Option<Compression>,

    #[command(flatten)]
    encryption: Encryption,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Compression {
    None,
    Gzip,
}

fn pollers(argument: &str) -> Result<PollerBehavior, &'static str> {
    match argument.parse::<u16>() {
        // The SDK needs one poller for workflows in its cache, and one for others.
        Ok(count @ 2..) => Ok(PollerBehavior::SimpleMaximum(count.into())),
        Err(_) if argument == "auto" => {
            let options = AutoscalingOptions::builder()
                .minimum(1)
                .maximum(100)
                .initial(5);
            Ok(PollerBehavior::Autoscaling(options.build()))
        }
        Ok(_) | Err(_) => Err("neither a number from 2 to 65535 nor `auto`"),
    }
}

fn main() -> MainResult {
    let args = Args::parse();
    // Without `--threads`, this is the runtime that `#[tokio::main]` builds.
    let mut runtime = match args.threads.map(NonZeroUsize::get) {
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(threads) = args.threads {
        runtime.worker_threads(threads.get());
    }
    runtime.enable_all().build()?.block_on(run(args))
}

async fn run(args: Args) -> MainResult {
    let runtime = args.worker.init_telemetry()?;
    let remote = args.worker.connection.remote_address()?;
    let data_converter = args.encryption.data_converter(remote.as_deref())?;
    let client = args.worker.connection.connect_as(|connection, client| {
        client.data_converter = data_converter;
        match args.compression {
            Some(Compression::None) => connection.grpc_compression = GrpcCompression::None,
            Some(Compression::Gzip) => connection.grpc_compression = GrpcCompression::Gzip,
            None => {}
        }
    });
    let client = client.await?;
    let mut options = worker_options(args.worker.task_queue(TASK_QUEUE)?)?;
    if let Some(workflows) = args.max_cached_workflows {
        options.max_cached_workflows = workflows;
    }
    if let Some(pollers) = args.pollers {
        options.workflow_task_poller_behavior = Some(pollers);
        options.activity_task_poller_behavior = Some(pollers);
    }
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
