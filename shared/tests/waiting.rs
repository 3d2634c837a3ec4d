//! The messages of a starter that waits for a workflow that cannot continue. The starter of hello stands for all.

#![cfg(unix)]

use crate::hello;
use anyhow::{Context, ensure};
use std::{process::Stdio, time::Duration};
use temporalio_client::{
    Client, NamespacedClient, UntypedSignal, UntypedWorkflow, WorkflowHandle,
    grpc::WorkflowService, tonic::IntoRequest,
};
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowExecution, enums::v1::EventType, history::v1::HistoryEvent,
    workflowservice::v1::ResetWorkflowExecutionRequest,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkerOptions, WorkflowContext, WorkflowResult};
use testing::{TestEnv, address, events, eventually, id_of, outside, raw_json, within};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};
use uuid::Uuid;

/// Time limit, which is longer than the 13 s after which a failing task is reported.
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

    /// Starts a worker, and waits until it polls.
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

    /// Waits for the end, and returns the rest of stderr, and stdout.
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

/// The server lists a stopped worker for minutes. The starter reports once that it is gone, and nothing more after
/// another worker has completed the workflow.
#[tokio::test]
async fn a_stopped_worker_is_reported() -> anyhow::Result<()> {
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

/// Replaces hello's workflow: a panic in workflow code, with a long message that contains control characters.
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

/// A workflow whose task keeps failing looks as if it were running. The starter reports the failure, its reason and what
/// to do, in one line of reasonable length.
#[tokio::test]
async fn a_failing_workflow_task_is_reported() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
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
        let ends = "xxx…; the server retries it until a worker completes it: fix the code, restart the \
                    worker, and reset the workflow to retry at once; or terminate it";
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

/// Returns options for a worker with the workflow that panics.
fn panicking(task_queue: &str) -> anyhow::Result<WorkerOptions> {
    let options = WorkerOptions::new(task_queue).register_workflow::<HelloWorkflow>()?;
    Ok(options.build())
}

/// After two failed attempts, the third is due in ten seconds. After a reset, the server hands out the task at once, and
/// the new run uses the new code. A signal does not bring the attempt forward.
#[tokio::test]
async fn a_reset_retries_at_once() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let ada = ["Ada".into()];
    let start = || env.start_json::<UntypedWorkflow>("HelloWorkflow", &ada);
    let (reset, signalled) = (start().await?, start().await?);
    let failed_twice = async |handle: &WorkflowHandle<Client, UntypedWorkflow>| {
        let description = handle.describe(Default::default()).await?;
        let task = description.raw().pending_workflow_task.as_ref();
        Ok(task.is_some_and(|task| task.attempt == 3).then_some(()))
    };
    env.work(panicking, async {
        eventually("two failures", async || failed_twice(&reset).await).await?;
        eventually("two failures", async || failed_twice(&signalled).await).await
    })
    .await?;
    let _worker = Running::worker(&env.task_queue).await?;

    let nothing = UntypedSignal::new("nothing");
    signalled
        .signal(nothing, raw_json(&[]), Default::default())
        .await?;
    let mut client = env.client.clone();
    let request = ResetWorkflowExecutionRequest {
        namespace: client.namespace(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: reset.info().workflow_id.clone(),
            ..Default::default()
        }),
        reason: "the code is fixed".to_owned(),
        // The event that `--type LastWorkflowTask` finds. No task has completed, so it is the first one.
        workflow_task_finish_event_id: 3,
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    client
        .reset_workflow_execution(request.into_request())
        .await?;
    for (handle, at_once) in [(reset, true), (signalled, false)] {
        let result = async { Ok(handle.get_result(Default::default()).await?) };
        let result = within("the greeting", result).await?;
        assert_eq!(result.payloads[0].data, br#""Hello, Ada!""#);
        let pause = pause(&events(&handle).await?).context("no task after a failed one")?;
        ensure!((pause < 9) == at_once, "{pause} s, {at_once}");
    }
    Ok(())
}

/// Returns the seconds from the first failed workflow task to the start of the next one.
fn pause(events: &[HistoryEvent]) -> Option<i64> {
    let mut events = events.iter();
    let mut time_of = |kind| {
        let event = events.find(|event| event.event_type() == kind);
        Some(event?.event_time?.seconds)
    };
    let failed = time_of(EventType::WorkflowTaskFailed)?;
    Some(time_of(EventType::WorkflowTaskStarted)? - failed)
}

/// In the link, any workflow id is a single segment of the path.
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
