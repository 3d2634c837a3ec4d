//! Reads histories from a file or from the server, and waits for events in them.

use crate::wait::{eventually, within};
use anyhow::{Context, bail, ensure};
use futures::TryStreamExt;
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};
use std::path::Path;
use temporalio_client::{
    Client, NamespacedClient, WorkflowExecutionStatus, WorkflowFetchHistoryOptions, WorkflowHandle,
    WorkflowHistory, grpc::WorkflowService, tonic::IntoRequest,
};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::{
        common::v1::WorkflowExecution,
        enums::v1::EventType,
        history::v1::{History, HistoryEvent, history_event::Attributes},
        workflow::v1::PendingActivityInfo,
        workflowservice::v1::ResetStickyTaskQueueRequest,
    },
};

/// Temporal's protobuf descriptors, with which the SDK was compiled.
static DESCRIPTORS: &[u8] = include_bytes!(env!("TEMPORAL_DESCRIPTORS"));

/// Reads a history file in the format of `temporal workflow show --output json` and the Web UI. (The SDK's
/// `WorkflowHistory::from_json` reads a format of its own, which no other tool writes.)
///
/// # Errors
/// If the file cannot be read, or is not a history. The error names the file.
pub fn history(file: impl AsRef<Path>) -> anyhow::Result<WorkflowHistory> {
    let file = file.as_ref();
    let read = || -> anyhow::Result<WorkflowHistory> {
        let json = std::fs::read(file)?;
        let pool = DescriptorPool::decode(DESCRIPTORS)?;
        let history = pool
            .get_message_by_name("temporal.api.history.v1.History")
            .context("the SDK's descriptors have no History")?;
        let mut json = serde_json::Deserializer::from_slice(&json);
        // A newer server may write fields that this SDK does not know.
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let message = DynamicMessage::deserialize_with_options(history, &mut json, &options)?;
        Ok(History::decode(message.encode_to_vec().as_slice())?.into())
    };
    read().with_context(|| format!("cannot read the history {}", file.display()))
}

/// Returns the events of a workflow so far.
///
/// # Errors
/// If the server does not know the workflow.
pub async fn events<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Vec<HistoryEvent>> {
    Ok(handle
        .fetch_history(Default::default())
        .into_events()
        .await?)
}

/// Returns the types of the events of a workflow so far.
///
/// # Errors
/// As [`events`].
pub async fn event_types<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Vec<EventType>> {
    Ok(events(handle)
        .await?
        .iter()
        .map(HistoryEvent::event_type)
        .collect())
}

/// Waits until the history of a workflow has an event of this type.
///
/// # Errors
/// As [`events`]. Also if the workflow ends without such an event, or has no such event within
/// [`TEST_TIMEOUT`](crate::TEST_TIMEOUT).
pub async fn until<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    event_type: EventType,
) -> anyhow::Result<()> {
    let options = WorkflowFetchHistoryOptions::builder()
        .wait_new_event(true)
        .build();
    let event_name = event_type.as_str_name();
    let what = format!("{event_name} of {}", handle.info().workflow_id);
    let event = async {
        let mut history = handle.fetch_history(options);
        while let Some(event) = history.try_next().await? {
            if event.event_type() == event_type {
                return Ok(());
            }
        }
        bail!("the workflow ended without {event_name}")
    };
    within(&what, event).await
}

/// Waits until a pending activity of a workflow meets `condition`, and returns it. (The history does not
/// show a running activity: the server writes its start when it ends.)
///
/// # Errors
/// If the server does not know the workflow; if the workflow ends first; if no activity meets the
/// condition within [`TEST_TIMEOUT`](crate::TEST_TIMEOUT).
pub async fn until_pending<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    condition: impl Fn(&PendingActivityInfo) -> bool,
) -> anyhow::Result<PendingActivityInfo> {
    let what = format!("pending activity of {}", handle.info().workflow_id);
    let pending = async || {
        let description = handle.describe(Default::default()).await?;
        let mut pending = description.raw().pending_activities.iter();
        let found = pending.find(|activity| condition(activity)).cloned();
        let running = description.status() == WorkflowExecutionStatus::Running;
        ensure!(
            found.is_some() || running,
            "the workflow ended without the {what}"
        );
        Ok(found)
    };
    eventually(&what, pending).await
}

/// Makes the server forget which worker has the workflow in its cache. Otherwise, after a `kill -9`, the next
/// workflow task would wait ten seconds for that worker.
///
/// # Errors
/// If the server does not know the workflow.
pub async fn forget_cache(client: &Client, workflow_id: &str) -> anyhow::Result<()> {
    let request = ResetStickyTaskQueueRequest {
        namespace: client.namespace(),
        execution: Some(WorkflowExecution {
            workflow_id: workflow_id.to_owned(),
            ..Default::default()
        }),
    };
    let mut client = client.clone();
    client
        .reset_sticky_task_queue(request.into_request())
        .await?;
    Ok(())
}

/// Returns the types of the activities that a workflow has scheduled, in order, without local activities.
///
/// # Errors
/// As [`events`].
pub async fn activity_types<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Vec<String>> {
    let scheduled = |event: HistoryEvent| match event.attributes {
        Some(Attributes::ActivityTaskScheduledEventAttributes(a)) => Some(a.activity_type?.name),
        _ => None,
    };
    Ok(events(handle)
        .await?
        .into_iter()
        .filter_map(scheduled)
        .collect())
}
