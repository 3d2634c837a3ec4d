//! `LogFields` logs each line of a workflow once, with the fields that identify the workflow.

#![allow(missing_docs, reason = "a workflow for this test alone")]

use anyhow::ensure;
use shared::LogFields;
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowContextView,
    WorkflowRegistrationError, WorkflowResult,
};
use testing::with_worker;

/// Logs a line in each of its parts, and does not check whether it is replaying.
#[workflow]
#[derive(Default)]
pub struct TalkativeWorkflow {
    signalled: bool,
    updated: bool,
}

#[workflow_methods]
impl TalkativeWorkflow {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        tracing::info!("begun");
        // A workflow task that schedules nothing is executed again with the next task, and not as a replay.
        let _scheduled = ctx.timer(Duration::from_secs(60));
        ctx.wait_condition(|state| state.signalled).await?;
        tracing::info!("between");
        ctx.wait_condition(|state| state.updated).await?;
        tracing::info!("ended");
        Ok(())
    }

    #[signal]
    pub fn signalled(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        tracing::info!("signalled");
        self.signalled = true;
    }

    #[update]
    pub fn updated(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        tracing::info!("updated");
        self.updated = true;
    }

    #[update_validator(updated)]
    fn validate_updated(
        &self,
        _ctx: &WorkflowContextView,
        _input: &(),
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        tracing::info!("validated");
        Ok(())
    }

    #[query]
    pub fn queried(&self, _ctx: &WorkflowContextView) -> bool {
        tracing::info!("queried");
        self.signalled
    }
}

fn uncached(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .max_cached_workflows(0)
        .register_workflow::<TalkativeWorkflow>()?
        .workflow_interceptor(LogFields::in_workflows())
        .build())
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .map_err(|_| io::ErrorKind::Other)?
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Without a cache, every task and every query replays the workflow from the top. Each line of the workflow, its
/// handlers, its validator and its query is logged once, with the three fields.
#[tokio::test]
async fn silent_while_replaying() -> anyhow::Result<()> {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .with_env_filter("shared_tests_logs=info,shared=error")
        .init();
    with_worker(uncached, async |env| {
        let handle = env
            .client
            .start_workflow(TalkativeWorkflow::run, (), env.start_options())
            .await?;
        handle
            .signal(TalkativeWorkflow::signalled, (), Default::default())
            .await?;
        let queried = handle.query(TalkativeWorkflow::queried, (), Default::default());
        assert!(queried.await?);
        handle
            .execute_update(TalkativeWorkflow::updated, (), Default::default())
            .await?;
        handle.get_result(Default::default()).await?;

        let text = log.0.lock().map(|text| text.clone());
        let text = String::from_utf8(text.unwrap_or_default())?;
        let info = handle.info();
        for message in [
            "begun",
            "signalled",
            "between",
            "queried",
            "validated",
            "updated",
            "ended",
        ] {
            let suffix = format!("logs: {message}");
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| line.ends_with(&suffix))
                .collect();
            ensure!(lines.len() == 1, "{message}: {text}");
            let id = format!("workflow{{workflow_id=\"{}\" run_id=\"", info.workflow_id);
            ensure!(lines[0].contains(&id), "{text}");
            ensure!(
                lines[0].contains("workflow_type=\"TalkativeWorkflow\""),
                "{text}"
            );
        }
        Ok(())
    })
    .await
}
