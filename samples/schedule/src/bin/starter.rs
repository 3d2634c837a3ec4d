//! Commands that create, inspect, change and delete schedules, and `demo`, which runs them all.

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

/// How long `demo` waits for a worker to run the workflows.
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
    /// Create, trigger, backfill, describe, update, pause and delete a schedule (the default command)
    Demo,
    /// Create a schedule
    Create(Options),
    /// List all schedules
    List,
    /// Show what a schedule starts, its next times and its last workflows
    Describe,
    /// Start a workflow now
    Trigger {
        /// What to do if the previous workflow is still running [default: the schedule's own policy]
        #[arg(long, value_name = "POLICY", value_parser = overlap_policy())]
        overlap_policy: Option<ScheduleOverlapPolicy>,
    },
    /// Start a workflow now for each time in a past range
    Backfill(Range),
    /// Pause a schedule
    Pause {
        /// Reason, which the schedule keeps as its note
        #[arg(long, value_name = "TEXT", default_value = "Paused by the starter.")]
        note: String,
    },
    /// Unpause a schedule
    Unpause {
        /// Reason, which the schedule keeps as its note
        #[arg(long, value_name = "TEXT", default_value = "Unpaused by the starter.")]
        note: String,
    },
    /// Change only what the flags name
    Update(Options),
    /// Delete a schedule; workflows that it has started keep running
    Delete,
}

#[tokio::main]
async fn main() -> MainResult {
    // The flags that all starters share are accepted before and after the command.
    let parser = Args::command().mut_args(|arg| arg.global(true));
    let args = Args::from_arg_matches(&parser.get_matches()).unwrap_or_else(|error| error.exit());
    let ran = run(
        args.command.unwrap_or(Command::Demo),
        &args.starter,
        &args.schedule_id,
    );
    let result = ran
        .await
        .map_err(|error| explain(error, &args.schedule_id))?;
    print_result(&result)
}

async fn run(command: Command, starter: &StarterArgs, id: &str) -> anyhow::Result<Value> {
    if let Command::Demo | Command::Create(_) = command {
        check_ids(starter, id)?;
    }
    let client = starter.connect().await?;
    let session = Session {
        // Sends no request. A missing schedule is reported by the first command that needs it.
        handle: client.get_schedule_handle(id),
        client,
        starter,
    };
    session.run(command).await
}

/// Checks the ids of a new schedule. The server makes longer ids from both: for the workflow that implements
/// the schedule, and for the workflows that the schedule starts.
fn check_ids(starter: &StarterArgs, schedule_id: &str) -> anyhow::Result<()> {
    let room = "temporal-sys-scheduler:".len();
    check_id("--schedule-id", schedule_id, room)?;
    match &starter.workflow_id {
        Some(id) => check_id("--workflow-id", id, "-2026-11-24T15:44:26Z".len()),
        None => Ok(()),
    }
}

/// A connection, and the schedule that the command is about.
struct Session<'a> {
    client: Client,
    handle: ScheduleHandle<Client>,
    starter: &'a StarterArgs,
}

impl Session<'_> {
    /// Runs a command, prints its outcome, and returns the same as JSON.
    async fn run(&self, command: Command) -> anyhow::Result<Value> {
        let (client, handle, id) = (&self.client, &self.handle, self.handle.schedule_id());
        match command {
            Command::Create(options) => {
                let refused = format!("cannot create the schedule{}", options.times());
                // The server appends to this id the time for which a workflow was due. Two schedules with
                // the same prefix would use the same ids.
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
                    "the schedule is updated, but none of its times is in the future; check days, months and years"
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
                ensure!(end <= SystemTime::now(), "--end-time is in the future");
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
        let why = "possible reasons: the overlap policy skips or delays it; the server has not started it \
                   yet; the server has dropped it, because another request arrived at the same moment or a \
                   workflow for the same second is still running; see `describe`";
        ensure!(missing < asked, "no workflow has started within 5 s; {why}");
        let last = &actions[actions.len().saturating_sub(10)..];
        let workflows = report::workflows(word, &self.client, last).await?;
        if missing > 0 {
            report::line("missing", &format!("{missing} of {asked} workflows; {why}"));
        }
        Ok(json!({"asked": asked, "started": actions.len(), "workflows": workflows}))
    }

    /// Runs every command on a schedule of its own, and deletes the schedule even if a command fails.
    async fn demo(&self) -> anyhow::Result<Value> {
        // Handles Ctrl-C, and the SIGTERM with which `make run-schedule` passes it on. From here on, no signal
        // can end the process between create and delete.
        let mut signals = ShutdownSignals::new()?;
        // If this fails, there is nothing to delete. An existing schedule with this id belongs to someone else.
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
                let left = error.context(format!("the schedule `{id}` still exists; delete it"));
                Err(match result {
                    Ok(_) => left,
                    Err(error) => error.context(describe(left.as_ref())),
                })
            }
        }
    }

    async fn steps(&self) -> anyhow::Result<Value> {
        let (client, handle) = (&self.client, &self.handle);
        // The schedule's own policy would skip this workflow if another one has just started.
        let policy = ScheduleOverlapPolicy::AllowAll;
        let mut triggered = trigger(client, handle, policy).await?;
        if triggered.actions.is_empty() {
            // If the schedule itself starts a workflow in the same second, both would have the same id, and the server
            // drops this one.
            triggered = trigger(client, handle, policy).await?;
        }
        let first = triggered
            .actions
            .first()
            .context("no workflow has started")?;
        let workflow = client.get_workflow_handle::<YourSchedulesWorkflow>(&first.workflow_id);
        print_started(&workflow, self.starter.task_queue(TASK_QUEUE)?);
        self.until_done(&triggered).await?;
        self.report("trigger", triggered).await?;

        // Three past times. The most recent one is left out, because the schedule may just have acted on it.
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
                    "no worker has run {id} within {} s, so the workflow still waits for one; start a worker with `make worker-schedule`",
                    PATIENCE.as_secs()
                ),
            }
        }
        Ok(())
    }
}

/// Returns an error that speaks of schedules.
///
/// The server's own errors speak of the workflow that implements the schedule: it is not found, or, if the
/// schedule has just been deleted, it has already completed.
fn explain(error: anyhow::Error, schedule_id: &str) -> anyhow::Error {
    let Some(ScheduleError::Rpc(status)) = error.downcast_ref() else {
        return error;
    };
    match status.code() {
        Code::NotFound if !status.message().starts_with("Namespace") => {
            anyhow!("there is no schedule `{schedule_id}`; `list` shows all schedules")
        }
        Code::AlreadyExists => anyhow!(
            "the schedule `{schedule_id}` already exists, and it is unchanged; delete it, or choose \
             another id with --schedule-id"
        ),
        _ => error,
    }
}
