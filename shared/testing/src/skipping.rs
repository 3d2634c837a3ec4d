//! Tests with intervals of days: the server skips the time in which a workflow only waits.

use super::{TestEnv, connect_to, events, eventually, faults::ServerProcess};
use std::time::{Duration, SystemTime};
use temporalio_client::{
    Client, NamespacedClient, WorkflowHandle, grpc::WorkflowService, tonic::IntoRequest,
};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::{
        common::v1::{TimeSkippingConfig, WorkflowExecution},
        workflow::v1::WorkflowExecutionOptions,
        workflowservice::v1::{DescribeNamespaceRequest, UpdateWorkflowExecutionOptionsRequest},
    },
};
use temporalio_sdk::WorkerOptions;
use uuid::Uuid;

/// Flags of the server. It also suggests to continue as new after 64 events, which a workflow that mostly waits would
/// otherwise reach after decades.
const FLAGS: [&str; 4] = [
    "--dynamic-config-value",
    "frontend.WorkflowTimeSkippingEnabled=true",
    "--dynamic-config-value",
    "limit.historyCount.suggestContinueAsNew=64",
];

/// As [`with_worker`](crate::with_worker), but on a server of its own on which [`skip_time`] works.
///
/// # Errors
/// If the server does not start, and those of [`TestEnv::work`].
pub async fn with_time_skipping<E: Into<anyhow::Error>, F>(
    worker_options: impl FnOnce(&str) -> Result<WorkerOptions, E>,
    body: impl FnOnce(TestEnv) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let server = ServerProcess::start_with(&FLAGS).await?;
    let client = connect_to(&server.address(), shared::data_converter()).await?;
    // The server answers before it has created the namespace, and a worker needs the namespace.
    eventually("the namespace", async || {
        let request = DescribeNamespaceRequest {
            namespace: client.namespace(),
            ..Default::default()
        };
        let mut client = client.clone();
        Ok(client.describe_namespace(request.into_request()).await.ok())
    })
    .await?;
    let env = TestEnv {
        client,
        task_queue: format!("test-{}", Uuid::new_v4()),
    };
    env.work(worker_options, body(env.clone())).await
}

/// Lets a workflow skip this number of waits: when it does nothing but wait for a timer or for the retry of an activity,
/// its clock jumps to the end of the wait. Runs that continue it as new count, too. While an activity or a child runs,
/// and after the last skip, time passes as usual.
///
/// # Errors
/// If the server is not that of [`with_time_skipping`], or the workflow has ended.
pub async fn skip_time<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    waits: i32,
) -> anyhow::Result<()> {
    let mut client = handle.client().clone();
    let mut request = UpdateWorkflowExecutionOptionsRequest {
        namespace: client.namespace(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: handle.info().workflow_id.clone(),
            ..Default::default()
        }),
        workflow_execution_options: Some(WorkflowExecutionOptions {
            time_skipping_config: Some(TimeSkippingConfig {
                enabled: true,
                max_session_skip_count: waits,
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mask = request.update_mask.get_or_insert_default();
    mask.paths.push("time_skipping_config".to_owned());
    client
        .update_workflow_execution_options(request.into_request())
        .await?;
    Ok(())
}

/// Returns how much time has passed between the first and the last event of a workflow, by the workflow's clock.
///
/// # Errors
/// As [`events`].
pub async fn elapsed<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Duration> {
    let events = events(handle).await?;
    let times = events.iter().filter_map(|event| event.event_time);
    let mut times = times.filter_map(|time| SystemTime::try_from(time).ok());
    let first = times.next().unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(times.next_back().unwrap_or(first).duration_since(first)?)
}
