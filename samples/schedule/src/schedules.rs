//! What one does with a schedule where that takes more than a call of the SDK.

#![allow(
    clippy::disallowed_methods,
    reason = "no workflow code in here: a client may look again after a while"
)]

use crate::{
    TASK_QUEUE,
    options::{CreateArgs, UpdateArgs},
    report::{Run, time},
    workflows::YourSchedulesWorkflow,
};
use anyhow::{Context, anyhow, bail, ensure};
use serde::Serialize;
use shared::StarterArgs;
use std::time::{Duration, Instant};
use temporalio_client::{
    Client,
    grpc::WorkflowService,
    schedules::{
        CreateScheduleOptions, ScheduleAction, ScheduleBackfill, ScheduleDescription,
        ScheduleError, ScheduleHandle, ScheduleOverlapPolicy,
    },
    tonic::{Code, IntoRequest},
};
use temporalio_common::{
    WorkflowDefinition,
    protos::temporal::api::{
        schedule::v1::schedule_action::Action, workflow::v1::NewWorkflowExecutionInfo,
        workflowservice::v1::ListScheduleMatchingTimesRequest,
    },
};

/// The server answers a trigger and a backfill before it acts. How long to wait until it has.
const SETTLE: Duration = Duration::from_secs(5);

/// Why less may have come of a trigger or a backfill than was asked for. The server does not tell.
const MISSING: &str = "the server has not come to it yet, or a workflow of the same id, hence for \
                       the same second, still runs";

/// Creates a schedule for [`YourSchedulesWorkflow`].
///
/// # Errors
/// If the id is taken, or the server does not take the times.
pub async fn create(
    client: &Client,
    starter: &StarterArgs,
    schedule_id: &str,
    args: CreateArgs,
) -> anyhow::Result<ScheduleHandle<Client>> {
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
    created.with_context(|| refused("create", &given))
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
        let missing = self.asked - self.started - self.skipped - self.waiting;
        if missing > 0 {
            eprintln!("missing  {missing}: {MISSING}");
        }
    }
}

/// Has a schedule act now, paused or not.
///
/// # Errors
/// If there is no such schedule.
pub async fn trigger(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    policy: ScheduleOverlapPolicy,
) -> anyhow::Result<Outcome> {
    let before = handle.describe(Default::default()).await?;
    handle.trigger(policy, Default::default()).await?;
    outcome(client, handle, &before, 1).await
}

/// Has a schedule act, now, once for each of its times in a range of the past.
///
/// # Errors
/// If there is no such schedule, or it has no time in the range.
pub async fn backfill(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    range: ScheduleBackfill,
) -> anyhow::Result<Outcome> {
    let before = handle.describe(Default::default()).await?;
    // A call without a method of its own. Its range begins after the start, a backfill's with it.
    let request = ListScheduleMatchingTimesRequest {
        namespace: handle.namespace().to_owned(),
        schedule_id: handle.schedule_id().to_owned(),
        start_time: Some((range.start_time - Duration::from_millis(1)).into()),
        end_time: Some(range.end_time.into()),
    };
    let mut service = client.clone();
    let times = service.list_schedule_matching_times(request.into_request());
    let times = times
        .await
        .map_err(ScheduleError::from)?
        .into_inner()
        .start_time
        .len();
    ensure!(
        times > 0,
        "schedule `{}` has no time from {} to {}",
        handle.schedule_id(),
        time(range.start_time),
        time(range.end_time),
    );
    handle.backfill([range], Default::default()).await?;
    outcome(client, handle, &before, times as i64).await
}

/// Waits until the server has done what was asked for, or has had the time to.
async fn outcome(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    before: &ScheduleDescription,
    asked: i64,
) -> anyhow::Result<Outcome> {
    let (known, announced) = (before.recent_actions(), before.future_action_times());
    let buffered = |description: &ScheduleDescription| {
        let info = description.raw().info.as_ref();
        info.map_or(0, |info| info.buffer_size)
    };
    let deadline = Instant::now() + SETTLE;
    loop {
        let now = handle.describe(Default::default()).await?;
        let mut new = now.recent_actions();
        new.retain(|action| known.iter().all(|known| known.run_id != action.run_id));
        // What has come due by itself meanwhile was not asked for.
        let (due, runs): (Vec<_>, Vec<_>) = new.into_iter().partition(|action| {
            let time = action.schedule_time;
            time.is_some_and(|time| announced.contains(&time))
        });
        let started = now.action_count() - before.action_count() - due.len() as i64;
        let skipped = now.overlap_skipped() - before.overlap_skipped();
        let waiting = (buffered(&now) - buffered(before)).max(0);
        let done = started + skipped + waiting;
        if done >= asked || Instant::now() >= deadline {
            ensure!(done > 0, "nothing has come of it: {MISSING}");
            let runs = Run::fetch(client, &runs).await?;
            return Ok(Outcome {
                asked,
                started,
                skipped,
                waiting,
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
/// If there is no such schedule, if it would lose something, or if the server does not take the
/// times.
pub async fn update(handle: &ScheduleHandle<Client>, args: UpdateArgs) -> anyhow::Result<()> {
    let given = args.spec.given();
    ensure!(
        args != UpdateArgs::default(),
        "nothing to update; `update --help` tells what can be"
    );
    // An update replaces all times, and a time zone is none.
    ensure!(
        given.is_empty() || args.spec.has_times(),
        "{} alone would leave it without times: add --interval, --calendar or --cron",
        given.join(", ")
    );
    let description = handle.describe(Default::default()).await?;
    let action = match args.arg {
        Some(argument) => {
            let action = with_argument(&description, argument);
            let id = handle.schedule_id();
            Some(action.with_context(|| format!("schedule `{id}` keeps its argument"))?)
        }
        None => None,
    };
    // Not `handle.update`: that decodes the argument and sends it back decoded, in the clear if
    // there is a payload codec. And neither asks whether somebody else has updated the schedule
    // since: the last one wins.
    let mut update = description.into_update();
    if let Some(action) = action {
        update.set_action(action);
    }
    if !given.is_empty() {
        update.set_spec(args.spec.into_spec());
    }
    if let Some(note) = args.note {
        update.set_note(note);
    }
    if let Some(policy) = args.overlap_policy {
        update.set_overlap_policy(policy.into());
    }
    if let Some(window) = args.catchup_window {
        update.set_catchup_window(window);
    }
    if let Some(pause) = args.pause_on_failure {
        update.set_pause_on_failure(pause);
    }
    if let Some(count) = args.remaining_actions {
        update.set_remaining_actions(Some(count));
    }
    let updated = handle.send_update(update, Default::default()).await;
    updated.with_context(|| refused("update", &given))
}

/// The action of a schedule, with another argument.
///
/// `set_action` replaces the whole of it, and the SDK's has but a type, a queue, an id and input:
/// a timeout, a retry policy or a memo that another client has set would be gone, in silence.
fn with_argument(
    description: &ScheduleDescription,
    argument: String,
) -> anyhow::Result<ScheduleAction> {
    let schedule = description.raw().schedule.clone().unwrap_or_default();
    let Some(Action::StartWorkflow(action)) = schedule.action.unwrap_or_default().action else {
        bail!("it does not start a workflow");
    };
    let workflow_type = action.workflow_type.clone().unwrap_or_default().name;
    let ours = YourSchedulesWorkflow::run.name();
    ensure!(
        workflow_type == ours,
        "it starts {workflow_type}, not {ours}"
    );
    let replacement = ScheduleAction::start_workflow(
        YourSchedulesWorkflow::run,
        argument.into(),
        action.task_queue.clone().unwrap_or_default().name,
        action.workflow_id.clone(),
    );
    let lost = NewWorkflowExecutionInfo {
        workflow_id: String::new(),
        workflow_type: None,
        task_queue: None,
        input: None,
        // Other clients send an empty one.
        priority: action
            .priority
            .clone()
            .filter(|priority| *priority != Default::default()),
        ..action
    };
    ensure!(
        lost == Default::default(),
        "its action has a timeout, a retry policy, a memo or the like, which this update would \
         drop; change it with the client that made it"
    );
    Ok(replacement)
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
