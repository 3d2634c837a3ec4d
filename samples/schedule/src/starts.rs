//! Functions that start workflows on request, with triggers and backfills, and find out which ones have
//! started. The server answers such a request before it starts a workflow.

use anyhow::ensure;
use std::{
    ops::RangeInclusive,
    time::{Duration, Instant, SystemTime},
};
use temporalio_client::{
    Client, NamespacedClient,
    grpc::WorkflowService,
    schedules::{
        ScheduleBackfill, ScheduleDescription, ScheduleError, ScheduleHandle,
        ScheduleOverlapPolicy, ScheduleRecentAction,
    },
    tonic::IntoRequest,
};
use temporalio_common::protos::temporal::api::{
    enums::v1::ScheduleOverlapPolicy as Policy,
    schedule::v1::{SchedulePatch, TriggerImmediatelyRequest},
    workflowservice::v1::{ListScheduleMatchingTimesRequest, PatchScheduleRequest},
};
use uuid::Uuid;

/// How long to wait for the requested workflows.
const SETTLE: Duration = Duration::from_secs(5);

/// Largest number of times in a backfill. The server starts about ten workflows per second.
const MAX_TIMES: usize = 100_000;

/// The outcome of a trigger or a backfill.
#[derive(Debug)]
pub struct Started {
    /// Number of requested workflows.
    pub asked: usize,
    /// The workflows that started within five seconds, in the order of their start. The server does not say
    /// why others are missing: the overlap policy may have skipped them; they may wait for another workflow
    /// to end; the server may not have started them yet; or it may have dropped them, because another
    /// request arrived at the same moment or a workflow for the same second is still running.
    pub actions: Vec<ScheduleRecentAction>,
}

/// Makes a schedule start a workflow now, even if it is paused. With [`ScheduleOverlapPolicy::Unspecified`], its own
/// policy applies.
///
/// Use it in place of `ScheduleHandle::trigger` to learn which workflow has started: that method does not
/// send the time by which the workflow is recognized. Servers before 1.29 ignore the time.
///
/// # Errors
/// If there is no such schedule.
pub async fn trigger(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    policy: ScheduleOverlapPolicy,
) -> anyhow::Result<Started> {
    let before = handle.describe(Default::default()).await?;
    let now = SystemTime::now();
    let request = PatchScheduleRequest {
        namespace: handle.namespace().to_owned(),
        schedule_id: handle.schedule_id().to_owned(),
        patch: Some(SchedulePatch {
            trigger_immediately: Some(TriggerImmediatelyRequest {
                overlap_policy: wire(policy).into(),
                scheduled_time: Some(now.into()),
            }),
            ..Default::default()
        }),
        identity: client.identity(),
        request_id: Uuid::new_v4().to_string(),
    };
    let triggered = client.clone().patch_schedule(request.into_request()).await;
    triggered.map_err(ScheduleError::from)?;
    started(handle, &before, now..=now, 1).await
}

/// Makes a schedule start a workflow now for each of its times in a past range.
///
/// All of these times come due at once, so do not use the policy `Skip`, which starts only the first workflow.
///
/// # Errors
/// If there is no such schedule, or if it has no time or more than 100,000 times in the range.
pub async fn backfill(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    range: RangeInclusive<SystemTime>,
    policy: ScheduleOverlapPolicy,
) -> anyhow::Result<Started> {
    let before = handle.describe(Default::default()).await?;
    let asked = count_times(client, handle, &range).await?;
    let (start, end) = (*range.start(), *range.end());
    let [from, to] = [start, end].map(humantime::format_rfc3339_seconds);
    let id = handle.schedule_id();
    ensure!(asked > 0, "schedule `{id}` has no time from {from} to {to}");
    ensure!(
        asked <= MAX_TIMES,
        "schedule `{id}` has more than {MAX_TIMES} times from {from} to {to}; backfill a shorter range"
    );
    let request = ScheduleBackfill::new(start, end).overlap_policy(policy);
    handle
        .backfill([request.build()], Default::default())
        .await?;
    started(handle, &before, range, asked).await
}

/// Counts the times of a schedule in a range, page by page, until there are too many. The server lists at
/// most a thousand times per page.
async fn count_times(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    range: &RangeInclusive<SystemTime>,
) -> anyhow::Result<usize> {
    let mut after = *range.start() - Duration::from_millis(1);
    let mut count = 0;
    while count <= MAX_TIMES {
        let request = ListScheduleMatchingTimesRequest {
            namespace: handle.namespace().to_owned(),
            schedule_id: handle.schedule_id().to_owned(),
            start_time: Some(after.into()),
            end_time: Some((*range.end()).into()),
        };
        let mut service = client.clone();
        let times = service.list_schedule_matching_times(request.into_request());
        let times = times.await.map_err(ScheduleError::from)?.into_inner();
        // The server does not say whether there are more than it lists.
        let Some(last) = times.start_time.last() else {
            break;
        };
        after = SystemTime::try_from(*last)?;
        count += times.start_time.len();
    }
    Ok(count)
}

/// Waits until the schedule has started the requested number of workflows for these times. Workflows that
/// came due by themselves, and those of other requests, have other times.
async fn started(
    handle: &ScheduleHandle<Client>,
    before: &ScheduleDescription,
    times: RangeInclusive<SystemTime>,
    asked: usize,
) -> anyhow::Result<Started> {
    let known = before.recent_actions();
    let mut actions: Vec<ScheduleRecentAction> = Vec::new();
    let deadline = Instant::now() + SETTLE;
    while actions.len() < asked && Instant::now() < deadline {
        // A description lists only the last ten workflows, so collect them.
        let description = handle.describe(Default::default()).await?;
        for action in description.recent_actions() {
            let mut seen = known.iter().chain(&actions);
            let seen = seen.any(|seen| seen.run_id == action.run_id);
            if !seen && action.schedule_time.is_some_and(|it| times.contains(&it)) {
                actions.push(action);
            }
        }
        // Without this pause, the server would be too busy with these requests to start workflows.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(Started { asked, actions })
}

/// Converts a policy to its protobuf type. The SDK's own conversion is private.
pub(crate) fn wire(policy: ScheduleOverlapPolicy) -> Policy {
    match policy {
        ScheduleOverlapPolicy::Skip => Policy::Skip,
        ScheduleOverlapPolicy::BufferOne => Policy::BufferOne,
        ScheduleOverlapPolicy::BufferAll => Policy::BufferAll,
        ScheduleOverlapPolicy::CancelOther => Policy::CancelOther,
        ScheduleOverlapPolicy::TerminateOther => Policy::TerminateOther,
        ScheduleOverlapPolicy::AllowAll => Policy::AllowAll,
        _ => Policy::Unspecified,
    }
}
