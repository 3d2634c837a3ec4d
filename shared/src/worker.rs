//! A worker's command line and its shutdown.

use crate::{
    ConnectionArgs, LogFormat, MainResult, ShutdownSignals, end_on_signals,
    running::running_activities, signals,
};
use anyhow::Context;
use futures::future::LocalBoxFuture;
use std::time::Duration;
use temporalio_client::Client;
use temporalio_sdk::{Runtime, Worker};

/// How long running activities may go on after the first signal before the worker cancels them: the
/// `graceful_shutdown_period` of every worker.
///
/// Without one the SDK never cancels them, so a worker waits for its longest activity until somebody
/// kills it. The server would then learn about the lost attempt from a timeout; it learns about a
/// cancelled one at once.
pub const GRACEFUL_SHUTDOWN_PERIOD: Duration = Duration::from_secs(5);

/// How long a worker may take to end after the first signal, whatever its activities do.
///
/// Longer than [`GRACEFUL_SHUTDOWN_PERIOD`], so that cancelled activities can stop and report it.
/// Shorter than the time after which others kill the process: 10 s by default for `docker stop` and
/// Compose, which is also what `make` allows, and 30 s for Kubernetes. To give activities more time,
/// raise both constants and the time until the process is killed.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(9);

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
    /// Lets Ctrl-C and SIGTERM end the process until the worker runs, sends logs to stderr in the
    /// format asked for, then starts the SDK's runtime on the current tokio runtime.
    ///
    /// # Errors
    /// As [`end_on_signals`] and [`crate::init_logs`]; also when called outside a tokio runtime.
    pub fn init_telemetry(&self) -> anyhow::Result<Runtime> {
        end_on_signals()?;
        // Before the runtime: a subscriber that the SDK installs would see the calling thread alone,
        // and the activities run on the others.
        crate::init_logs_as(self.log_format)?;
        crate::telemetry::runtime()
    }

    /// Connects as the flags and the environment say; see [`ConnectionArgs::connect`].
    pub async fn connect(&self) -> anyhow::Result<Client> {
        self.connection.connect().await
    }

    /// Returns the given task queue, or `default` if none is given.
    ///
    /// # Errors
    /// As [`crate::check_id`]: the SDK would keep polling a queue whose name the server refuses,
    /// without a word.
    pub fn task_queue<'a>(&'a self, default: &'a str) -> anyhow::Result<&'a str> {
        crate::output::task_queue(self.task_queue.as_deref(), default)
    }
}

/// Runs the worker until Ctrl-C or SIGTERM, then lets it finish what it has begun.
///
/// On the first signal the worker stops polling, and logs which activities it waits for. They have
/// the worker's `graceful_shutdown_period` to finish before they are cancelled; the server retries a
/// cancelled activity on another worker at once. If the process still runs after [`SHUTDOWN_LIMIT`],
/// because an activity ignores its cancellation or code blocks the worker's thread, it ends with
/// status 1. A second signal ends it at once, with [`crate::Signal::exit_status`]. In both cases the
/// server retries what was running when it times out.
///
/// # Errors
/// If the worker cannot start (an unknown namespace) or loses what it cannot go on without.
pub fn run_until_shutdown(worker: Worker) -> LocalBoxFuture<'static, MainResult> {
    // Boxed for the same reason as `ConnectionArgs::connect`.
    Box::pin(async { Ok(run(worker).await?) })
}

async fn run(mut worker: Worker) -> anyhow::Result<()> {
    let task_queue = worker.task_queue().to_owned();
    let shutdown = worker.shutdown_handle();
    let mut signals = ShutdownSignals::new()?;
    signals::spawn(limit_shutdown(ShutdownSignals::new()?))?;

    tracing::info!(task_queue, "worker started, Ctrl-C stops it");
    let running = worker.run();
    tokio::pin!(running);
    tokio::select! {
        result = &mut running => return result.context("the worker stopped"),
        _ = signals.next() => shutdown(),
    }
    running
        .await
        .context("the worker did not shut down cleanly")
}

/// Logs the activities that a shutdown waits for, and exits the process if the shutdown takes too long.
/// Returning instead would make tokio wait for activities that block a thread.
async fn limit_shutdown(mut signals: ShutdownSignals) {
    let signal = signals.next().await;
    let seconds = SHUTDOWN_LIMIT.as_secs();
    let waiting_for = running_activities();
    tracing::info!(
        %signal,
        waiting_for = waiting_for.as_deref().unwrap_or("no activity"),
        "shutting down within {seconds} s, a second signal ends the worker at once"
    );
    let second = tokio::time::timeout(SHUTDOWN_LIMIT, signals.next()).await;
    let unfinished = running_activities();
    match (second, unfinished) {
        (Ok(signal), unfinished) => {
            tracing::warn!(
                %signal,
                unfinished = unfinished.as_deref().unwrap_or("no activity"),
                "ended at once, what still runs will be retried"
            );
            std::process::exit(signal.exit_status())
        }
        (Err(_), Some(unfinished)) => tracing::error!(
            unfinished,
            "ended after {seconds} s without waiting for activities that ignore their cancellation, they will be retried"
        ),
        (Err(_), None) => tracing::error!(
            "ended after {seconds} s, although no activity runs: the server does not answer, or workflow code blocks its thread"
        ),
    }
    std::process::exit(1)
}
