//! A starter's command line, and what it prints: the result to stdout, the rest to stderr.

use crate::ConnectionArgs;
use anyhow::Context;
use serde::Serialize;
use std::{io::Write, time::Duration};
use temporalio_client::{Client, WorkflowHandle, grpc::WorkflowService, tonic::IntoRequest};
use temporalio_common::{
    HasWorkflowDefinition,
    data_converters::DataConverter,
    protos::temporal::api::{
        enums::v1::TaskQueueType, taskqueue::v1::TaskQueue,
        workflowservice::v1::DescribeTaskQueueRequest,
    },
};
use uuid::Uuid;

/// How long a workflow may take before [`print_started`] asks whether anyone works on it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The flags that every starter has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StarterArgs {
    /// Where the server is.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// Task queue that the worker polls [default: the sample's own]
    #[arg(long, env = "TEMPORAL_TASK_QUEUE", value_name = "NAME")]
    pub task_queue: Option<String>,

    /// Workflow id [default: the sample's name and eight random digits]
    #[arg(long, value_name = "ID")]
    pub workflow_id: Option<String>,
}

impl StarterArgs {
    /// Sends logs to stderr, then connects as the flags and the environment say.
    ///
    /// # Errors
    /// As [`crate::init_logs`] and [`ConnectionArgs::connect`].
    pub async fn connect(&self) -> anyhow::Result<Client> {
        self.connect_with(DataConverter::default()).await
    }

    /// As [`StarterArgs::connect`], with a data converter of the sample's own.
    ///
    /// # Errors
    /// As [`StarterArgs::connect`].
    pub async fn connect_with(&self, data_converter: DataConverter) -> anyhow::Result<Client> {
        crate::init_logs()?;
        self.connection.connect_with(data_converter).await
    }

    /// The task queue asked for, or else `default`.
    pub fn task_queue<'a>(&'a self, default: &'a str) -> &'a str {
        self.task_queue
            .as_deref()
            .filter(|name| !name.is_empty())
            .unwrap_or(default)
    }

    /// The workflow id asked for, or else `<prefix>-<8 random hex digits>`.
    ///
    /// A constant id would make the second start fail, or join the first workflow.
    pub fn workflow_id(&self, prefix: &str) -> String {
        match &self.workflow_id {
            Some(id) => id.clone(),
            None => format!("{prefix}-{:08x}", Uuid::new_v4().as_fields().0),
        }
    }
}

/// Tells where the workflow can be watched: its page in the Web UI if `TEMPORAL_UI_URL` says
/// where that is, and its id if not. If it is not done after five seconds and no worker polls
/// `task_queue`, tells that too: a starter without a worker waits for ever, in silence.
pub fn print_started<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    task_queue: &str,
) {
    let info = handle.info();
    match std::env::var("TEMPORAL_UI_URL") {
        Ok(url) if !url.is_empty() => {
            let url = url.trim_end_matches('/');
            eprintln!(
                "history  {url}/namespaces/{}/workflows/{}",
                info.namespace, info.workflow_id
            );
        }
        _ => eprintln!("workflow {}", info.workflow_id),
    }
    let (mut client, namespace, task_queue) = (
        handle.client().clone(),
        info.namespace.clone(),
        task_queue.to_owned(),
    );
    tokio::spawn(async move {
        tokio::time::sleep(PATIENCE).await;
        let request = DescribeTaskQueueRequest {
            namespace,
            task_queue: Some(TaskQueue {
                name: task_queue.clone(),
                ..Default::default()
            }),
            task_queue_type: TaskQueueType::Workflow.into(),
            ..Default::default()
        };
        // Only a hint: an error here will show in the call that waits for the result.
        if let Ok(queue) = client.describe_task_queue(request.into_request()).await
            && queue.get_ref().pollers.is_empty()
        {
            eprintln!(
                "waiting  no worker polls {task_queue}; start one, with --task-queue if the name differs"
            );
        }
    });
}

/// Prints `result: <compact JSON>`, the last line of every starter's stdout.
///
/// # Errors
/// If the result is no JSON, or stdout is closed.
pub fn print_result<T: Serialize + ?Sized>(result: &T) -> anyhow::Result<()> {
    let json = serde_json::to_string(result).context("cannot print the result as JSON")?;
    writeln!(std::io::stdout(), "result: {json}").context("cannot write the result to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// New at every start, of the documented form, and the one asked for when one is.
    #[test]
    fn workflow_ids() {
        let args = StarterArgs::default();
        let id = args.workflow_id("hello");
        let digits = id.strip_prefix("hello-").unwrap_or_default();
        assert!(
            digits.len() == 8 && digits.chars().all(|c| c.is_ascii_hexdigit()),
            "{id}"
        );
        assert_ne!(id, args.workflow_id("hello"));
        let args = StarterArgs {
            workflow_id: Some("mine".into()),
            ..args
        };
        assert_eq!(args.workflow_id("hello"), "mine");
    }

    /// An empty variable, as compose files pass it, is no queue.
    #[test]
    fn task_queues() {
        let mut args = StarterArgs::default();
        assert_eq!(args.task_queue("default"), "default");
        args.task_queue = Some(String::new());
        assert_eq!(args.task_queue("default"), "default");
        args.task_queue = Some("other".into());
        assert_eq!(args.task_queue("default"), "other");
    }
}
