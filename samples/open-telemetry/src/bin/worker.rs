//! Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
//!
//! It also sends their spans to a collector.

use clap::Parser;
use open_telemetry::{
    TASK_QUEUE,
    telemetry::{OtlpArgs, Tracing, runtime},
    worker_options,
};
use shared::{MainResult, WorkerArgs, end_on_signals, init_logs_as, run_until_shutdown};
use std::time::Duration;
use temporalio_sdk::Worker;

/// Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    otlp: OtlpArgs,

    /// Also send the SDK's metrics to the collector, every SECONDS or, without a number, every ten seconds
    #[arg(
        long,
        help_heading = "OpenTelemetry",
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "10",
        value_parser = clap::value_parser!(u64).range(1..),
    )]
    otlp_metrics: Option<u64>,

    #[command(flatten)]
    worker: WorkerArgs,
}

// Needs more than one thread: `finish` blocks its thread until the last spans are sent by another.
#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    end_on_signals()?;
    init_logs_as(args.worker.log_format)?;
    let settings = args.otlp.settings()?;
    let runtime = runtime(&settings, args.otlp_metrics.map(Duration::from_secs))?;
    let tracing = Tracing::start("open-telemetry-worker", &settings)?;
    let client = tracing.connect(&args.worker.connection).await?;
    let options = worker_options(args.worker.task_queue(TASK_QUEUE)?)?;
    let ended = run_until_shutdown(Worker::new(&runtime, client, options)?).await;
    tracing.finish();
    ended
}
