//! Shuts down a worker while it runs an activity that ignores its cancellation.

#![cfg(unix)]
#![allow(missing_docs, reason = "a workflow for this test alone")]

use anyhow::{Context, ensure};
use shared::{
    GRACEFUL_SHUTDOWN_PERIOD, Input, LogFields, SHUTDOWN_LIMIT, WorkerArgs, run_until_shutdown,
};
use std::{
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use temporalio_client::{Client, UntypedWorkflow, WorkflowHandle};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, Worker, WorkerOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, address};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

/// Time limit of each step, which is long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[workflow]
#[derive(Default)]
pub struct StubbornWorkflow;

#[workflow_methods]
impl StubbornWorkflow {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, hog: Input<bool>) -> WorkflowResult<()> {
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(60));
        if hog.decode(ctx)? {
            ctx.execute_activity(Activities::hog, (), options).await?;
        } else {
            ctx.execute_activity(Activities::block, (), options).await?;
        }
        Ok(())
    }
}

pub struct Activities;

#[activities]
impl Activities {
    /// Blocks a thread of its own, and ignores its cancellation.
    #[activity(name = "block")]
    pub fn block(ctx: ActivityContext) -> Result<(), ActivityError> {
        tokio::spawn(async move {
            ctx.cancelled().await;
            tracing::info!("told to stop");
        });
        tracing::info!("blocking");
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    }

    /// Blocks the only thread of the worker.
    #[activity(name = "hog")]
    pub async fn hog(_ctx: ActivityContext) -> Result<(), ActivityError> {
        tracing::info!("blocking");
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    }
}

/// Not a test but the worker, which the tests below start in a process of its own.
#[tokio::test]
#[ignore = "a part of the tests below"]
async fn stubborn_worker() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let options = WorkerOptions::new(std::env::var("TEMPORAL_TASK_QUEUE")?)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<StubbornWorkflow>()?
        .register_activities(Activities)
        .activity_inbound_interceptor(LogFields)
        .build();
    let worker = Worker::new(
        &WorkerArgs::default().init_telemetry()?,
        env.client,
        options,
    )?;
    run_until_shutdown(worker)
        .await
        .map_err(|error| anyhow::anyhow!("{error:?}"))
}

/// A worker that runs a blocking activity.
struct Stubborn {
    worker: Child,
    log: Lines<BufReader<ChildStderr>>,
    workflow: WorkflowHandle<Client, UntypedWorkflow>,
}

impl Stubborn {
    async fn start(hog: bool) -> anyhow::Result<Self> {
        let env = TestEnv::new().await?;
        let workflow = env.start_json("StubbornWorkflow", &[hog.into()]).await?;
        let mut worker = Command::new(std::env::current_exe()?)
            .args([
                "shutdown::stubborn_worker",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env("TEMPORAL_TEST_ADDRESS", address()?)
            .env("TEMPORAL_TASK_QUEUE", &env.task_queue)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = BufReader::new(worker.stderr.take().context("piped")?).lines();
        let mut stubborn = Self {
            worker,
            log,
            workflow,
        };
        stubborn.line("blocking").await?;
        Ok(stubborn)
    }

    async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.worker.id().context("it has ended")?.to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        ensure!(status.await?.success());
        Ok(())
    }

    /// Returns the next line of the log that contains `words`.
    async fn line(&mut self, words: &str) -> anyhow::Result<String> {
        let line = async {
            loop {
                let line = self.log.next_line().await?;
                let line = line.with_context(|| format!("it ended without `{words}`"))?;
                if line.contains(words) {
                    return Ok(line);
                }
            }
        };
        timeout(PATIENCE, line)
            .await
            .with_context(|| format!("it does not log `{words}`"))?
    }

    async fn end(&mut self) -> anyhow::Result<ExitStatus> {
        let status = timeout(PATIENCE, self.worker.wait()).await;
        let status = status.context("the worker does not end")??;
        self.workflow.terminate(Default::default()).await?;
        Ok(status)
    }

    /// Checks that the line names this activity of this workflow in `field`.
    fn names(&self, line: &str, field: &str, activity: &str) -> anyhow::Result<()> {
        let id = &self.workflow.info().workflow_id;
        let named = format!("{field}=\"{activity} ({id})\"");
        ensure!(line.contains(&named), "no {named}: {line}");
        Ok(())
    }
}

/// After the first signal, the worker waits for the activity and logs that. After the second signal, it ends at once,
/// and this signal decides the exit status.
#[tokio::test]
async fn a_second_signal_ends_at_once() -> anyhow::Result<()> {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut stubborn = Stubborn::start(false).await?;
        stubborn.signal("TERM").await?;
        let line = stubborn.line("shutting down").await?;
        ensure!(line.contains("signal=SIGTERM"), "{line}");
        stubborn.names(&line, "waiting_for", "block")?;
        stubborn.signal(signal).await?;
        let line = stubborn.line("ended at once").await?;
        stubborn.names(&line, "unfinished", "block")?;
        let status = stubborn.end().await?;
        ensure!(status.code() == Some(code), "{status}");
    }
    Ok(())
}

async fn ends_in_time(hog: bool, activity: &str) -> anyhow::Result<()> {
    let mut stubborn = Stubborn::start(hog).await?;
    let signalled = Instant::now();
    stubborn.signal("TERM").await?;
    let line = stubborn.line("shutting down").await?;
    stubborn.names(&line, "waiting_for", activity)?;
    if !hog {
        // So the signal has started the shutdown. The end of the worker alone could be due to the limit.
        stubborn.line("told to stop").await?;
    }
    let line = stubborn.line("ignore their cancellation").await?;
    stubborn.names(&line, "unfinished", activity)?;
    let status = stubborn.end().await?;
    let took = signalled.elapsed();
    ensure!(status.code() == Some(1), "{status}");
    ensure!(took >= SHUTDOWN_LIMIT, "{took:?}");
    Ok(())
}

/// One signal stops the worker, although the activity blocks a thread that tokio waits for.
#[tokio::test]
async fn an_activity_that_ignores_its_cancellation() -> anyhow::Result<()> {
    ends_in_time(false, "block").await
}

/// One signal stops the process, although the activity blocks the worker's only thread.
#[tokio::test]
async fn an_activity_that_blocks_the_worker() -> anyhow::Result<()> {
    ends_in_time(true, "hog").await
}
