//! What a starter says while it waits for a workflow that cannot go on. That of hello stands for all.

#![cfg(unix)]
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "no workflow code in here but one that panics"
)]

use crate::hello;
use anyhow::{Context, ensure};
use std::{process::Stdio, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkerOptions, WorkflowContext, WorkflowResult};
use testing::{TestEnv, address, id_of, outside};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

/// Long enough for the 13 s after which a failing task is reported.
const WITHIN: Duration = Duration::from_secs(25);

/// A process, and the lines that it prints to stderr.
struct Running {
    process: Child,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(binary: &str, task_queue: &str, args: &[&str]) -> anyhow::Result<Self> {
        let binary = hello::binary(binary)?;
        let mut process = Command::from(outside(&binary.to_string_lossy()))
            .args(["--address", address()?, "--task-queue", task_queue])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stderr = BufReader::new(process.stderr.take().context("piped")?).lines();
        Ok(Self { process, stderr })
    }

    fn starter(task_queue: &str, args: &[&str]) -> anyhow::Result<Self> {
        Self::start("hello-starter", task_queue, args)
    }

    /// A worker that polls.
    async fn worker(task_queue: &str) -> anyhow::Result<Self> {
        let mut worker = Self::start("hello-worker", task_queue, &[])?;
        let line = worker.line().await?;
        ensure!(line.contains("worker started"), "{line}");
        Ok(worker)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = timeout(WITHIN, self.stderr.next_line()).await;
        line.context("it says nothing")??.context("it has ended")
    }

    /// The rest of stderr, and stdout, once it has ended.
    async fn end(mut self) -> anyhow::Result<(Vec<String>, String)> {
        let mut rest = Vec::new();
        while let Some(line) = timeout(WITHIN, self.stderr.next_line()).await?? {
            rest.push(line);
        }
        let mut stdout = String::new();
        let mut pipe = self.process.stdout.take().context("piped")?;
        timeout(WITHIN, pipe.read_to_string(&mut stdout)).await??;
        Ok((rest, stdout))
    }
}

/// A worker that was stopped is still listed by the server for minutes. The starter says that it is
/// gone, once, and nothing after the result that another worker brings.
#[tokio::test]
async fn no_worker_any_more() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let queue = &env.task_queue;
    let mut worker = Running::worker(queue).await?;
    let (_, stdout) = Running::starter(queue, &["--name", "Ada"])?.end().await?;
    assert_eq!(stdout, "result: \"Hello, Ada!\"\n");
    worker.process.kill().await?;

    let mut starter = Running::starter(queue, &["--name", "Grace"])?;
    let started = starter.line().await?;
    ensure!(started.starts_with("workflow hello-"), "{started}");
    assert_eq!(
        starter.line().await?,
        format!(
            "waiting  no worker polls {queue}; start one, with --task-queue if the name differs"
        )
    );
    let worker = Running::worker(queue).await?;
    let (rest, stdout) = starter.end().await?;
    assert_eq!(stdout, "result: \"Hello, Grace!\"\n");
    ensure!(rest.is_empty(), "{rest:?}");
    drop(worker);
    Ok(())
}

/// In place of hello's workflow: a mistake in workflow code, whose message is long and full of
/// control characters.
#[workflow]
#[derive(Default)]
struct HelloWorkflow;

#[workflow_methods]
impl HelloWorkflow {
    #[run]
    async fn run(_ctx: &mut WorkflowContext<Self>, name: String) -> WorkflowResult<String> {
        panic!("no {name}\n\u{1b}[31m\u{9b}2J{}", "x".repeat(2000))
    }
}

/// A workflow whose task keeps failing looks as if it were running. The starter says that it is not,
/// why, and what to do: in one line of a reasonable length.
#[tokio::test]
async fn failing_workflow_task() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let panicking = |task_queue: &str| {
        anyhow::Ok(
            WorkerOptions::new(task_queue)
                .register_workflow::<HelloWorkflow>()?
                .build(),
        )
    };
    env.work(panicking, async {
        let id = id_of(60, "x");
        let args = ["--workflow-id", &id, "--name", "Ada"];
        let mut starter = Running::starter(&env.task_queue, &args)?;
        assert_eq!(starter.line().await?, format!("workflow {id}"));
        let line = starter.line().await?;
        let (start, reason) = line.split_once(" times: ").context(line.clone())?;
        let failures = start.strip_prefix("waiting  the workflow task has failed ");
        ensure!(failures.is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count >= 2)), "{line}");
        let begins = r"Workflow function panicked: no Ada \u{1b}[31m\u{9b}2Jxxx";
        let ends = "xxx…; the server retries it until a worker completes it: fix the code and restart \
                    the worker, or terminate the workflow";
        ensure!(reason.starts_with(begins) && reason.ends_with(ends), "{line}");
        ensure!(line.len() < 600, "{} bytes", line.len());

        let handle = env.client.get_workflow_handle::<HelloWorkflow>(id);
        handle.terminate(Default::default()).await?;
        let (rest, stdout) = starter.end().await?;
        ensure!(stdout.is_empty(), "{stdout}");
        ensure!(
            rest.len() == 1 && rest[0].starts_with("Error: "),
            "{rest:?}"
        );
        Ok(())
    })
    .await
}

/// Whatever the id contains, it is one segment of the link's path.
#[tokio::test]
async fn history_link() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let unique = id_of(60, "x");
    let id = format!("{unique} /c#d?e%2F");
    let binary = hello::binary("hello-starter")?;
    let mut starter = Command::from(outside(&binary.to_string_lossy()))
        .args(["--address", address()?, "--task-queue", &env.task_queue])
        .args(["--workflow-id", &id])
        .env("TEMPORAL_UI_URL", "http://ui.invalid/")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stderr = BufReader::new(starter.stderr.take().context("piped")?).lines();
    let line = timeout(WITHIN, stderr.next_line()).await??;
    assert_eq!(
        line.as_deref(),
        Some(&*format!(
            "history  http://ui.invalid/namespaces/default/workflows/{unique}%20%2Fc%23d%3Fe%252F"
        ))
    );
    Ok(())
}
