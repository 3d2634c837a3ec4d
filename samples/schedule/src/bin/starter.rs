//! A command for each thing that one does with a schedule, and `demo` for all of them in turn.

use anyhow::{Context, anyhow, bail, ensure};
use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand, builder::NonEmptyStringValueParser,
};
use futures::TryStreamExt;
use schedule::{
    SCHEDULE_ID, TASK_QUEUE,
    options::{EVERY, Options, Range, overlap_policy},
    report,
    schedules::{create, encode, set_paused, update},
    starts::{Started, backfill, trigger},
    workflows::YourSchedulesWorkflow,
};
use serde_json::{Value, json};
use shared::{
    Input, MainResult, ShutdownSignals, StarterArgs, check_id, describe, print_result,
    print_started,
};
use std::time::{Duration, SystemTime};
use temporalio_client::{
    Client,
    schedules::{ScheduleError, ScheduleHandle, ScheduleOverlapPolicy, ScheduleSummary},
    tonic::Code,
};
use tokio::time::timeout;

/// How long `demo` waits for a worker to run what the schedule has started.
const PATIENCE: Duration = Duration::from_secs(10);

/// Creates, inspects, changes and deletes schedules.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Id of the schedule
    #[arg(long, value_name = "ID", default_value = SCHEDULE_ID, value_parser = NonEmptyStringValueParser::new())]
    schedule_id: String,

    #[command(flatten)]
    starter: StarterArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Create, trigger, backfill, describe, update, pause and delete a schedule; the default
    Demo,
    /// Create a schedule
    Create(Options),
    /// List all schedules
    List,
    /// Show what it does, its next times and its last workflows
    Describe,
    /// Make it act now
    Trigger {
        /// What to do if the last workflow is still running [default: the schedule's own policy]
        #[arg(long, value_name = "POLICY", value_parser = overlap_policy())]
        overlap_policy: Option<ScheduleOverlapPolicy>,
    },
    /// Make it act now, once for each of its times in a range of the past
    Backfill(Range),
    /// Keep it from acting by itself
    Pause {
        /// Reason
        #[arg(long, value_name = "TEXT", default_value = "Paused by the starter.")]
        note: String,
    },
    /// Let it act by itself again
    Unpause {
        /// Reason
        #[arg(long, value_name = "TEXT", default_value = "Unpaused by the starter.")]
        note: String,
    },
    /// Change what the flags name, and nothing else
    Update(Options),
    /// Delete it; the workflows that it has started go on
    Delete,
}

#[tokio::main]
async fn main() -> MainResult {
    // What every starter takes may stand before the command or after it.
    let parser = Args::command().mut_args(|arg| arg.global(true));
    let args = Args::from_arg_matches(&parser.get_matches()).unwrap_or_else(|error| error.exit());
    let ran = run(
        args.command.unwrap_or(Command::Demo),
        &args.starter,
        &args.schedule_id,
    );
    Ok(ran
        .await
        .map_err(|error| explain(error, &args.schedule_id))?)
}

async fn run(command: Command, starter: &StarterArgs, id: &str) -> anyhow::Result<()> {
    if let Command::Demo | Command::Create(_) = command {
        check_ids(starter, id)?;
    }
    let client = starter.connect().await?;
    let session = Session {
        // Sends no request: whether there is such a schedule shows when something is done with it.
        handle: client.get_schedule_handle(id),
        client,
        starter,
    };
    print_result(&session.run(command).await?)
}

/// Checks the ids of a new schedule: the server makes longer ones from both, for the workflow that stands
/// for the schedule and for those that it starts.
fn check_ids(starter: &StarterArgs, schedule_id: &str) -> anyhow::Result<()> {
    let room = "temporal-sys-scheduler:".len();
    check_id("--schedule-id", schedule_id, room)?;
    match &starter.workflow_id {
        Some(id) => check_id("--workflow-id", id, "-2026-11-24T15:44:26Z".len()),
        None => Ok(()),
    }
}

/// What the commands need.
struct Session<'a> {
    client: Client,
    handle: ScheduleHandle<Client>,
    starter: &'a StarterArgs,
}

impl Session<'_> {
    /// Runs a command, prints what it has done, and returns that as JSON.
    async fn run(&self, command: Command) -> anyhow::Result<Value> {
        let (client, handle, id) = (&self.client, &self.handle, self.handle.schedule_id());
        match command {
            Command::Create(options) => {
                let refused = format!("cannot create the schedule{}", options.times());
                // The server appends to this id the time for which each workflow was due. Two schedules
                // with the same one would take each other's ids.
                let workflow_id = self.starter.workflow_id("schedule")?;
                let options = options.create(self.starter.task_queue(TASK_QUEUE)?, &workflow_id);
                create(client, id, options).await.context(refused)?;
                self.show("created", 3).await
            }
            Command::Update(options) => {
                ensure!(
                    options != Options::default(),
                    "nothing to update; `update --help` lists what can be updated"
                );
                let refused = format!("cannot update the schedule{}", options.times());
                let input = match &options.arg {
                    Some(arg) => Some(encode(client, &Input::from(arg.clone())).await?),
                    None => None,
                };
                let change = |schedule: &mut _| options.update(schedule, input.as_ref());
                update(client, handle, change).await.context(refused)?;
                let shown = self.show("updated", 3).await?;
                ensure!(
                    options.times().is_empty() || shown["next"] != json!([]),
                    "the schedule is updated, but no next time is left: check days, months and years"
                );
                Ok(shown)
            }
            Command::Pause { note } => {
                set_paused(client, handle, true, &note).await?;
                self.show("paused", 0).await
            }
            Command::Unpause { note } => {
                set_paused(client, handle, false, &note).await?;
                self.show("unpaused", 0).await
            }
            Command::Trigger { overlap_policy } => {
                let policy = overlap_policy.unwrap_or_default();
                self.report("trigger", trigger(client, handle, policy).await?)
                    .await
            }
            Command::Backfill(range) => {
                let (start, end) = (range.start_time, range.end_time);
                ensure!(start <= end, "--end-time is before --start-time");
                ensure!(end <= SystemTime::now(), "--end-time is yet to come");
                let filled = backfill(client, handle, start..=end, range.overlap_policy).await?;
                self.report("backfill", filled).await
            }
            Command::Describe => {
                let mut shown = self.show("describe", 5).await?;
                let recent = handle.describe(Default::default()).await?.recent_actions();
                let last = &recent[recent.len().saturating_sub(5)..];
                shown["last"] = report::workflows("last", client, last).await?.into();
                Ok(shown)
            }
            Command::List => {
                let schedules = client.list_schedules(Default::default());
                let schedules: Vec<ScheduleSummary> = schedules.try_collect().await?;
                Ok(schedules.iter().map(report::listed).collect())
            }
            Command::Delete => {
                handle.delete(Default::default()).await?;
                report::line("deleted", id);
                Ok(json!({"schedule_id": id, "deleted": true}))
            }
            // Boxed, because it runs other commands in turn.
            Command::Demo => Box::pin(self.demo()).await,
        }
    }

    async fn show(&self, word: &str, count: usize) -> anyhow::Result<Value> {
        let description = self.handle.describe(Default::default()).await?;
        Ok(report::schedule(
            word,
            self.handle.schedule_id(),
            &description,
            count,
        ))
    }

    /// Prints and returns the workflows that a trigger or a backfill has started.
    async fn report(&self, word: &str, started: Started) -> anyhow::Result<Value> {
        let Started { asked, actions } = started;
        let missing = asked - actions.len();
        let why = "the overlap policy skips or delays a workflow; or the server has not come to it yet; or \
                   it has dropped it, because another request arrived at the same moment or a workflow for \
                   the same second is still running; see `describe`";
        ensure!(missing < asked, "nothing has started within 5 s: {why}");
        let last = &actions[actions.len().saturating_sub(10)..];
        let workflows = report::workflows(word, &self.client, last).await?;
        if missing > 0 {
            report::line("missing", &format!("{missing} of {asked}: {why}"));
        }
        Ok(json!({"asked": asked, "started": actions.len(), "workflows": workflows}))
    }

    /// Runs every command on a schedule that is gone afterwards, whatever happens in between.
    async fn demo(&self) -> anyhow::Result<Value> {
        // Ctrl-C, or the SIGTERM by which `make run-schedule` passes it on: from here on, so that none ends
        // the process between create and delete.
        let mut signals = ShutdownSignals::new()?;
        // If this fails, there is nothing to delete: a schedule with this id is somebody else's.
        self.run(Command::Create(Options::default())).await?;
        let (result, stopped) = tokio::select! {
            result = self.steps() => (result, None),
            signal = signals.next() => (Err(anyhow!("stopped by {signal}")), Some(signal)),
        };
        let deleting = timeout(Duration::from_secs(5), self.run(Command::Delete)).await;
        match deleting.context("no answer within 5 s").flatten() {
            Ok(_) => match stopped {
                Some(signal) => signal.end_process(),
                None => result,
            },
            Err(error) => {
                let id = self.handle.schedule_id();
                let left = error.context(format!("schedule `{id}` is still there, delete it"));
                Err(match result {
                    Ok(_) => left,
                    Err(error) => error.context(describe(left.as_ref())),
                })
            }
        }
    }

    async fn steps(&self) -> anyhow::Result<Value> {
        let (client, handle) = (&self.client, &self.handle);
        // The schedule's own policy would skip it if a workflow has just been started.
        let policy = ScheduleOverlapPolicy::AllowAll;
        let triggered = trigger(client, handle, policy).await?;
        let first = triggered.actions.first().context("nothing has started")?;
        let workflow = client.get_workflow_handle::<YourSchedulesWorkflow>(&first.workflow_id);
        print_started(&workflow, self.starter.task_queue(TASK_QUEUE)?);
        self.until_done(&triggered).await?;
        self.report("trigger", triggered).await?;

        // Three times of the past; not the last one, on which the schedule may just have acted.
        let description = handle.describe(Default::default()).await?;
        let times = description.future_action_times();
        let next = *times.first().context("the schedule has no next time")?;
        let filled = backfill(client, handle, next - 4 * EVERY..=next - 2 * EVERY, policy).await?;
        self.until_done(&filled).await?;
        self.report("backfill", filled).await?;

        self.run(Command::Describe).await?;
        let options = Options {
            arg: Some("my new schedule arg".to_owned()),
            ..Default::default()
        };
        self.run(Command::Update(options)).await?;
        let note = "Enough.".to_owned();
        self.run(Command::Pause { note }).await?;
        Ok(workflow.get_result(Default::default()).await?.into())
    }

    /// Waits until a worker has run the workflows.
    async fn until_done(&self, started: &Started) -> anyhow::Result<()> {
        for action in &started.actions {
            let id = &action.workflow_id;
            let workflow = self.client.get_workflow_handle::<YourSchedulesWorkflow>(id);
            match timeout(PATIENCE, workflow.get_result(Default::default())).await {
                Ok(result) => result.map(drop)?,
                Err(_) => bail!(
                    "no worker has run {id} within {} s; it stays, and runs once there is one: `make worker-schedule`",
                    PATIENCE.as_secs()
                ),
            }
        }
        Ok(())
    }
}

/// An error in the words of somebody who asked for a schedule.
///
/// The server speaks of what is behind a schedule: of a workflow that is not found, or, where the schedule
/// has just been deleted, of a workflow that has completed already.
fn explain(error: anyhow::Error, schedule_id: &str) -> anyhow::Error {
    let Some(ScheduleError::Rpc(status)) = error.downcast_ref() else {
        return error;
    };
    match status.code() {
        Code::NotFound if !status.message().starts_with("Namespace") => {
            anyhow!("there is no schedule `{schedule_id}`; `list` shows all schedules")
        }
        Code::AlreadyExists => anyhow!(
            "there is a schedule `{schedule_id}` already, and it stays as it is; delete it, or \
             choose another id with --schedule-id"
        ),
        _ => error,
    }
}
