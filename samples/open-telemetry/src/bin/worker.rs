//! Polls the task queue, runs the workflows and their activities, and sends their spans.

use clap::Parser;
use open_telemetry::{
    TASK_QUEUE,
    telemetry::{OtlpArgs, Tracing, runtime},
    worker_options,
};
use shared::{MainResult, WorkerArgs, end_on_signals, init_logs_as, run_until_shutdown};
use std::time::Duration;
use temporalio_sdk::Worker;

/// Polls a task queue, runs the workflows and activities of this sample and sends their spans to a
/// collector, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    otlp: OtlpArgs,

    /// Send the SDK's metrics there too, every ten seconds or as often as said here
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

// Not on one thread: `finish` would block that, and with it what sends the last spans.
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
    Ok(ended?)
}
