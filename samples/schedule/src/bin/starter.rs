//! A command for each thing that one does with a schedule, and `demo` for all of them in turn.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "no workflow code in here"
)]

use anyhow::{Context, anyhow, bail, ensure};
use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand, builder::NonEmptyStringValueParser,
};
use schedule::{
    SCHEDULE_ID, TASK_QUEUE,
    options::{BackfillArgs, CreateArgs, EVERY, OverlapPolicy, UpdateArgs},
    report::{Listed, Run, Summary},
    schedules::{create, explain, set_paused, update},
    starts::{backfill, trigger},
    workflows::YourSchedulesWorkflow,
};
use serde_json::json;
use shared::{
    MainResult, ShutdownSignals, StarterArgs, check_id, describe, print_result, print_started,
    printable,
};
use std::time::{Duration, SystemTime};
use temporalio_client::{Client, schedules::ScheduleHandle};
use tokio::time::timeout;

/// How long `demo` waits for a worker to run what the schedule has started.
const PATIENCE: Duration = Duration::from_secs(10);

/// Creates a schedule, looks at it, changes it, ends it.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Which schedule
    #[arg(long, value_name = "ID", default_value = SCHEDULE_ID, value_parser = NonEmptyStringValueParser::new())]
    schedule_id: String,

    #[command(flatten)]
    starter: StarterArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Create, trigger, backfill, describe, update, pause, delete; the default
    Demo,
    /// Create one
    Create(CreateArgs),
    /// Tell which there are
    List,
    /// Tell what it does, when it will next, and how the last times ended
    Describe,
    /// Have it act now
    Trigger {
        /// If the workflow before still runs [default: the schedule's own]
        #[arg(long, value_enum, value_name = "POLICY")]
        overlap_policy: Option<OverlapPolicy>,
    },
    /// Have it act now, once for each of its times in a range of the past
    Backfill(BackfillArgs),
    /// Keep it from acting by itself
    Pause {
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "Paused by the starter.")]
        note: String,
    },
    /// Let it act by itself again
    Unpause {
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "Unpaused by the starter.")]
        note: String,
    },
    /// Change it; what is not named stays as it is
    Update(UpdateArgs),
    /// End it; the workflows that it has started go on
    Delete,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = parse();
    let schedule_id = args.schedule_id.clone();
    let ran = run(args).await;
    Ok(ran.map_err(|error| explain(error, &schedule_id))?)
}

/// As `Args::parse`; but what every starter takes may stand before the command or after it.
fn parse() -> Args {
    let command = Args::command().mut_args(|arg| arg.global(true));
    Args::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

async fn run(args: Args) -> anyhow::Result<()> {
    let Args {
        command,
        schedule_id,
        starter,
    } = args;
    let command = command.unwrap_or(Command::Demo);
    if let Command::Demo | Command::Create(_) = command {
        check_ids(&starter, &schedule_id)?;
    }
    let client = &starter.connect().await?;
    // Asks nobody: whether there is such a schedule shows when something is done with it.
    let handle = &client.get_schedule_handle(&schedule_id);
    let done = match command {
        Command::Demo => return print_result(&demo(client, &starter, &schedule_id).await?),
        Command::List => {
            let list = Listed::fetch(client).await?;
            Listed::print(&list);
            return print_result(&list);
        }
        Command::Describe => {
            let summary = show("describe", client, handle).await?;
            summary.print_details();
            return print_result(&summary);
        }
        Command::Trigger { overlap_policy } => {
            let outcome = trigger(client, handle, overlap_policy).await?;
            outcome.print("trigger");
            return print_result(&outcome);
        }
        Command::Backfill(args) => {
            ensure!(
                args.start_time <= args.end_time,
                "--end-time is before --start-time"
            );
            ensure!(
                args.end_time <= SystemTime::now(),
                "--end-time is yet to come"
            );
            let range = args.start_time..=args.end_time;
            let outcome = backfill(client, handle, range, args.overlap_policy).await?;
            outcome.print("backfill");
            return print_result(&outcome);
        }
        Command::Delete => {
            handle.delete(Default::default()).await?;
            eprintln!("deleted  {}", printable(&schedule_id));
            return print_result(&json!({"schedule_id": schedule_id, "deleted": true}));
        }
        Command::Create(args) => {
            create(client, &starter, &schedule_id, args).await?;
            return print_result(&show_next("created", client, handle).await?);
        }
        Command::Pause { note } => {
            set_paused(client, handle, true, &note).await?;
            "paused"
        }
        Command::Unpause { note } => {
            set_paused(client, handle, false, &note).await?;
            "unpaused"
        }
        Command::Update(args) => {
            update(client, handle, args).await?;
            return print_result(&show_next("updated", client, handle).await?);
        }
    };
    print_result(&show(done, client, handle).await?)
}

/// Checks the ids of a new schedule: the server makes longer ones from both, for the workflow that stands
/// for the schedule and for those that it starts.
fn check_ids(starter: &StarterArgs, schedule_id: &str) -> anyhow::Result<()> {
    check_id(
        "--schedule-id",
        schedule_id,
        "temporal-sys-scheduler:".len(),
    )?;
    match &starter.workflow_id {
        Some(id) => check_id("--workflow-id", id, "-2026-11-24T15:44:26Z".len()),
        None => Ok(()),
    }
}

async fn show(
    word: &str,
    client: &Client,
    handle: &ScheduleHandle<Client>,
) -> anyhow::Result<Summary> {
    let summary = Summary::fetch(client, handle).await?;
    summary.print(word);
    Ok(summary)
}

/// As [`show`], with the next times: a misread cron string shows in these.
async fn show_next(
    word: &str,
    client: &Client,
    handle: &ScheduleHandle<Client>,
) -> anyhow::Result<Summary> {
    let summary = show(word, client, handle).await?;
    summary.print_next(3);
    Ok(summary)
}

/// All of it on a schedule that is gone afterwards, whatever happens in between.
async fn demo(client: &Client, starter: &StarterArgs, schedule_id: &str) -> anyhow::Result<String> {
    // Ctrl-C, or the SIGTERM by which `make run-schedule` passes it on: from here on, so that none ends
    // the process between create and delete.
    let mut signals = ShutdownSignals::new()?;
    // An error here ends it: what is there under this id, if anything, is somebody else's.
    let handle = &create(client, starter, schedule_id, CreateArgs::default()).await?;
    let (result, stopped) = tokio::select! {
        result = steps(client, starter, handle) => (result, None),
        signal = signals.next() => (Err(anyhow!("stopped by {signal}")), Some(signal)),
    };
    let deleting = timeout(Duration::from_secs(5), handle.delete(Default::default()));
    let left = match deleting.await {
        Ok(Ok(())) => {
            eprintln!("deleted  {}", printable(schedule_id));
            match stopped {
                Some(signal) => signal.end_process(),
                None => return result,
            }
        }
        Ok(Err(error)) => anyhow::Error::from(error),
        Err(_) => anyhow!("no answer within 5 s"),
    };
    let left = left.context(format!(
        "schedule `{schedule_id}` is still there, delete it"
    ));
    Err(match result {
        Ok(_) => left,
        Err(error) => error.context(describe(left.as_ref())),
    })
}

async fn steps(
    client: &Client,
    starter: &StarterArgs,
    handle: &ScheduleHandle<Client>,
) -> anyhow::Result<String> {
    show_next("created", client, handle).await?;

    // Not by the schedule's own policy, which would skip it if a workflow has just been started.
    let mut triggered = trigger(client, handle, Some(OverlapPolicy::AllowAll)).await?;
    let run = triggered
        .runs
        .first()
        .context("the trigger has started nothing")?;
    let workflow = client.get_workflow_handle::<YourSchedulesWorkflow>(&run.workflow_id);
    print_started(&workflow, starter.task_queue(TASK_QUEUE)?);
    until_done(client, &mut triggered.runs).await?;
    triggered.print("trigger");
    let result = workflow.get_result(Default::default()).await?;

    // Three times of the past; not the last one, on which the schedule may just have acted.
    let description = handle.describe(Default::default()).await?;
    let times = description.future_action_times();
    let next = *times.first().context("the schedule has no next time")?;
    let range = next - 4 * EVERY..=next - 2 * EVERY;
    let mut filled = backfill(client, handle, range, OverlapPolicy::AllowAll).await?;
    until_done(client, &mut filled.runs).await?;
    filled.print("backfill");

    show("describe", client, handle).await?.print_details();

    let new = UpdateArgs {
        arg: Some("my new schedule arg".to_owned()),
        ..Default::default()
    };
    update(client, handle, new).await?;
    show_next("updated", client, handle).await?;

    set_paused(client, handle, true, "Enough.").await?;
    show("paused", client, handle).await?;
    Ok(result)
}

/// Waits until a worker has run the workflows. Nobody has a handle from their start, for nobody but
/// the schedule has started them: their ids are enough.
async fn until_done(client: &Client, runs: &mut [Run]) -> anyhow::Result<()> {
    for run in runs {
        let id = &run.workflow_id;
        let workflow = client.get_workflow_handle::<YourSchedulesWorkflow>(id);
        match timeout(PATIENCE, workflow.get_result(Default::default())).await {
            Ok(result) => result.map(drop)?,
            Err(_) => bail!(
                "no worker has run {id} within {} s; it stays, and runs once there is one: `make worker-schedule`",
                PATIENCE.as_secs()
            ),
        }
        run.refresh(client).await?;
    }
    Ok(())
}
