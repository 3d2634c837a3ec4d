//! Creating and changing a schedule.

#![allow(clippy::disallowed_methods, reason = "no workflow code in here")]

use crate::{
    TASK_QUEUE,
    options::{CreateArgs, UpdateArgs, same_times},
    starts::next_times,
    workflows::YourSchedulesWorkflow,
};
use anyhow::{Context, anyhow, bail, ensure};
use shared::{Input, StarterArgs};
use std::time::{Duration, Instant, SystemTime};
use temporalio_client::{
    Client, NamespacedClient,
    grpc::WorkflowService,
    schedules::{
        CreateScheduleOptions, ScheduleAction, ScheduleError, ScheduleHandle, ScheduleOverlapPolicy,
    },
    tonic::{Code, IntoRequest},
};
use temporalio_common::{
    WorkflowDefinition,
    data_converters::{SerializationContextData, WorkflowSerializationContext},
    protos::temporal::api::{
        common::v1::Payloads,
        schedule::v1::{Schedule, schedule_action::Action},
        workflow::v1::NewWorkflowExecutionInfo,
        workflowservice::v1::UpdateScheduleRequest,
    },
};
use uuid::Uuid;

/// How long to retry a change while others change the same schedule.
const CONTENTION: Duration = Duration::from_secs(10);

/// The shortest catch-up window. The server raises a shorter one to this.
const MIN_CATCHUP_WINDOW: Duration = Duration::from_secs(10);

/// Why the starter refuses times that the server accepts.
const NEVER: &str = "none of these times is in the future; check days, months and years";

/// Creates a schedule for [`YourSchedulesWorkflow`].
///
/// # Errors
/// If the id is taken, if the server does not accept the times, or if none of them is in the future.
pub async fn create(
    client: &Client,
    starter: &StarterArgs,
    schedule_id: &str,
    args: CreateArgs,
) -> anyhow::Result<ScheduleHandle<Client>> {
    // As from an unset variable of a shell. Schedules with an empty prefix would share their ids.
    ensure!(
        starter.workflow_id.as_deref() != Some(""),
        "--workflow-id is empty: leave it out, or give it a value"
    );
    let given = args.spec.given();
    // All that the SDK's action has: no timeout, no retry policy, no memo.
    let action = ScheduleAction::start_workflow(
        YourSchedulesWorkflow::run,
        args.arg.as_deref().unwrap_or("my schedule arg").into(),
        starter.task_queue(TASK_QUEUE)?,
        // How the ids of the workflows begin: the server appends the time at which each was due. Two
        // schedules that began them alike would take each other's ids.
        starter.workflow_id("schedule")?,
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
    if !has_future_times(client, &handle).await? {
        handle.delete(Default::default()).await?;
        return Err(anyhow!(NEVER).context(refused("create", &given)));
    }
    Ok(handle)
}

/// Changes what `args` names and leaves the rest as it is.
///
/// # Errors
/// If there is no such schedule, if it starts another workflow and `args` has an argument, if the
/// server does not accept the times, or if none of them is in the future. The schedule then stays as
/// it was.
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
    if !given.is_empty() && !has_future_times(client, handle).await? {
        let back = edit(client, handle, |schedule| {
            ensure!(
                *schedule == after || *schedule == before,
                "none of the new times is in the future, and others have changed schedule `{}` \
                 meanwhile, so the new times stay; update it again",
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
/// `handle.pause` is not enough. If a trigger reaches the schedule at the same moment, server 1.32
/// drops one of the two requests and reports success for both.
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

/// Applies `change` to a schedule, keeps what others change at the same time, and returns the schedule
/// before and after.
///
/// An update replaces the whole schedule, so this one sends the server's own message back. Whatever
/// `change` leaves alone stays, payloads included. (`handle.update` would decode the argument and send
/// it back in the clear.) The conflict token makes the server drop the update if the schedule has
/// changed since. Server 1.32 reports success nevertheless, so only a second look shows the truth.
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
            "schedule `{}` has not taken this change within {} s: others keep changing it, or the \
             server changes it back; look at it with `describe`, then try again",
            handle.schedule_id(),
            CONTENTION.as_secs()
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

/// Whether a schedule has times after its last change.
async fn has_future_times(
    client: &Client,
    handle: &ScheduleHandle<Client>,
) -> anyhow::Result<bool> {
    let description = handle.describe(Default::default()).await?;
    let changed = description.update_time().or(description.create_time());
    let changed = changed.context("the server does not tell when the schedule was changed")?;
    // The server knows no time after 2100.
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(200 * 365 * 86_400);
    Ok(!next_times(client, handle, changed, end).await?.is_empty())
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
