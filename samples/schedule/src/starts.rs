//! Starting workflows on request, by triggers and backfills, and finding out what came of it.

#![allow(
    clippy::disallowed_methods,
    reason = "no workflow code in here: a client may look again after a while"
)]

use crate::{
    options::OverlapPolicy,
    report::{Run, time},
};
use anyhow::ensure;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    time::{Duration, Instant, SystemTime},
};
use temporalio_client::{
    Client, NamespacedClient,
    grpc::WorkflowService,
    schedules::{ScheduleBackfill, ScheduleDescription, ScheduleError, ScheduleHandle},
    tonic::IntoRequest,
};
use temporalio_common::protos::temporal::api::{
    schedule::v1::{SchedulePatch, TriggerImmediatelyRequest},
    workflowservice::v1::{ListScheduleMatchingTimesRequest, PatchScheduleRequest},
};
use uuid::Uuid;

/// How long to wait for a trigger or a backfill: the server answers it before it acts.
const SETTLE: Duration = Duration::from_secs(5);

/// The most times that a backfill may have. The server starts about ten workflows a second.
const MAX_TIMES: i64 = 100_000;

/// Why fewer workflows may start than were asked for. The server does not say.
const MISSING: &str = "the server has not come to it yet, or has dropped it because another request \
                       came at the same moment or a workflow for the same second still runs";

/// What became of a trigger or a backfill.
#[derive(Debug, Serialize)]
pub struct Outcome {
    asked: i64,
    started: i64,
    /// By the overlap policy.
    skipped: i64,
    /// For the workflow before to end.
    waiting: i64,
    /// The rest.
    missing: i64,
    /// Those started, the last ten at most.
    pub runs: Vec<Run>,
}

impl Outcome {
    /// A table, after a word.
    pub fn print(&self, word: &str) {
        Run::print(word, &self.runs);
        if self.skipped > 0 {
            eprintln!("skipped  {}", self.skipped);
        }
        if self.waiting > 0 {
            eprintln!("waiting  {}", self.waiting);
        }
        if self.missing > 0 {
            eprintln!("missing  {}: {MISSING}", self.missing);
        }
    }
}

/// Makes a schedule act now, even if it is paused. Without a policy, the schedule's own applies.
///
/// # Errors
/// If there is no such schedule, or nothing has come of it.
pub async fn trigger(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    policy: Option<OverlapPolicy>,
) -> anyhow::Result<Outcome> {
    let before = handle.describe(Default::default()).await?;
    // By this time, `outcome` recognizes the workflow among those of other triggers. Servers before
    // 1.29 ignore it, and `handle.trigger` does not send one.
    let now = SystemTime::now();
    let request = PatchScheduleRequest {
        namespace: handle.namespace().to_owned(),
        schedule_id: handle.schedule_id().to_owned(),
        patch: Some(SchedulePatch {
            trigger_immediately: Some(TriggerImmediatelyRequest {
                overlap_policy: policy.map_or(0, |policy| policy as i32),
                scheduled_time: Some(now.into()),
            }),
            ..Default::default()
        }),
        identity: client.identity(),
        request_id: Uuid::new_v4().to_string(),
    };
    let mut service = client.clone();
    let triggered = service.patch_schedule(request.into_request()).await;
    triggered.map_err(ScheduleError::from)?;
    outcome(client, handle, &before, now..=now, 1, policy).await
}

/// Makes a schedule act now, once for each of its times in a range of the past.
///
/// # Errors
/// If there is no such schedule, if it has no time in the range or too many, or if nothing has come
/// of it.
pub async fn backfill(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    range: RangeInclusive<SystemTime>,
    policy: OverlapPolicy,
) -> anyhow::Result<Outcome> {
    let before = handle.describe(Default::default()).await?;
    let asked = count_times(client, handle, &range).await?;
    let (start, end) = (*range.start(), *range.end());
    ensure!(
        asked > 0,
        "schedule `{}` has no time from {} to {}",
        handle.schedule_id(),
        time(start),
        time(end),
    );
    let request = ScheduleBackfill::new(start, end)
        .overlap_policy(policy.into())
        .build();
    handle.backfill([request], Default::default()).await?;
    outcome(client, handle, &before, range, asked, Some(policy)).await
}

/// Counts the times of a schedule in a range, at most [`MAX_TIMES`].
async fn count_times(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    range: &RangeInclusive<SystemTime>,
) -> anyhow::Result<i64> {
    let (mut after, end) = (*range.start() - Duration::from_millis(1), *range.end());
    let mut count = 0;
    loop {
        let times = next_times(client, handle, after, end).await?;
        // The server does not say whether there are more than it lists.
        let Some(last) = times.last() else {
            return Ok(count);
        };
        after = *last;
        count += times.len() as i64;
        ensure!(
            count <= MAX_TIMES,
            "schedule `{}` has more than {MAX_TIMES} times from {} to {}; backfill a shorter range",
            handle.schedule_id(),
            time(*range.start()),
            time(end),
        );
    }
}

/// Lists the times of a schedule after one time and until another, but only the first 1,000. The SDK
/// has no method for this call.
pub(crate) async fn next_times(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    after: SystemTime,
    until: SystemTime,
) -> anyhow::Result<Vec<SystemTime>> {
    let request = ListScheduleMatchingTimesRequest {
        namespace: handle.namespace().to_owned(),
        schedule_id: handle.schedule_id().to_owned(),
        start_time: Some(after.into()),
        end_time: Some(until.into()),
    };
    let mut service = client.clone();
    let times = service.list_schedule_matching_times(request.into_request());
    let times = times.await.map_err(ScheduleError::from)?.into_inner();
    let times = times.start_time.into_iter().map(SystemTime::try_from);
    Ok(times.collect::<Result<_, _>>()?)
}

/// Waits until the server has done what was asked for, or has had the time to.
///
/// The server's numbers cover everybody's requests and what the schedule does by itself. Started
/// workflows can be told apart by their times. Skipped and waiting ones cannot, so they count only if
/// the policy allows them.
async fn outcome(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    before: &ScheduleDescription,
    times: RangeInclusive<SystemTime>,
    asked: i64,
    policy: Option<OverlapPolicy>,
) -> anyhow::Result<Outcome> {
    let (known, announced) = (before.recent_actions(), before.future_action_times());
    let schedule = before.raw().schedule.clone().unwrap_or_default();
    let own_policy = schedule.policies.unwrap_or_default().overlap_policy;
    let policy = policy.map_or(own_policy, |policy| policy as i32);
    let [skip, buffer_one, allow_all] = [
        OverlapPolicy::Skip,
        OverlapPolicy::BufferOne,
        OverlapPolicy::AllowAll,
    ]
    .map(|policy| policy as i32);
    let may_skip = |policy| policy == skip || policy == buffer_one;
    let may_wait = policy != skip && policy != allow_all;
    let buffered = |description: &ScheduleDescription| {
        let info = description.raw().info.as_ref();
        info.map_or(0, |info| info.buffer_size)
    };
    // Each description has only the last ten, so collect them.
    let mut others = BTreeSet::new();
    let deadline = Instant::now() + SETTLE;
    loop {
        let now = handle.describe(Default::default()).await?;
        let mut new = now.recent_actions();
        new.retain(|action| known.iter().all(|known| known.run_id != action.run_id));
        let (ours, theirs): (Vec<_>, Vec<_>) = new.into_iter().partition(|action| {
            let time = action.schedule_time;
            time.is_some_and(|time| times.contains(&time))
        });
        others.extend(theirs.into_iter().map(|a| (a.run_id, a.schedule_time)));
        let started = now.action_count() - before.action_count() - others.len() as i64;
        let started = started.clamp(0, asked);

        let mut skipped = 0;
        if may_skip(policy) {
            skipped = now.overlap_skipped() - before.overlap_skipped();
            if may_skip(own_policy) && !before.paused() {
                // The schedule itself skipped those of its times that passed without a start.
                let mut passed = announced.clone();
                passed.retain(|time| !now.future_action_times().contains(time));
                passed.retain(|time| !others.iter().any(|(_, other)| *other == Some(*time)));
                skipped -= passed.len() as i64;
            }
            skipped = skipped.clamp(0, asked - started);
        }
        let mut waiting = 0;
        if may_wait {
            waiting = (buffered(&now) - buffered(before)).clamp(0, asked - started - skipped);
        }
        let missing = asked - started - skipped - waiting;
        if missing == 0 || Instant::now() >= deadline {
            ensure!(missing < asked, "nothing has come of it: {MISSING}");
            let runs = Run::fetch(client, &ours).await?;
            return Ok(Outcome {
                asked,
                started,
                skipped,
                waiting,
                missing,
                runs,
            });
        }
        // Asked without a pause, the server would answer and do nothing else.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
