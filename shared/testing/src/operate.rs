//! Does to a running activity what operators do with `temporal activity …` or in the Web UI, and answers for an
//! activity like a worker in another language.

use super::{TestEnv, eventually, forget_cache, raw_json, until};
use serde_json::Value;
use std::time::Duration;
use temporalio_client::{
    Client, NamespacedClient, WorkflowHandle, grpc::WorkflowService, tonic::IntoRequest,
};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::{
        activity::v1::ActivityOptions,
        common::v1::{Payloads, WorkflowExecution},
        enums::v1::EventType,
        failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        taskqueue::v1::TaskQueue,
        workflowservice::v1::{
            PauseActivityRequest, PollActivityTaskQueueRequest, ResetActivityRequest,
            RespondActivityTaskFailedRequest, UnpauseActivityRequest, UpdateActivityOptionsRequest,
            pause_activity_request, reset_activity_request, unpause_activity_request,
            update_activity_options_request,
        },
    },
};
use temporalio_sdk::WorkerOptions;

fn execution<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> Option<WorkflowExecution> {
    Some(WorkflowExecution {
        workflow_id: handle.info().workflow_id.clone(),
        ..Default::default()
    })
}

/// Pauses an activity. Its running attempt learns about that from a heartbeat.
///
/// # Errors
/// If the workflow has no such activity.
pub async fn pause<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    activity_id: &str,
) -> anyhow::Result<()> {
    let mut client = handle.client().clone();
    let request = PauseActivityRequest {
        namespace: client.namespace(),
        execution: execution(handle),
        activity: Some(pause_activity_request::Activity::Id(activity_id.to_owned())),
        ..Default::default()
    };
    client.pause_activity(request.into_request()).await?;
    Ok(())
}

/// Unpauses an activity. If its last attempt has ended, the server starts another one.
///
/// # Errors
/// As [`pause`].
pub async fn unpause<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    activity_id: &str,
) -> anyhow::Result<()> {
    let mut client = handle.client().clone();
    let request = UnpauseActivityRequest {
        namespace: client.namespace(),
        execution: execution(handle),
        activity: Some(unpause_activity_request::Activity::Id(
            activity_id.to_owned(),
        )),
        ..Default::default()
    };
    client.unpause_activity(request.into_request()).await?;
    Ok(())
}

/// Resets an activity, so that it begins again without its heartbeat details.
///
/// # Errors
/// As [`pause`].
pub async fn reset<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    activity_id: &str,
) -> anyhow::Result<()> {
    let mut client = handle.client().clone();
    let request = ResetActivityRequest {
        namespace: client.namespace(),
        execution: execution(handle),
        activity: Some(reset_activity_request::Activity::Id(activity_id.to_owned())),
        reset_heartbeat: true,
        ..Default::default()
    };
    client.reset_activity(request.into_request()).await?;
    Ok(())
}

/// Gives an activity another start-to-close timeout.
///
/// # Errors
/// As [`pause`].
pub async fn change_timeout<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    activity_id: &str,
    start_to_close: Duration,
) -> anyhow::Result<()> {
    let mut client = handle.client().clone();
    let mut request = UpdateActivityOptionsRequest {
        namespace: client.namespace(),
        execution: execution(handle),
        activity: Some(update_activity_options_request::Activity::Id(
            activity_id.to_owned(),
        )),
        activity_options: Some(ActivityOptions {
            start_to_close_timeout: Some(start_to_close.try_into()?),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mask = request.update_mask.get_or_insert_default();
    mask.paths.push("start_to_close_timeout".to_owned());
    client
        .update_activity_options(request.into_request())
        .await?;
    Ok(())
}

/// Takes an activity from the test's task queue like another worker would, sends these details as a heartbeat,
/// and fails the activity.
///
/// # Errors
/// If there is no activity within a minute.
pub async fn fail_activity(
    env: &TestEnv,
    non_retryable: bool,
    heartbeat_details: &[Value],
) -> anyhow::Result<()> {
    let mut client = env.client.clone();
    let poll = PollActivityTaskQueueRequest {
        namespace: client.namespace(),
        task_queue: Some(TaskQueue {
            name: env.task_queue.clone(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let task_token = eventually("an activity to fail", async || {
        let polled = client.poll_activity_task_queue(poll.clone().into_request());
        let token = polled.await?.into_inner().task_token;
        // A poll that ends without a task has no token.
        Ok((!token.is_empty()).then_some(token))
    })
    .await?;
    let failed = RespondActivityTaskFailedRequest {
        namespace: client.namespace(),
        task_token,
        failure: Some(Failure {
            message: "failed by another worker".to_owned(),
            failure_info: Some(FailureInfo::ApplicationFailureInfo(
                ApplicationFailureInfo {
                    non_retryable,
                    ..Default::default()
                },
            )),
            ..Default::default()
        }),
        last_heartbeat_details: Some(Payloads {
            payloads: raw_json(heartbeat_details).payloads,
        }),
        ..Default::default()
    };
    client
        .respond_activity_task_failed(failed.into_request())
        .await?;
    Ok(())
}

/// Fails the first activity of a workflow with a non-retryable failure while no worker runs, and cancels the
/// workflow. Checks that the workflow ends as CANCELED, although the worker learns about both at once.
///
/// `workflow_only` returns options for a worker with the workflow and without its activities.
///
/// # Errors
/// If the workflow ends in another way, and those of [`TestEnv::work`].
pub async fn fails_and_ends_cancelled<W, E, F>(
    env: &TestEnv,
    handle: &WorkflowHandle<Client, W>,
    workflow_only: impl FnOnce(&str) -> Result<WorkerOptions, F>,
    worker_options: impl FnOnce(&str) -> Result<WorkerOptions, E>,
) -> anyhow::Result<()>
where
    W: HasWorkflowDefinition,
    E: Into<anyhow::Error>,
    F: Into<anyhow::Error>,
{
    let scheduled = until(handle, EventType::ActivityTaskScheduled);
    env.work(workflow_only, scheduled).await?;
    forget_cache(&env.client, &handle.info().workflow_id).await?;
    fail_activity(env, true, &[]).await?;
    env.ends_cancelled(handle, worker_options).await
}
