//! A worker's command line and its end.

use crate::{ConnectionArgs, LogFormat, ShutdownSignals};
use anyhow::Context;
use futures::future::LocalBoxFuture;
use std::time::Duration;
use temporalio_client::Client;
use temporalio_common::data_converters::DataConverter;
use temporalio_sdk::{Runtime, Worker};

/// Polls a task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
#[derive(Clone, Debug, Default, clap::Parser)]
pub struct WorkerArgs {
    /// Where the server is.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// Task queue to poll [default: the sample's own]
    #[arg(long, env = "TEMPORAL_TASK_QUEUE", value_name = "NAME")]
    pub task_queue: Option<String>,

    /// Log lines for people, or for machines
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

impl WorkerArgs {
    /// Sends logs to stderr in the format asked for, then starts the SDK's runtime on the current
    /// tokio runtime.
    ///
    /// # Errors
    /// As [`crate::init_logs`]; also when called outside a tokio runtime.
    pub fn init_telemetry(&self) -> anyhow::Result<Runtime> {
        // Before the runtime: a subscriber that the SDK installs would see the calling thread alone,
        // and the activities run on the others.
        crate::init_logs_as(self.log_format)?;
        crate::telemetry::runtime()
    }

    /// Connects as the flags and the environment say; see [`ConnectionArgs::connect`].
    pub async fn connect(&self) -> anyhow::Result<Client> {
        self.connection.connect().await
    }

    /// As [`WorkerArgs::connect`], with a data converter of the sample's own.
    pub async fn connect_with(&self, data_converter: DataConverter) -> anyhow::Result<Client> {
        self.connection.connect_with(data_converter).await
    }

    /// Returns the given task queue, or else `default`.
    ///
    /// # Errors
    /// As [`crate::check_id`]: the SDK would keep polling a queue whose name the server refuses,
    /// without a word.
    pub fn task_queue<'a>(&'a self, default: &'a str) -> anyhow::Result<&'a str> {
        crate::output::task_queue(self.task_queue.as_deref(), default)
    }
}

/// The longest that a worker takes to stop after the first signal.
///
/// Whatever starts and stops a worker must give it more time than this, or it kills the worker instead:
/// `shared/scripts` and `docker-compose.yml` give it 30 seconds, and so does Kubernetes by default
/// (`terminationGracePeriodSeconds`). `docker stop` by default gives it only 10.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(25);

/// Runs the worker until Ctrl-C or SIGTERM, then lets it finish what it has begun.
///
/// On the first signal the worker stops polling; running activities have the worker's
/// `graceful_shutdown_period` to finish before they are cancelled, and are retried elsewhere if
/// they do not. An activity that ignores its cancellation holds the worker up, and so does a server
/// that is connected but does not answer. A second signal ends the process at once, with status 130;
/// after [`STOP_TIMEOUT`] it ends by itself, with status 1.
///
/// # Errors
/// If the worker cannot start (an unknown namespace) or loses what it cannot go on without.
pub fn run_until_shutdown(worker: Worker) -> LocalBoxFuture<'static, anyhow::Result<()>> {
    // Boxed for the same reason as `ConnectionArgs::connect`.
    Box::pin(run(worker))
}

async fn run(mut worker: Worker) -> anyhow::Result<()> {
    let task_queue = worker.task_queue().to_owned();
    let shutdown = worker.shutdown_handle();
    let mut signals = ShutdownSignals::new()?;

    tracing::info!(task_queue, "worker started, Ctrl-C stops it");
    let running = worker.run();
    tokio::pin!(running);
    tokio::select! {
        result = &mut running => return result.context("the worker stopped"),
        signal = signals.next() => tracing::info!(
            signal,
            "finishing what is running, for {} s at most; a second signal ends it at once",
            STOP_TIMEOUT.as_secs()
        ),
    }
    shutdown();
    tokio::select! {
        result = &mut running => result.context("the worker did not shut down cleanly"),
        signal = signals.next() => {
            tracing::warn!(signal, "ended at once, what was running will be retried");
            // Not by returning: tokio would wait for activities that block a thread.
            std::process::exit(130)
        }
        () = tokio::time::sleep(STOP_TIMEOUT) => {
            tracing::error!(
                "ended: not finished {} s after the signal, because an activity still runs or the server does not answer; what was running will be retried",
                STOP_TIMEOUT.as_secs()
            );
            std::process::exit(1)
        }
    }
}
