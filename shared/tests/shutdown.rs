//! A worker that is told to end while an activity runs which does not care.

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "no workflow code that is not deterministic"
)]
#![allow(missing_docs, reason = "a workflow for this test alone")]

use anyhow::{Context, ensure};
use shared::{Input, WorkerArgs, run_until_shutdown};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, Worker, WorkerOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, address};

#[workflow]
#[derive(Default)]
pub struct StubbornWorkflow;

#[workflow_methods]
impl StubbornWorkflow {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, nothing: Input<()>) -> WorkflowResult<()> {
        nothing.valid()?;
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(60));
        ctx.execute_activity(Activities::block, (), options).await?;
        Ok(())
    }
}

pub struct Activities;

#[activities]
impl Activities {
    /// Blocks its thread and looks at nothing meanwhile.
    #[activity(name = "block")]
    pub fn block(_ctx: ActivityContext) -> Result<(), ActivityError> {
        tracing::info!("blocking");
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    }
}

/// The worker, in a process of its own that the test below starts.
#[tokio::test]
#[ignore = "a part of the test below"]
async fn stubborn_worker() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let options = WorkerOptions::new(std::env::var("TEMPORAL_TASK_QUEUE")?)
        .register_workflow::<StubbornWorkflow>()?
        .register_activities(Activities)
        .graceful_shutdown_period(Duration::from_millis(100))
        .build();
    let worker = Worker::new(
        &WorkerArgs::default().init_telemetry()?,
        env.client,
        options,
    )?;
    run_until_shutdown(worker).await
}

/// The first signal waits for the activity, the second does not.
#[tokio::test]
async fn a_second_signal_ends_at_once() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(StubbornWorkflow::run, ().into(), env.start_options())
        .await?;
    let mut worker = Command::new(std::env::current_exe()?)
        .args([
            "shutdown::stubborn_worker",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env("TEMPORAL_TEST_ADDRESS", address()?)
        .env("TEMPORAL_TASK_QUEUE", &env.task_queue)
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = worker.id().to_string();
    let signal = || Command::new("kill").args(["-s", "TERM", &pid]).status();
    let mut log = BufReader::new(worker.stderr.take().context("piped")?).lines();
    let mut wait_for = |words: &str| -> anyhow::Result<()> {
        loop {
            let line = log
                .next()
                .with_context(|| format!("ended without `{words}`"))??;
            if line.contains(words) {
                return Ok(());
            }
        }
    };
    wait_for("blocking")?;
    signal()?;
    wait_for("a second signal ends it at once")?;
    signal()?;
    wait_for("ended at once")?;
    let status = worker.wait()?;
    ensure!(status.code() == Some(130), "{status}");
    handle.terminate(Default::default()).await?;
    Ok(())
}
