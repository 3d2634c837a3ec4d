//! Runs the commands of the starter binary. Each test has a schedule of its own.

use anyhow::{Context, bail, ensure};
use futures::{
    FutureExt,
    future::{BoxFuture, join_all, try_join_all},
};
use schedule::{
    report,
    schedules::{create, encode, set_paused, update},
    worker_options,
    workflows::YourSchedulesWorkflow,
};
use serde_json::{Value, json};
use shared::Input;
use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    process::Stdio,
    time::{Duration, SystemTime},
};
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowExecutionStatus, WorkflowHandle,
    grpc::WorkflowService,
    schedules::{
        CreateScheduleOptions, ScheduleAction, ScheduleCalendarSpec, ScheduleDescription,
        ScheduleError, ScheduleHandle, ScheduleOverlapPolicy, ScheduleSpec,
    },
    tonic::{Code, IntoRequest},
};
use temporalio_common::{
    data_converters::{
        DataConverter, DefaultFailureConverter, PayloadCodec, PayloadConversionError,
        PayloadConverter, SerializationContextData,
    },
    protos::temporal::api::{
        common::v1::{Header, Memo, Payload, Priority, RetryPolicy, SearchAttributes},
        enums::v1::ScheduleOverlapPolicy as Policy,
        schedule::v1::{self as proto, IntervalSpec, Schedule, schedule_action::Action},
        sdk::v1::UserMetadata,
        workflow::v1::{NewWorkflowExecutionInfo, VersioningOverride, versioning_override},
        workflowservice::v1::{CreateScheduleRequest, UpdateScheduleRequest},
    },
};
use testing::{TEST_TIMEOUT, TestEnv, address, raw_json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::{sleep, timeout},
};

/// Creates a schedule that starts no workflow by itself during a test.
const YEARLY: &str = "create --cron '0 0 1 1 *'";
/// Starts one workflow of the yearly schedule.
const NEW_YEAR: &str = "backfill --start-time 2026-01-01T00:00:00Z --end-time 2026-01-01T00:00:00Z";

/// The starter, with a schedule and a task queue that no other test uses.
struct Starter {
    env: TestEnv,
    handle: ScheduleHandle<Client>,
}

impl Starter {
    /// Returns the command for a line as a user types it, with single quotes. It gets none of the caller's
    /// Temporal variables.
    fn command(&self, line: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_schedule-starter"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TEMPORAL_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.args([
            "--address",
            address()?,
            "--task-queue",
            &self.env.task_queue,
        ]);
        command.args(["--schedule-id", self.handle.schedule_id()]);
        for (number, part) in line.split('\'').enumerate() {
            match number % 2 {
                0 => command.args(part.split_whitespace()),
                _ => command.arg(part),
            };
        }
        command.kill_on_drop(true).stdin(Stdio::null());
        Ok(command)
    }

    /// Returns the exit code of a command, and its stdout and stderr.
    async fn output(&self, line: &str) -> anyhow::Result<(Option<i32>, String, String)> {
        let output = self.command(line)?.output().await?;
        let (stdout, stderr) = (output.stdout, output.stderr);
        let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
        Ok((output.status.code(), stdout, stderr))
    }

    /// Runs a command that must succeed. Returns its result, which must be all that it prints to stdout, and
    /// its stderr.
    async fn run(&self, line: &str) -> anyhow::Result<(Value, String)> {
        let (code, stdout, stderr) = self.output(line).await?;
        ensure!(code == Some(0), "{line}: {stderr}");
        ensure!(stdout.lines().count() == 1, "{stdout}");
        let result = stdout.strip_prefix("result: ").context("no result")?;
        Ok((serde_json::from_str(result)?, stderr))
    }

    async fn result(&self, line: &str) -> anyhow::Result<Value> {
        Ok(self.run(line).await?.0)
    }

    /// Runs a command that must fail, and returns its error. Of an error from clap, returns the part before
    /// the hints.
    async fn error(&self, line: &str) -> anyhow::Result<String> {
        let (code, stdout, stderr) = self.output(line).await?;
        ensure!(stdout.is_empty(), "{line} prints to stdout: {stdout}");
        let error = match code {
            Some(1) if stderr.lines().count() == 1 => stderr.strip_prefix("Error: "),
            Some(2) => stderr.strip_prefix("error: "),
            _ => None,
        };
        let error = error.with_context(|| format!("{line}: {stderr}"))?;
        let reason = error.split("\n\n").next().unwrap_or_default();
        Ok(reason.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Creates the schedule with `create`, paused, so that it starts no workflow by itself.
    async fn create(&self, spec: ScheduleSpec) -> anyhow::Result<ScheduleHandle<Client>> {
        let queue = &self.env.task_queue;
        let arg = "my schedule arg".into();
        let action = ScheduleAction::start_workflow(YourSchedulesWorkflow::run, arg, queue, queue);
        let options = CreateScheduleOptions::builder().action(action).spec(spec);
        let options = options.paused(true);
        create(&self.env.client, self.handle.schedule_id(), options.build()).await
    }

    async fn update(&self, change: impl Fn(&mut Schedule)) -> anyhow::Result<()> {
        update(&self.env.client, &self.handle, |schedule| {
            change(schedule);
            Ok(())
        })
        .await
    }

    async fn describe(&self) -> anyhow::Result<ScheduleDescription> {
        Ok(self.handle.describe(Default::default()).await?)
    }

    /// Returns the schedule as the server stores it.
    async fn schedule(&self) -> anyhow::Result<Schedule> {
        let schedule = self.describe().await?.into_raw().schedule;
        schedule.context("the description has no schedule")
    }

    /// Waits until the description of the schedule meets `condition`.
    async fn until(&self, condition: impl Fn(&ScheduleDescription) -> bool) -> anyhow::Result<()> {
        while !condition(&self.describe().await?) {
            // Without this pause, the server would be too busy with these requests to start workflows.
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn is_gone(&self) -> anyhow::Result<bool> {
        match self.handle.describe(Default::default()).await {
            Ok(_) => Ok(false),
            Err(ScheduleError::Rpc(status)) if status.code() == Code::NotFound => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the schedule as a client in another language can, with any field.
    async fn replace(&self, schedule: Schedule) -> anyhow::Result<()> {
        let request = UpdateScheduleRequest {
            namespace: self.handle.namespace().to_owned(),
            schedule_id: self.handle.schedule_id().to_owned(),
            schedule: Some(schedule),
            ..Default::default()
        };
        let mut service = self.env.client.clone();
        service.update_schedule(request.into_request()).await?;
        Ok(())
    }

    fn workflow(&self, run: &Value) -> WorkflowHandle<Client, YourSchedulesWorkflow> {
        let id = run["workflow_id"].as_str().unwrap_or_default();
        self.env.client.get_workflow_handle(id)
    }
}

fn action_of(schedule: &mut Schedule) -> anyhow::Result<&mut NewWorkflowExecutionInfo> {
    let action = schedule.action.as_mut();
    let Some(Action::StartWorkflow(info)) = action.and_then(|action| action.action.as_mut()) else {
        bail!("it does not start a workflow");
    };
    Ok(info)
}

async fn with_schedule(
    body: impl AsyncFnOnce(&Starter) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    with_schedule_in(TestEnv::new().await?, body).await
}

/// Runs `body`, then deletes its schedule, even if `body` fails, panics or hangs.
async fn with_schedule_in(
    env: TestEnv,
    body: impl AsyncFnOnce(&Starter) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let handle = env.client.get_schedule_handle(&env.task_queue);
    let starter = Starter { env, handle };
    let body = timeout(TEST_TIMEOUT, body(&starter)).map(|result| result?);
    let result = AssertUnwindSafe(body).catch_unwind().await;
    if !starter.is_gone().await? {
        starter.handle.delete(Default::default()).await?;
    }
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// A schedule can be created, listed, paused, unpaused, updated and deleted, and then created again under the
/// same id.
#[tokio::test]
async fn from_create_to_delete() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        let id = starter.handle.schedule_id();
        let created = starter.result("create").await?;
        assert_eq!(created["schedule_id"], id);
        assert_eq!(created["workflow_type"], "YourSchedulesWorkflow");
        assert_eq!(created["arguments"], json!(["my schedule arg"]));
        assert_eq!(created["task_queue"], starter.env.task_queue);
        assert_eq!(created["note"], "Here's a note on my Schedule.");
        assert_eq!(created["overlap_policy"], "SKIP");
        assert_eq!(created["paused"], false);
        assert_eq!(created["next"].as_array().map(Vec::len), Some(5));
        let workflow_id = created["workflow_id"].as_str().unwrap_or_default();
        let digits = workflow_id.strip_prefix("schedule-").unwrap_or_default();
        assert!(
            digits.len() == 8 && digits.chars().all(|c| c.is_ascii_hexdigit()),
            "{workflow_id}"
        );
        let spec = starter.schedule().await?.spec.unwrap_or_default();
        let every = spec.interval.first().and_then(|interval| interval.interval);
        assert_eq!(every.map(|every| every.seconds), Some(120));

        // The list may lag behind, so wait for the schedule to show up.
        let listed = loop {
            let list = starter.result("list").await?;
            let list = list.as_array().cloned().unwrap_or_default();
            if let Some(listed) = list.into_iter().find(|listed| listed["schedule_id"] == id) {
                break listed;
            }
        };
        assert_eq!(listed["workflow_type"], "YourSchedulesWorkflow");
        assert_eq!(listed["note"], "Here's a note on my Schedule.");

        let paused = starter.result("pause --note Enough.").await?;
        assert_eq!(paused["paused"], true);
        assert_eq!(paused["note"], "Enough.");
        let unpaused = starter.result("unpause").await?;
        assert_eq!(unpaused["paused"], false);

        let line = "update --arg another --overlap-policy buffer-one";
        let mut updated = starter.result(line).await?;
        assert_eq!(updated["arguments"], json!(["another"]));
        assert_eq!(updated["overlap_policy"], "BUFFER_ONE");
        // `next` and `started` change by themselves if a workflow comes due in the meantime.
        for changed in ["arguments", "overlap_policy", "next", "started"] {
            updated[changed] = unpaused[changed].clone();
        }
        assert_eq!(updated, unpaused);

        let deleted = starter.result("delete").await?;
        assert_eq!(deleted, json!({"schedule_id": id, "deleted": true}));
        assert!(starter.is_gone().await?);
        let again = starter.result("create --arg again --note ''").await?;
        assert_eq!(again["arguments"], json!(["again"]));
        assert_eq!(again["note"], "");
        Ok(())
    })
    .await
}

/// The demo runs every command, prints the result of the triggered workflow, and deletes its schedule.
#[tokio::test]
async fn demo_runs_every_command() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        let demo = async {
            let (result, stderr) = starter.run("").await?;
            assert_eq!(result, "Hello, my schedule arg!");
            let words = stderr.lines().filter(|line| !line.starts_with(' '));
            let words: Vec<_> = words.filter_map(|line| line.split(' ').next()).collect();
            let expected =
                "created next workflow trigger backfill describe next last updated next paused deleted";
            assert_eq!(words.join(" "), expected, "{stderr}");
            assert!(starter.is_gone().await?);
            Ok(())
        };
        starter.env.work(worker_options, demo).await
    })
    .await
}

/// Without a worker, the demo soon reports that none has run the workflow, and still deletes its schedule.
#[tokio::test]
async fn demo_without_a_worker() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        let output = starter.command("demo")?.output().await?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let last = stderr.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("Error: no worker has run schedule-"),
            "{stderr}"
        );
        assert!(last.ends_with("`make worker-schedule`"), "{stderr}");
        assert!(starter.is_gone().await?);
        Ok(())
    })
    .await
}

/// A signal in the middle of the demo deletes the schedule, then ends the demo with the signal's status.
#[cfg(unix)]
#[tokio::test]
async fn demo_deletes_its_schedule_on_a_signal() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        for (signal, name, code) in [("INT", "Ctrl-C", 130), ("TERM", "SIGTERM", 143)] {
            let mut demo = starter.command("demo")?.stderr(Stdio::piped()).spawn()?;
            let stderr = demo.stderr.take().context("piped")?;
            let mut stderr = BufReader::new(stderr).lines();
            // After this line the demo waits for a worker, and there is none.
            while !stderr
                .next_line()
                .await?
                .context("it ended")?
                .starts_with("workflow ")
            {}
            let pid = demo.id().context("running")?.to_string();
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .await?;
            let deleted = format!("deleted  {}", starter.handle.schedule_id());
            assert_eq!(stderr.next_line().await?, Some(deleted));
            let stopped = format!("Error: stopped by {name}");
            assert_eq!(stderr.next_line().await?, Some(stopped));
            assert_eq!(demo.wait().await?.code(), Some(code));
            assert!(starter.is_gone().await?);
        }
        Ok(())
    })
    .await
}

/// Neither `create` nor `demo` changes a schedule that already exists.
#[tokio::test]
async fn an_existing_schedule_is_unchanged() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        starter.result(&format!("{YEARLY} --arg theirs")).await?;
        let before = starter.describe().await?.into_raw();
        let expected = format!(
            "the schedule `{}` already exists, and it is unchanged; delete it, or choose another id \
             with --schedule-id",
            starter.handle.schedule_id()
        );
        for command in ["create", "demo"] {
            assert_eq!(starter.error(command).await?, expected);
        }
        let after = starter.describe().await?.into_raw();
        assert_eq!(after.schedule, before.schedule);
        assert_eq!(after.conflict_token, before.conflict_token);
        Ok(())
    })
    .await
}

/// Calendars and cron strings follow the clock of their time zone. On the days when the clock changes, they
/// behave as DETAILS.md says.
#[tokio::test]
async fn calendars_and_cron_follow_the_time_zone() -> anyhow::Result<()> {
    let (paris, new_york) = ("Europe/Paris", "America/New_York");
    let crons = [
        // Nine o'clock in Paris, before and after the change to summer time.
        (
            "0 9 24-26 3 * 2040",
            paris,
            "03-24T08:00 03-25T07:00 03-26T07:00",
        ),
        // Half past two does not exist on the 25th.
        ("30 2 24-26 3 * 2040", paris, "03-24T01:30 03-26T00:30"),
        // It comes twice on the 28th, and counts once. In New York, half past one counts twice.
        (
            "30 2 27-29 10 * 2040",
            paris,
            "10-27T00:30 10-28T01:30 10-29T01:30",
        ),
        (
            "30 1 3-5 11 * 2040",
            new_york,
            "11-03T05:30 11-04T05:30 11-04T06:30 11-05T06:30",
        ),
        // Hourly, without the hour from 01:00Z on.
        (
            "0 0-5 28 10 * 2040",
            paris,
            "10-27T22:00 10-27T23:00 10-28T00:00 10-28T02:00 10-28T03:00",
        ),
        // A day of the month and a day of the week: both must match. In cron, either would do.
        (
            "0 9 13 * FRI 2040",
            "UTC",
            "01-13T09:00 04-13T09:00 07-13T09:00",
        ),
    ];
    let crons = crons.map(|(cron, zone, expected)| {
        let spec = ScheduleSpec::builder().cron_strings(vec![cron.to_owned()]);
        (spec.timezone_name(zone).build(), expected)
    });
    let calendar = |day: &str, hour: &str, minute: &str| {
        ScheduleCalendarSpec::builder()
            .year("2040")
            .month("12")
            .day_of_month(day)
            .hour(hour)
            .minute(minute)
            .build()
    };
    // All times of both calendars, except the excluded ones.
    let calendars = ScheduleSpec::builder()
        .calendars(vec![
            calendar("24", "9,17", "0-30/30"),
            calendar("25", "9", "0"),
        ])
        .exclude_calendars(vec![calendar("24", "17", "*")])
        .build();
    let paris_calendar = ScheduleCalendarSpec::builder()
        .year("2040")
        .month("3")
        .day_of_month("24-26")
        .hour("9");
    let paris_calendar = ScheduleSpec::builder()
        .calendars(vec![paris_calendar.build()])
        .timezone_name(paris);
    let calendars = [
        (calendars, "12-24T09:00 12-24T09:30 12-25T09:00"),
        (
            paris_calendar.build(),
            "03-24T08:00 03-25T07:00 03-26T07:00",
        ),
    ];
    let tests = crons
        .into_iter()
        .chain(calendars)
        .map(async |(spec, expected)| {
            with_schedule(async |starter| {
                let shown = format!("{spec:?}");
                starter.create(spec).await?;
                let expected = expected.split(' ').map(|t| format!("2040-{t}:00Z"));
                let next = starter.result("describe").await?["next"].take();
                assert_eq!(next, json!(expected.collect::<Vec<_>>()), "{shown}");
                Ok(())
            })
            .await
        });
    join_all(tests).await.into_iter().collect()
}

/// Intervals count from 1970 and can have an offset. Jitter delays each time by a part of itself. An update
/// changes one without the other.
#[tokio::test]
async fn intervals_and_jitter() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        let minutes = |summary: &Value| -> anyhow::Result<Vec<u32>> {
            let times = summary["next"].as_array().context("times")?.iter();
            let minute = |time: &Value| {
                time.as_str()
                    .and_then(|time| time.get(14..16)?.parse().ok())
            };
            times.map(|time| minute(time).context("a time")).collect()
        };
        let created = starter
            .result("create --interval 1h/15m --jitter 10m")
            .await?;
        let jittered = minutes(&created)?;
        assert!(
            jittered.iter().all(|minute| (15..25).contains(minute)),
            "{jittered:?}"
        );
        let updated = starter.result("update --interval 1h/30m").await?;
        let jittered = minutes(&updated)?;
        assert!(
            jittered.iter().all(|minute| (30..40).contains(minute)),
            "{jittered:?}"
        );
        let updated = starter.result("update --jitter 0s").await?;
        assert_eq!(minutes(&updated)?, [30; 5]);
        Ok(())
    })
    .await
}

/// `create` and `update` print the next times of the schedule. If none of them is in the future, `create`
/// refuses the schedule, and `update` reports it.
#[tokio::test]
async fn shows_the_next_times() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        let never = "'0 9 31 2 *'";
        let reason = "none of these times is in the future; check days, months and years";
        let error = starter.error(&format!("create --cron {never}")).await?;
        let expected = format!("cannot create the schedule with --cron: {reason}");
        assert_eq!(error, expected);
        let daily = ScheduleCalendarSpec::builder().hour("9").build();
        let excluded = ScheduleSpec::builder()
            .calendars(vec![daily.clone()])
            .exclude_calendars(vec![daily])
            .build();
        let error = starter.create(excluded).await.err().context("it creates")?;
        assert_eq!(error.to_string(), reason);
        assert!(starter.is_gone().await?);

        let next = |stderr: &str| {
            let lines = stderr.lines().skip_while(|line| !line.starts_with("next "));
            let times = lines.filter_map(|line| line.split_whitespace().last().map(str::to_owned));
            times.collect::<Vec<_>>()
        };
        let (created, stderr) = starter.run("create --cron '0 9 * * * # daily'").await?;
        let times = created["next"].as_array().context("times")?;
        assert_eq!(json!(next(&stderr)), json!(times[..3]));
        let (updated, stderr) = starter.run("update --cron '0 10 * * MON'").await?;
        let times = updated["next"].as_array().context("times")?;
        assert_eq!(json!(next(&stderr)), json!(times[..3]));

        let (code, _, stderr) = starter.output(&format!("update --cron {never}")).await?;
        let expected = "Error: the schedule is updated, but none of its times is in the future; check \
                        days, months and years\n";
        assert!(code == Some(1) && stderr.ends_with(expected), "{stderr}");
        // An update with the same times changes nothing, and is not an error.
        starter.result("update --cron '0 11 * * *'").await?;
        let updated = starter.result("update --cron '0 11 * * *'").await?;
        assert_eq!(updated["next"].as_array().map(Vec::len), Some(5));
        Ok(())
    })
    .await
}

/// The start of the error about a workflow that has not started.
const NOT_STARTED: &str = "no workflow has started within 5 s; ";

/// Triggers a schedule with each overlap policy while a workflow is still running. A workflow that waits starts
/// when that one has ended.
#[tokio::test]
async fn overlap_policies() -> anyhow::Result<()> {
    let cases = [
        ("skip", [1, 1, 0]),
        ("buffer-one", [1, 0, 1]),
        ("buffer-all", [1, 0, 1]),
        ("cancel-other", [1, 0, 1]),
        ("allow-all", [2, 0, 0]),
    ];
    let tests = cases.map(async |(policy, expected)| {
        with_schedule(async |starter| {
            let create = format!("{YEARLY} --overlap-policy {policy}");
            starter.result(&create).await?;
            // There is no worker, so a started workflow keeps running.
            let first = starter
                .result(&format!("{NEW_YEAR} --overlap-policy skip"))
                .await?;
            assert_eq!(first["started"], 1);
            match policy {
                "allow-all" => assert_eq!(starter.result("trigger").await?["started"], 1),
                _ => assert!(starter.error("trigger").await?.starts_with(NOT_STARTED)),
            }
            let described = starter.result("describe").await?;
            let numbers = ["started", "skipped", "waiting"].map(|name| &described[name]);
            assert_eq!(json!(numbers), json!(expected), "{policy}");

            let first = starter.workflow(&first["workflows"][0]);
            let first = first.describe(Default::default()).await?;
            assert_eq!(first.status(), WorkflowExecutionStatus::Running);
            let info = first.raw().workflow_extended_info.as_ref();
            let cancelled = info.is_some_and(|info| info.cancel_requested);
            assert_eq!(cancelled, policy == "cancel-other");
            if policy == "buffer-all" {
                let both = starter.until(|schedule| schedule.action_count() == 2);
                starter.env.work(worker_options, both).await?;
            }
            Ok(())
        })
        .await
    });
    join_all(tests).await.into_iter().collect()
}

/// `terminate-other` terminates the running workflow, and the next one starts. The server needs a moment for it.
#[tokio::test]
async fn terminate_other_terminates_the_running_workflow() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        starter.result(YEARLY).await?;
        let first = starter
            .result(&format!("{NEW_YEAR} --overlap-policy skip"))
            .await?;
        let policy = ScheduleOverlapPolicy::TerminateOther;
        starter.handle.trigger(policy, Default::default()).await?;
        starter
            .until(|schedule| schedule.action_count() == 2)
            .await?;
        let first = starter.workflow(&first["workflows"][0]);
        let first = first.describe(Default::default()).await?;
        assert_eq!(first.status(), WorkflowExecutionStatus::Terminated);
        Ok(())
    })
    .await
}

/// Overlap policies ignore a running workflow that was started with `allow-all`.
#[tokio::test]
async fn policies_ignore_workflows_of_allow_all() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        starter.result(YEARLY).await?;
        assert_eq!(starter.result(NEW_YEAR).await?["started"], 1);
        assert_eq!(starter.result("trigger").await?["started"], 1);
        Ok(())
    })
    .await
}

/// `backfill` does not count workflows that come due by themselves. This schedule starts a workflow every
/// second, and a backfill that the server drops still reports that no workflow has started. The server drops it
/// because a workflow for the same time is running.
#[tokio::test]
async fn backfill_ignores_workflows_that_came_due() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        starter
            .result("create --interval 1s --overlap-policy allow-all")
            .await?;
        let before = starter.describe().await?.action_count();
        assert_eq!(starter.result(NEW_YEAR).await?["started"], 1);
        assert!(starter.error(NEW_YEAR).await?.starts_with(NOT_STARTED));
        // One requested workflow, and more than one that came due.
        let count = starter.describe().await?.action_count() - before;
        assert!(count > 2, "{count}");
        Ok(())
    })
    .await
}

/// The server drops most of the triggers that arrive together. Each trigger reports only its own workflow.
#[tokio::test]
async fn each_trigger_reports_only_its_own_workflow() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        starter.result(YEARLY).await?;
        let triggers = (0..12).map(|_| starter.output("trigger --overlap-policy allow-all"));
        let mut started = Vec::new();
        for output in join_all(triggers).await {
            let (code, stdout, stderr) = output?;
            match stdout.strip_prefix("result: ") {
                Some(result) => {
                    let result: Value = serde_json::from_str(result)?;
                    let numbers = ["asked", "started"].map(|name| &result[name]);
                    assert_eq!(json!(numbers), json!([1, 1]), "{stdout}");
                    started.push(result["workflows"][0]["workflow_id"].to_string());
                }
                None => assert!(code == Some(1) && stderr.contains(NOT_STARTED), "{stderr}"),
            }
        }
        let counted = starter.describe().await?.action_count();
        assert_eq!(usize::try_from(counted)?, started.len());
        Ok(())
    })
    .await
}

/// A backfill of three hours of an hourly schedule starts three workflows, each with its own time in its id.
#[tokio::test]
async fn backfill_starts_a_workflow_for_each_time() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        let id = &starter.env.task_queue;
        starter
            .result(&format!("create --interval 1h --workflow-id {id}"))
            .await?;
        let morning = "backfill --start-time 2026-11-20T08:00:00Z --end-time 2026-11-20T10:00:00Z";
        let outcome = starter.result(morning).await?;
        assert_eq!(outcome["asked"], 3);
        assert_eq!(outcome["started"], 3);
        let workflows = outcome["workflows"].as_array().context("workflows")?;
        let mut ids: Vec<_> = workflows
            .iter()
            .map(|it| it["workflow_id"].clone())
            .collect();
        ids.sort_by_key(Value::to_string);
        assert_eq!(
            ids,
            ["08", "09", "10"].map(|hour| format!("{id}-2026-11-20T{hour}:00:00Z"))
        );

        let [start, end] = ["2026-11-20T08:10:00Z", "2026-11-20T08:50:00Z"];
        let error = starter
            .error(&format!("backfill --start-time {start} --end-time {end}"))
            .await?;
        assert_eq!(
            error,
            format!("schedule `{id}` has no time from {start} to {end}")
        );
        Ok(())
    })
    .await
}

/// A backfill counts all its times, although the server lists only 1,000 per page. It refuses a range that would
/// keep the server busy for hours, and reports workflows that the policy skips as missing.
#[tokio::test]
async fn backfill_counts_more_than_one_page() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        starter
            .create(ScheduleSpec::from_interval(Duration::from_secs(1)))
            .await?;
        let until = |end: &str| {
            format!(
                "backfill --start-time 2026-11-20T00:00:00Z --end-time {end} --overlap-policy skip"
            )
        };
        let error = starter.error(&until("2026-11-22T00:00:00Z")).await?;
        let expected = "has more than 100000 times from 2026-11-20T00:00:00Z to \
                        2026-11-22T00:00:00Z; backfill a shorter range";
        assert!(error.ends_with(expected), "{error}");
        let (outcome, stderr) = starter.run(&until("2026-11-20T00:40:00Z")).await?;
        assert_eq!(outcome["asked"], 2401);
        assert_eq!(outcome["started"], 1);
        assert!(
            stderr.contains("\nmissing  2400 of 2401 workflows; "),
            "{stderr}"
        );
        Ok(())
    })
    .await
}

/// `describe` shows how the last workflows ended: with a result, with a failure, or GONE, because the server has
/// deleted them.
#[tokio::test]
async fn describes_the_last_results() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        starter.result(YEARLY).await?;
        let working = async {
            let trigger = starter.result("trigger").await?;
            let completed = starter.workflow(&trigger["workflows"][0]);
            completed.get_result(Default::default()).await?;

            // Another client can give it an argument that is not a string.
            let number = ScheduleAction::start_workflow(
                UntypedWorkflow::new("YourSchedulesWorkflow"),
                raw_json(&[json!(42)]),
                &starter.env.task_queue,
                &starter.env.task_queue,
            );
            let mut update = starter.describe().await?.into_update();
            update.set_action(number);
            starter
                .handle
                .send_update(update, Default::default())
                .await?;
            let trigger = starter.result("trigger").await?;
            let failed = starter.workflow(&trigger["workflows"][0]);
            ensure!(
                failed.get_result(Default::default()).await.is_err(),
                "it completed"
            );
            Ok(())
        };
        starter.env.work(worker_options, working).await?;

        let (described, stderr) = starter.run("describe").await?;
        assert_eq!(described["arguments"], json!([42]));
        let [first, second] = [&described["last"][0], &described["last"][1]];
        assert_eq!(first["status"], "COMPLETED");
        assert_eq!(first["result"], "Hello, my schedule arg!");
        assert_eq!(second["status"], "FAILED");
        let reason =
            "workflow failed: bad input: invalid type: integer `42`, expected a string (BadInput)";
        assert_eq!(second["result"], reason);
        for line in [
            "COMPLETED  \"Hello, my schedule arg!\"",
            &format!("FAILED  \"{reason}\""),
        ] {
            assert!(stderr.contains(line), "{stderr}");
        }

        // As if the server had deleted one.
        let mut actions = starter.describe().await?.recent_actions();
        "forgotten".clone_into(&mut actions[0].workflow_id);
        let gone = report::workflows("", &starter.env.client, &actions[..1]).await?;
        assert_eq!(gone[0]["status"], "GONE");
        Ok(())
    })
    .await
}

/// Returns the schedule with every field set, as another client can set them.
fn full(mut schedule: Schedule) -> anyhow::Result<Schedule> {
    let fields = || [("key".to_owned(), text("value"))].into();
    let minute = || Duration::from_secs(60).try_into().map(Some);
    let day = |day: u64| Some((SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400)).into());
    let action = action_of(&mut schedule)?;
    action.workflow_execution_timeout = minute()?;
    action.workflow_run_timeout = minute()?;
    action.workflow_task_timeout = minute()?;
    action.retry_policy = Some(RetryPolicy {
        initial_interval: minute()?,
        backoff_coefficient: 1.5,
        maximum_interval: minute()?,
        maximum_attempts: 3,
        non_retryable_error_types: vec!["BadInput".to_owned()],
    });
    action.memo = Some(Memo { fields: fields() });
    action.search_attributes = Some(keyword());
    action.header = Some(Header { fields: fields() });
    action.user_metadata = Some(UserMetadata {
        summary: Some(text("summary")),
        details: Some(text("details")),
    });
    action.versioning_override = Some(VersioningOverride {
        r#override: Some(versioning_override::Override::AutoUpgrade(true)),
        ..Default::default()
    });
    action.priority = Some(Priority {
        priority_key: 2,
        fairness_key: "tenant".to_owned(),
        fairness_weight: 0.5,
    });
    let spec = schedule.spec.get_or_insert_default();
    // Years in the future, so that no workflow comes due.
    (spec.start_time, spec.end_time) = (day(25_000), day(35_000));
    let policies = schedule.policies.get_or_insert_default();
    policies.overlap_policy = Policy::BufferAll.into();
    policies.catchup_window = minute()?;
    policies.keep_original_workflow_id = true;
    let state = schedule.state.get_or_insert_default();
    (state.paused, state.notes) = (true, "theirs".to_owned());
    (state.limited_actions, state.remaining_actions) = (true, 9);
    Ok(schedule)
}

fn text(text: &str) -> Payload {
    raw_json(&[json!(text)]).payloads.remove(0)
}

/// Returns a search attribute that exists on every server.
fn keyword() -> SearchAttributes {
    let mut keyword = text("mine");
    keyword.metadata.insert("type".to_owned(), "Keyword".into());
    SearchAttributes {
        indexed_fields: [("BatcherUser".to_owned(), keyword)].into(),
    }
}

/// Each flag of `update` changes only what it names, both in a schedule of this sample and in a schedule of another
/// client that uses every field.
#[tokio::test]
async fn each_flag_updates_one_thing() -> anyhow::Result<()> {
    type Change = fn(&mut Schedule) -> anyhow::Result<()>;
    let cases: [(&str, Change); 7] = [
        ("--arg other", |schedule| {
            let input = action_of(schedule)?.input.get_or_insert_default();
            input.payloads[0].data = br#""other""#.into();
            Ok(())
        }),
        ("--note other", |schedule| {
            "other".clone_into(&mut schedule.state.get_or_insert_default().notes);
            Ok(())
        }),
        ("--overlap-policy buffer-one", |schedule| {
            let policies = schedule.policies.get_or_insert_default();
            policies.overlap_policy = Policy::BufferOne.into();
            Ok(())
        }),
        ("--time-zone Asia/Tokyo", |schedule| {
            let spec = schedule.spec.get_or_insert_default();
            "Asia/Tokyo".clone_into(&mut spec.timezone_name);
            Ok(())
        }),
        ("--jitter 20s", |schedule| {
            let jitter = Duration::from_secs(20).try_into()?;
            schedule.spec.get_or_insert_default().jitter = Some(jitter);
            Ok(())
        }),
        ("--cron '0 10 * * *'", |schedule| {
            let spec = schedule.spec.get_or_insert_default();
            let calendar = &mut spec.structured_calendar[0];
            (calendar.hour[0].start, calendar.hour[0].end) = (10, 10);
            "0 10 * * *".clone_into(&mut calendar.comment);
            Ok(())
        }),
        ("--interval 1d", |schedule| {
            let spec = schedule.spec.get_or_insert_default();
            spec.structured_calendar.clear();
            spec.interval = vec![IntervalSpec {
                interval: Some(Duration::from_secs(86_400).try_into()?),
                phase: None,
            }];
            Ok(())
        }),
    ];
    with_schedule(async |starter| {
        let excluded = ScheduleCalendarSpec::builder().day_of_month("13").hour("9");
        let spec = ScheduleSpec::builder()
            .cron_strings(vec!["0 9 * * *".to_owned()])
            .exclude_calendars(vec![excluded.build()])
            .timezone_name("Europe/Paris")
            .jitter(Duration::from_secs(10))
            .build();
        for other_client in [false, true] {
            starter.create(spec.clone()).await?;
            if other_client {
                let request = CreateScheduleRequest {
                    namespace: starter.handle.namespace().to_owned(),
                    schedule_id: starter.handle.schedule_id().to_owned(),
                    schedule: Some(full(starter.schedule().await?)?),
                    request_id: starter.env.task_queue.clone(),
                    memo: Some(Memo {
                        fields: [("key".to_owned(), text("value"))].into(),
                    }),
                    search_attributes: Some(keyword()),
                    ..Default::default()
                };
                starter.handle.delete(Default::default()).await?;
                let mut service = starter.env.client.clone();
                WorkflowService::create_schedule(&mut service, request.into_request()).await?;
            }
            let mut expected = starter.describe().await?.into_raw();
            if other_client {
                let kept = expected.schedule.clone().context("a schedule")?;
                assert_eq!(full(kept.clone())?, kept);
                assert_eq!(expected.search_attributes, Some(keyword()));
                assert!(
                    expected
                        .memo
                        .as_ref()
                        .is_some_and(|memo| memo.fields.len() == 1)
                );
            }
            for (flags, change) in cases {
                starter.result(&format!("update {flags}")).await?;
                change(expected.schedule.get_or_insert_default())?;
                let actual = starter.describe().await?.into_raw();
                assert_eq!(actual.schedule, expected.schedule, "{flags}");
                assert_eq!(actual.memo, expected.memo, "{flags}");
                assert_eq!(
                    actual.search_attributes, expected.search_attributes,
                    "{flags}"
                );
            }
            starter.result("delete").await?;
        }
        Ok(())
    })
    .await
}

/// `update --arg` accepts schedules as the Temporal CLI, Go, Java and Python create them, and keeps their other
/// fields: timeouts of zero, the default task timeout, an empty header and an empty priority. They were recorded
/// with the CLI 1.9.1 and the SDKs 1.51.0, 1.32.0 and 1.35.0. TypeScript 1.24.0 sends the same as Go, without the
/// timeouts.
#[tokio::test]
async fn updates_the_schedules_of_other_sdks() -> anyhow::Result<()> {
    let seconds = |seconds| Duration::from_secs(seconds).try_into().map(Some);
    let go: fn(&mut NewWorkflowExecutionInfo) = |action| {
        action.workflow_execution_timeout = Some(Default::default());
        action.workflow_run_timeout = Some(Default::default());
        action.workflow_task_timeout = Some(Default::default());
        action.header = Some(Header::default());
    };
    let ten_seconds = seconds(10)?;
    let hour = seconds(3600)?;
    for client in ["cli", "go", "java", "python"] {
        with_schedule(async |starter| {
            starter.result("create").await?;
            let mut theirs = starter.schedule().await?;
            theirs.spec = Some(proto::ScheduleSpec {
                interval: vec![IntervalSpec {
                    interval: hour,
                    phase: (client != "python").then(Default::default),
                }],
                jitter: ["cli", "go"].contains(&client).then(Default::default),
                ..Default::default()
            });
            let action = action_of(&mut theirs)?;
            match client {
                "python" => action.priority = Some(Priority::default()),
                _ => go(action),
            }
            if client == "cli" {
                action.workflow_task_timeout = ten_seconds;
            }
            starter.replace(theirs.clone()).await?;
            assert_eq!(starter.schedule().await?, theirs, "{client}");

            let updated = starter.result("update --arg ours").await?;
            assert_eq!(updated["arguments"], json!(["ours"]));
            let input = action_of(&mut theirs)?
                .input
                .as_mut()
                .context("an argument")?;
            input.payloads[0].data = br#""ours""#.into();
            assert_eq!(starter.schedule().await?, theirs, "{client}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// `update --arg` refuses a schedule that starts another workflow, and leaves it unchanged.
#[tokio::test]
async fn refuses_an_argument_for_another_workflow() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        starter.result(YEARLY).await?;
        let mut schedule = starter.schedule().await?;
        let workflow_type = action_of(&mut schedule)?.workflow_type.as_mut();
        "Other".clone_into(&mut workflow_type.context("a type")?.name);
        starter.replace(schedule).await?;
        let before = starter.schedule().await?;
        let error = starter.error("update --arg x").await?;
        assert_eq!(
            error,
            "cannot update the schedule: it starts Other, not YourSchedulesWorkflow"
        );
        assert_eq!(starter.schedule().await?, before);
        Ok(())
    })
    .await
}

/// Concurrent updates of different fields all take effect, and so does a concurrent pause.
#[tokio::test]
async fn concurrent_updates_lose_nothing() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        starter.result(YEARLY).await?;
        let mut expected = starter.schedule().await?;
        let commands = [
            "update --arg other",
            "update --overlap-policy buffer-one",
            "update --cron '0 0 2 1 *'",
            "pause --note Enough.",
        ];
        let hour = Duration::from_secs(3600).try_into().map(Some)?;
        let changes: [&dyn Fn(&mut Schedule); 3] = [
            &|schedule| {
                let policies = schedule.policies.get_or_insert_default();
                policies.catchup_window = hour;
            },
            &|schedule| schedule.policies.get_or_insert_default().pause_on_failure = true,
            &|schedule| {
                let state = schedule.state.get_or_insert_default();
                (state.limited_actions, state.remaining_actions) = (true, 3);
            },
        ];
        let commands = join_all(commands.map(|line| starter.result(line)));
        let changes = join_all(changes.map(|change| starter.update(change)));
        let (commands, changes) = futures::join!(commands, changes);
        commands.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        changes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;

        let input = action_of(&mut expected)?.input.as_mut();
        let payload = input.and_then(|input| input.payloads.first_mut());
        payload.context("an argument")?.data = br#""other""#.into();
        let policies = expected.policies.get_or_insert_default();
        policies.overlap_policy = Policy::BufferOne.into();
        policies.catchup_window = hour;
        policies.pause_on_failure = true;
        let state = expected.state.get_or_insert_default();
        (state.limited_actions, state.remaining_actions) = (true, 3);
        (state.paused, state.notes) = (true, "Enough.".to_owned());
        let mut actual = starter.schedule().await?;
        let days = |schedule: &mut Schedule| {
            let spec = schedule.spec.take().unwrap_or_default();
            let calendars = spec.structured_calendar.into_iter();
            let days = calendars.flat_map(|calendar| calendar.day_of_month);
            days.map(|range| range.start).collect::<Vec<_>>()
        };
        assert_eq!(days(&mut expected), [1]);
        assert_eq!(days(&mut actual), [2]);
        assert_eq!(actual, expected);
        Ok(())
    })
    .await
}

/// A pause takes effect even if the schedule is triggered many times at the same moment.
#[tokio::test]
async fn pause_survives_concurrent_triggers() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        starter.result(YEARLY).await?;
        for _ in 0..5 {
            let triggers = async {
                loop {
                    let policy = ScheduleOverlapPolicy::Skip;
                    let triggers =
                        (0..4).map(|_| starter.handle.trigger(policy, Default::default()));
                    if let Err(error) = try_join_all(triggers).await {
                        break error;
                    }
                }
            };
            let paused = tokio::select! {
                paused = starter.result("pause") => paused?,
                error = triggers => return Err(error.into()),
            };
            assert_eq!(paused["paused"], true);
            assert!(starter.describe().await?.paused());
            starter.result("unpause").await?;
        }
        Ok(())
    })
    .await
}

/// A codec that inverts every bit, which is enough to see whether a payload was encoded.
struct Invert;

impl PayloadCodec for Invert {
    fn encode(
        &self,
        _context: &SerializationContextData,
        mut payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        for payload in &mut payloads {
            payload.data.iter_mut().for_each(|byte| *byte = !*byte);
        }
        async { Ok(payloads) }.boxed()
    }

    fn decode(
        &self,
        context: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        self.encode(context, payloads)
    }
}

/// With a codec, the argument stays encoded on the server, whether an update replaces it or not.
#[tokio::test]
async fn updates_leave_arguments_encoded() -> anyhow::Result<()> {
    let failures = DefaultFailureConverter::default();
    let converter = DataConverter::new(PayloadConverter::default(), failures, Invert);
    let env = TestEnv::with_data_converter(converter).await?;
    with_schedule_in(env, async |starter| {
        starter
            .create(ScheduleSpec::from_interval(Duration::from_secs(3600)))
            .await?;
        let is_encoded = async |argument: &str| {
            let mut schedule = starter.schedule().await?;
            let input = action_of(&mut schedule)?.input.take().unwrap_or_default();
            let encoded: Vec<_> = format!("\"{argument}\"")
                .bytes()
                .map(|byte| !byte)
                .collect();
            anyhow::Ok(input.payloads.first().map(|payload| &payload.data) == Some(&encoded))
        };
        assert!(is_encoded("my schedule arg").await?);
        let note = |schedule: &mut Schedule| {
            "new".clone_into(&mut schedule.state.get_or_insert_default().notes);
        };
        starter.update(note).await?;
        assert!(is_encoded("my schedule arg").await?);
        set_paused(&starter.env.client, &starter.handle, true, "Enough.").await?;
        assert!(is_encoded("my schedule arg").await?);
        let other: Input<String> = "other".into();
        let other = encode(&starter.env.client, &other).await?;
        update(&starter.env.client, &starter.handle, |schedule| {
            action_of(schedule)?.input = Some(other.clone());
            Ok(())
        })
        .await?;
        assert!(is_encoded("other").await?);
        Ok(())
    })
    .await
}

/// Every command reports a schedule that never existed, or that has been deleted, with its id.
#[tokio::test]
async fn commands_report_a_missing_schedule() -> anyhow::Result<()> {
    with_schedule(async |starter| {
        let commands = [
            "describe",
            "trigger",
            NEW_YEAR,
            "pause",
            "unpause",
            "update --note x",
            "delete",
        ];
        let expected = format!(
            "there is no schedule `{}`; `list` shows all schedules",
            starter.handle.schedule_id()
        );
        for command in commands {
            assert_eq!(starter.error(command).await?, expected, "{command}");
        }
        starter.result("create").await?;
        starter.result("delete").await?;
        for command in commands {
            assert_eq!(starter.error(command).await?, expected, "{command}");
        }
        let error = starter.error("describe --namespace nope").await?;
        assert_eq!(error, "Server error: Namespace nope is not found.");
        Ok(())
    })
    .await
}

/// The error for a bad flag names the flag, and no schedule is created.
#[tokio::test]
async fn refuses_bad_flags() -> anyhow::Result<()> {
    let spec = "Server error: Invalid schedule spec";
    let interval = "for '--interval <DURATION[/OFFSET]>'";
    let cron = "for '--cron <CRON>'";
    let cases = [
        (
            "create --cron 'every tuesday'",
            format!("cannot create the schedule with --cron: {spec}: CronString does not have 5-7 fields"),
        ),
        (
            "create --cron '61 * * * *'",
            format!("cannot create the schedule with --cron: {spec}: Minute is not in range [0-59]"),
        ),
        (
            "create --cron '0 9 * * *' --time-zone Europe/Atlantis",
            format!("cannot create the schedule with --cron, --time-zone: {spec}: unknown time zone Europe/Atlantis"),
        ),
        (
            "create --interval 0s",
            format!("cannot create the schedule with --interval: {spec}: interval is too small"),
        ),
        ("create --interval 5x", format!("invalid value '5x' {interval}: unknown time unit \"x\"")),
        ("create --interval 1500ms", format!("invalid value '1500ms' {interval}: use whole seconds")),
        ("create --cron '@every 5m'", format!("invalid value '@every 5m' {cron}: use --interval for this")),
        ("update --cron 'TZ=UTC 0 9 * * *'", format!("invalid value 'TZ=UTC 0 9 * * *' {cron}: use --time-zone for the time zone")),
        (
            "create --cron '0 9 * * MON#1'",
            format!("invalid value '0 9 * * MON#1' {cron}: the server would read `#1` as a comment; give the days by number or name"),
        ),
        (
            "create --jitter some",
            "invalid value 'some' for '--jitter <DURATION>': expected number at 0".to_owned(),
        ),
        (
            "create --overlap-policy sometimes",
            "invalid value 'sometimes' for '--overlap-policy <POLICY>' [possible values: skip, buffer-one, \
             buffer-all, cancel-other, terminate-other, allow-all]"
                .to_owned(),
        ),
        (
            "backfill --start-time 2026-11-20T09:00:00Z --end-time 2026-11-20T08:00:00Z",
            "--end-time is before --start-time".to_owned(),
        ),
        (
            "backfill --start-time 2026-11-20T09:00:00Z --end-time 2226-11-20T08:00:00Z",
            "--end-time is in the future".to_owned(),
        ),
        (
            "backfill --start-time yesterday --end-time 2026-11-20T08:00:00Z",
            "invalid value 'yesterday' for '--start-time <TIME>': the format is 2026-11-24T09:00:00Z".to_owned(),
        ),
        (
            "backfill --start-time 2026-11-20T09:00:00Z",
            "the following required arguments were not provided: --end-time <TIME>".to_owned(),
        ),
        ("update", "nothing to update; `update --help` lists what can be updated".to_owned()),
        (
            "describe --schedule-id ''",
            "a value is required for '--schedule-id <ID>' but none was supplied".to_owned(),
        ),
        (
            "create --workflow-id ''",
            "--workflow-id is empty: leave it out, or give it a value".to_owned(),
        ),
        (
            "create --cron '0 9 * * *' --time-zone ''",
            "a value is required for '--time-zone <IANA NAME>' but none was supplied".to_owned(),
        ),
        ("explode", "unrecognized subcommand 'explode'".to_owned()),
    ];
    with_schedule(async |starter| {
        for (line, expected) in &cases {
            let error = starter.error(line).await?;
            assert!(error.starts_with(expected), "{line}: {error}");
        }
        assert!(starter.is_gone().await?);
        Ok(())
    })
    .await
}
