//! What one does with a schedule where that takes more than a call of the SDK.

#![allow(
    clippy::disallowed_methods,
    reason = "no workflow code in here: a client may look again after a while"
)]

use crate::{
    TASK_QUEUE,
    options::{CreateArgs, OverlapPolicy, UpdateArgs, same_times},
    report::{Run, time},
    workflows::YourSchedulesWorkflow,
};
use anyhow::{Context, anyhow, bail, ensure};
use serde::Serialize;
use shared::{Input, StarterArgs};
use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    time::{Duration, Instant, SystemTime},
};
use temporalio_client::{
    Client, NamespacedClient,
    grpc::WorkflowService,
    schedules::{
        CreateScheduleOptions, ScheduleAction, ScheduleBackfill, ScheduleDescription,
        ScheduleError, ScheduleHandle, ScheduleOverlapPolicy,
    },
    tonic::{Code, IntoRequest},
};
use temporalio_common::{
    WorkflowDefinition,
    data_converters::{SerializationContextData, WorkflowSerializationContext},
    protos::temporal::api::{
        common::v1::Payloads,
        schedule::v1::{
            Schedule, SchedulePatch, TriggerImmediatelyRequest, schedule_action::Action,
        },
        workflow::v1::NewWorkflowExecutionInfo,
        workflowservice::v1::{
            ListScheduleMatchingTimesRequest, PatchScheduleRequest, UpdateScheduleRequest,
        },
    },
};
use uuid::Uuid;

/// The server answers a trigger and a backfill before it acts. How long to wait until it has.
const SETTLE: Duration = Duration::from_secs(5);

/// How long to try again while others change the same schedule.
const CONTENTION: Duration = Duration::from_secs(10);

/// The shortest catch-up window. The server makes this of a shorter one.
const MIN_CATCHUP_WINDOW: Duration = Duration::from_secs(10);

/// How many times a backfill may have. The server starts about ten a second.
const MAX_TIMES: i64 = 100_000;

/// Why less may have come of a trigger or a backfill than was asked for. The server does not tell.
const MISSING: &str = "the server has not come to it yet, or has dropped it because another request \
                       came at the same moment or a workflow for the same second still runs";

/// Why times are refused that the server accepts.
const NEVER: &str = "there is no such time to come; check days, months and years";

/// Creates a schedule for [`YourSchedulesWorkflow`].
///
/// # Errors
/// If the id is taken, if the server does not take the times, or if none of them is to come.
pub async fn create(
    client: &Client,
    starter: &StarterArgs,
    schedule_id: &str,
    args: CreateArgs,
) -> anyhow::Result<ScheduleHandle<Client>> {
    // An unset variable of a shell. Two schedules with an empty prefix would take each other's ids.
    ensure!(
        starter.workflow_id.as_deref() != Some(""),
        "--workflow-id is empty: leave it out, or give it a value"
    );
    let given = args.spec.given();
    // All that the SDK's action has: no timeout, no retry policy, no memo.
    let action = ScheduleAction::start_workflow(
        YourSchedulesWorkflow::run,
        args.arg.as_deref().unwrap_or("my schedule arg").into(),
        starter.task_queue(TASK_QUEUE),
        // How the ids of the workflows begin: the server appends the time at which each was due. Two
        // schedules that began them alike would take each other's ids.
        starter.workflow_id("schedule"),
    );
    let note = args
        .note
        .as_deref()
        .unwrap_or("Here's a note on my Schedule.");
    let policy = args
        .overlap_policy
        .map_or(ScheduleOverlapPolicy::Unspecified, Into::into);
    // And all of the options but `trigger_immediately`, which lets overlap whatever the policy says.
    let options = CreateScheduleOptions::builder()
        .action(action)
        .spec(args.spec.into_spec())
        .overlap_policy(policy)
        .paused(args.paused)
        .note(note)
        .build();
    let created = client.create_schedule(schedule_id, options).await;
    let handle = created.with_context(|| refused("create", &given))?;
    if !has_time_to_come(client, &handle).await? {
        handle.delete(Default::default()).await?;
        return Err(anyhow!(NEVER).context(refused("create", &given)));
    }
    Ok(handle)
}

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

/// Has a schedule act now, paused or not, by its own policy unless there is another.
///
/// # Errors
/// If there is no such schedule, or nothing has come of it.
pub async fn trigger(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    policy: Option<OverlapPolicy>,
) -> anyhow::Result<Outcome> {
    let before = handle.describe(Default::default()).await?;
    // The time tells this trigger's workflow from those of others. `handle.trigger` sends none.
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

/// Has a schedule act, now, once for each of its times in a range of the past.
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

/// Counts the times of a schedule in a range.
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

/// Whether a schedule has times since it was last changed.
async fn has_time_to_come(
    client: &Client,
    handle: &ScheduleHandle<Client>,
) -> anyhow::Result<bool> {
    let description = handle.describe(Default::default()).await?;
    let changed = description.update_time().or(description.create_time());
    let changed = changed.context("the server does not tell when the schedule was changed")?;
    // For the server, time ends in 2100.
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(200 * 365 * 86_400);
    Ok(!next_times(client, handle, changed, end).await?.is_empty())
}

/// Lists the times of a schedule after one time and until another: the first 1,000, no more. The SDK
/// has no method for this call.
async fn next_times(
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
/// The server only counts what all have asked for, and what the schedule has done by itself. Started
/// workflows can be told apart by their times. Among the rest, skipped and waiting ones are those
/// that the policy allows to be skipped or to wait.
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
    // Collected, because each description has only the last ten.
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
                // Of its own times that have passed, the schedule skips those that it does not start.
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

/// Changes what `args` names, and leaves the rest as it is.
///
/// # Errors
/// If there is no such schedule, if it starts another workflow and `args` has an argument, if the
/// server does not take the times, or if none of them is to come. Then the schedule is as before.
pub async fn update(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    args: UpdateArgs,
) -> anyhow::Result<()> {
    ensure!(
        args != UpdateArgs::default(),
        "nothing to update; `update --help` tells what can be"
    );
    let given = args.spec.given();
    let input = match &args.arg {
        Some(argument) => {
            let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
            let argument: Input<String> = argument.clone().into();
            let payloads = client.data_converter().to_payloads(&context, &argument);
            Some(Payloads {
                payloads: payloads.await?,
            })
        }
        None => None,
    };
    let edited = edit(client, handle, |schedule| {
        if let Some(input) = &input {
            our_action(schedule)?.input = Some(input.clone());
        }
        args.spec.set(schedule.spec.get_or_insert_default())?;
        let policies = schedule.policies.get_or_insert_default();
        if let Some(policy) = args.overlap_policy {
            policies.overlap_policy = policy as i32;
        }
        if let Some(window) = args.catchup_window {
            let window = window.max(MIN_CATCHUP_WINDOW).try_into();
            policies.catchup_window = Some(window.context("--catchup-window is too long")?);
        }
        if let Some(pause) = args.pause_on_failure {
            policies.pause_on_failure = pause;
        }
        let state = schedule.state.get_or_insert_default();
        if let Some(note) = &args.note {
            state.notes.clone_from(note);
        }
        if let Some(count) = args.remaining_actions {
            (state.limited_actions, state.remaining_actions) = (true, count);
        }
        Ok(())
    });
    let edited = edited.await.with_context(|| refused("update", &given));
    let (before, after) = edited?;
    if !given.is_empty() && !has_time_to_come(client, handle).await? {
        let back = edit(client, handle, |schedule| {
            ensure!(
                *schedule == after || *schedule == before,
                "others have changed schedule `{}`, and it has no time to come now; give it another",
                handle.schedule_id()
            );
            schedule.clone_from(&before);
            Ok(())
        });
        back.await?;
        return Err(anyhow!(NEVER).context(refused("update", &given)));
    }
    Ok(())
}

/// Pauses a schedule, or lets it act by itself again.
///
/// `handle.pause` is not enough: if a trigger reaches the schedule at the same moment, server 1.32
/// drops one of the two and answers both as if all were well.
///
/// # Errors
/// If there is no such schedule.
pub async fn set_paused(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    paused: bool,
    note: &str,
) -> anyhow::Result<()> {
    edit(client, handle, |schedule| {
        let state = schedule.state.get_or_insert_default();
        state.paused = paused;
        note.clone_into(&mut state.notes);
        Ok(())
    })
    .await?;
    Ok(())
}

/// Applies `change` to a schedule and loses nothing that others change at the same time. Returns the
/// schedule before and after.
///
/// An update replaces the whole schedule, so this one sends the server's own message back: whatever
/// `change` leaves alone stays, payloads included. (`handle.update` decodes the argument and sends it
/// back decoded, in the clear.) The conflict token makes the server drop the update if the schedule
/// has changed since. Server 1.32 still answers that all is well, so only a second look tells.
async fn edit(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    change: impl Fn(&mut Schedule) -> anyhow::Result<()>,
) -> anyhow::Result<(Schedule, Schedule)> {
    let deadline = Instant::now() + CONTENTION;
    let mut changed = None;
    loop {
        let description = handle.describe(Default::default()).await?.into_raw();
        let current = description.schedule.unwrap_or_default();
        let mut wanted = current.clone();
        change(&mut wanted)?;
        if let Some(before) = changed
            && same(current.clone(), wanted.clone())
        {
            return Ok((before, current));
        }
        ensure!(
            Instant::now() < deadline,
            "others keep changing schedule `{}` before this change arrives; try again",
            handle.schedule_id()
        );
        let request = UpdateScheduleRequest {
            namespace: handle.namespace().to_owned(),
            schedule_id: handle.schedule_id().to_owned(),
            schedule: Some(wanted),
            conflict_token: description.conflict_token,
            identity: client.identity(),
            request_id: Uuid::new_v4().to_string(),
            // Left out, the schedule's own memo and search attributes stay.
            ..Default::default()
        };
        match client.clone().update_schedule(request.into_request()).await {
            // The answer of newer servers to an outdated token.
            Err(status) if status.code() == Code::FailedPrecondition => {}
            other => drop(other.map_err(ScheduleError::from)?),
        }
        changed = Some(current);
    }
}

fn same(mut one: Schedule, mut other: Schedule) -> bool {
    let (times, other_times) = (one.spec.take(), other.spec.take());
    one == other && same_times(times.unwrap_or_default(), other_times.unwrap_or_default())
}

/// The action of a schedule that starts [`YourSchedulesWorkflow`].
fn our_action(schedule: &mut Schedule) -> anyhow::Result<&mut NewWorkflowExecutionInfo> {
    let action = schedule.action.as_mut();
    let Some(Action::StartWorkflow(action)) = action.and_then(|action| action.action.as_mut())
    else {
        bail!("it does not start a workflow");
    };
    let workflow_type = action.workflow_type.as_ref();
    let workflow_type = workflow_type.map_or("", |workflow_type| &workflow_type.name);
    let ours = YourSchedulesWorkflow::run.name();
    ensure!(
        workflow_type == ours,
        "it starts {workflow_type}, not {ours}"
    );
    Ok(action)
}

fn refused(verb: &str, given: &[&str]) -> String {
    match given {
        [] => format!("cannot {verb} the schedule"),
        given => format!("cannot {verb} the schedule with {}", given.join(", ")),
    }
}

/// An error in the words of somebody who asked for a schedule.
///
/// The server speaks of what is behind one: of a workflow that is not found, and where the schedule
/// has just been deleted, of a workflow that has completed already.
pub fn explain(error: anyhow::Error, schedule_id: &str) -> anyhow::Error {
    let Some(ScheduleError::Rpc(status)) = error.downcast_ref() else {
        return error;
    };
    match status.code() {
        Code::NotFound if !status.message().starts_with("Namespace") => {
            anyhow!("there is no schedule `{schedule_id}`; `list` tells which there are")
        }
        Code::AlreadyExists => anyhow!(
            "there is a schedule `{schedule_id}` already, and it stays as it is; delete it, or \
             choose another id with --schedule-id"
        ),
        _ => error,
    }
}
