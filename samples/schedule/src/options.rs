//! The starter's flags, most of them named as in the Temporal CLI, and their conversion to the SDK's types.

use crate::{starts::wire, workflows::YourSchedulesWorkflow};
use anyhow::{Context, bail, ensure};
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use std::time::{Duration, SystemTime};
use temporalio_client::schedules::{
    CreateScheduleOptions, ScheduleAction, ScheduleIntervalSpec, ScheduleOverlapPolicy,
    ScheduleSpec,
};
use temporalio_common::{
    WorkflowDefinition,
    protos::temporal::api::{
        common::v1::Payloads,
        schedule::v1::{Schedule, schedule_action::Action},
    },
};

/// Default time between two starts.
pub const EVERY: Duration = Duration::from_secs(120);

/// The flags of `create` and `update`. `update` changes only what its flags name.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct Options {
    /// Argument of the workflow [default: my schedule arg]
    #[arg(long, value_name = "TEXT")]
    pub arg: Option<String>,

    /// Note for other people [default: Here's a note on my Schedule.]
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,

    /// What to do if the previous workflow is still running [default: skip]
    #[arg(long, value_name = "POLICY", value_parser = overlap_policy())]
    pub overlap_policy: Option<ScheduleOverlapPolicy>,

    /// Time between two starts, counted from 1970 and not from now; may be repeated [default: 2m]
    #[arg(long, value_name = "DURATION[/OFFSET]", value_parser = parse_interval)]
    pub interval: Vec<ScheduleIntervalSpec>,

    /// Clock times as a cron string, such as '0 9 * * MON-FRI'; may be repeated
    #[arg(long, value_name = "CRON", value_parser = parse_cron)]
    pub cron: Vec<String>,

    /// Time zone of the cron strings, such as Europe/Paris [default: UTC]
    #[arg(long, value_name = "IANA NAME", value_parser = NonEmptyStringValueParser::new())]
    pub time_zone: Option<String>,

    /// Longest random delay of a start
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub jitter: Option<Duration>,
}

impl Options {
    /// Returns the SDK's options for a schedule that starts [`YourSchedulesWorkflow`]. The ids of the
    /// workflows begin with `workflow_id`.
    pub fn create(self, task_queue: &str, workflow_id: &str) -> CreateScheduleOptions {
        let arg = self.arg.unwrap_or_else(|| "my schedule arg".to_owned());
        let note = "Here's a note on my Schedule.";
        let intervals = match self.interval.is_empty() && self.cron.is_empty() {
            true => vec![EVERY.into()],
            false => self.interval,
        };
        let spec = ScheduleSpec::builder()
            .intervals(intervals)
            .cron_strings(self.cron)
            .timezone_name(self.time_zone.unwrap_or_default())
            .maybe_jitter(self.jitter);
        // The SDK's action has no timeout, no retry policy and no memo.
        let run = YourSchedulesWorkflow::run;
        let action = ScheduleAction::start_workflow(run, arg.into(), task_queue, workflow_id);
        CreateScheduleOptions::builder()
            .action(action)
            .spec(spec.build())
            .overlap_policy(self.overlap_policy.unwrap_or_default())
            .note(self.note.unwrap_or_else(|| note.to_owned()))
            .build()
    }

    /// Changes what the flags name. `input` is the encoded argument.
    ///
    /// The server turns cron strings into calendars and intervals and does not say which came from where,
    /// so a new interval or cron string replaces all intervals, calendars and cron strings.
    ///
    /// # Errors
    /// If there is an argument, but the schedule starts a workflow other than [`YourSchedulesWorkflow`].
    pub fn update(&self, schedule: &mut Schedule, input: Option<&Payloads>) -> anyhow::Result<()> {
        if input.is_some() {
            let action = schedule.action.as_mut().and_then(|it| it.action.as_mut());
            let Some(Action::StartWorkflow(action)) = action else {
                bail!("it does not start a workflow");
            };
            let theirs = action.workflow_type.as_ref().map_or("", |it| &it.name);
            let ours = YourSchedulesWorkflow::run.name();
            ensure!(theirs == ours, "it starts {theirs}, not {ours}");
            action.input = input.cloned();
        }
        if let Some(note) = &self.note {
            let state = schedule.state.get_or_insert_default();
            state.notes.clone_from(note);
        }
        if let Some(policy) = self.overlap_policy {
            let policies = schedule.policies.get_or_insert_default();
            policies.overlap_policy = wire(policy).into();
        }
        let spec = schedule.spec.get_or_insert_default();
        if !(self.interval.is_empty() && self.cron.is_empty()) {
            spec.interval = self.interval.iter().cloned().map(Into::into).collect();
            spec.cron_string.clone_from(&self.cron);
            spec.structured_calendar.clear();
        }
        if let Some(name) = &self.time_zone {
            spec.timezone_name.clone_from(name);
            // A definition from another client would take precedence over the name.
            spec.timezone_data.clear();
        }
        if let Some(jitter) = self.jitter {
            spec.jitter = Some(jitter.try_into().context("--jitter is too long")?);
        }
        Ok(())
    }

    /// Returns the names of the given flags that the server may reject, for errors, or an empty text.
    pub fn times(&self) -> String {
        let flags = [
            ("--interval", !self.interval.is_empty()),
            ("--cron", !self.cron.is_empty()),
            ("--time-zone", self.time_zone.is_some()),
            ("--jitter", self.jitter.is_some()),
        ];
        let given = flags.into_iter().filter(|(_, given)| *given);
        let given: Vec<_> = given.map(|(name, _)| name).collect();
        match given[..] {
            [] => String::new(),
            _ => format!(" with {}", given.join(", ")),
        }
    }
}

/// The flags of `backfill`.
#[derive(Clone, Debug, clap::Args)]
pub struct Range {
    /// Start of the range, such as 2026-11-24T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub start_time: SystemTime,

    /// End of the range
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub end_time: SystemTime,

    /// What to do if a workflow is still running; all times come due at once, so `skip` starts only one
    #[arg(long, value_name = "POLICY", value_parser = overlap_policy(), default_value = "allow-all")]
    pub overlap_policy: ScheduleOverlapPolicy,
}

/// Returns a parser of overlap policies.
pub fn overlap_policy() -> impl TypedValueParser<Value = ScheduleOverlapPolicy> {
    let policies = [
        ("skip", ScheduleOverlapPolicy::Skip),
        ("buffer-one", ScheduleOverlapPolicy::BufferOne),
        ("buffer-all", ScheduleOverlapPolicy::BufferAll),
        ("cancel-other", ScheduleOverlapPolicy::CancelOther),
        ("terminate-other", ScheduleOverlapPolicy::TerminateOther),
        ("allow-all", ScheduleOverlapPolicy::AllowAll),
    ];
    PossibleValuesParser::new(policies.map(|(name, _)| name)).map(move |text| {
        let policy = policies.into_iter().find(|(name, _)| *name == text);
        policy.map(|(_, policy)| policy).unwrap_or_default()
    })
}

fn parse_time(text: &str) -> anyhow::Result<SystemTime> {
    humantime::parse_rfc3339(text)
        .map_err(|_| anyhow::anyhow!("the format is 2026-11-24T09:00:00Z"))
}

fn parse_interval(text: &str) -> anyhow::Result<ScheduleIntervalSpec> {
    let parse = |text: &str| -> anyhow::Result<Duration> {
        let duration = humantime::parse_duration(text)?;
        // The server would silently drop the fraction.
        ensure!(duration.subsec_nanos() == 0, "use whole seconds");
        Ok(duration)
    };
    let (every, offset) = match text.split_once('/') {
        Some((every, offset)) => (every, Some(parse(offset)?)),
        None => (text, None),
    };
    Ok(ScheduleIntervalSpec::new(parse(every)?, offset))
}

/// Refuses a text that the server would not read as a cron string alone.
fn parse_cron(text: &str) -> anyhow::Result<String> {
    let word = text.split_whitespace().next().unwrap_or_default();
    ensure!(word != "@every", "use --interval for this");
    ensure!(!word.contains("TZ="), "use --time-zone for the time zone");
    if let Some((fields, comment)) = text.split_once('#') {
        ensure!(
            fields.ends_with(char::is_whitespace),
            "the server would read `#{comment}` as a comment; give the days by number or name"
        );
    }
    Ok(text.to_owned())
}
