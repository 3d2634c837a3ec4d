//! The starter's flags, mostly by the names that the Temporal CLI gives them.

use anyhow::{Context, bail, ensure};
use clap::builder::NonEmptyStringValueParser;
use std::time::{Duration, SystemTime};
use temporalio_client::schedules::{
    ScheduleCalendarSpec, ScheduleIntervalSpec, ScheduleOverlapPolicy, ScheduleSpec,
};
use temporalio_common::protos::temporal::api::schedule::v1 as proto;

/// How many bytes of a comment the server takes.
const MAX_COMMENT: usize = 200;

/// How often, unless something else is asked for.
pub const EVERY: Duration = Duration::from_secs(120);

/// The flags of `create`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CreateArgs {
    /// What the workflow is given [default: my schedule arg]
    #[arg(long, value_name = "TEXT")]
    pub arg: Option<String>,

    /// A note for whoever looks at it [default: Here's a note on my Schedule.]
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,

    /// If the workflow before still runs [default: skip]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub overlap_policy: Option<OverlapPolicy>,

    /// It acts only when told to, until `unpause`
    #[arg(long)]
    pub paused: bool,

    /// When.
    #[command(flatten)]
    pub spec: SpecArgs,
}

/// The flags of `backfill`.
#[derive(Clone, Debug, clap::Args)]
pub struct BackfillArgs {
    /// From when, as 2026-11-24T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub start_time: SystemTime,

    /// Until when
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub end_time: SystemTime,

    /// If the workflow before still runs; all come due at once, so `skip` would start but the first
    #[arg(long, value_enum, value_name = "POLICY", default_value = "allow-all")]
    pub overlap_policy: OverlapPolicy,
}

/// The flags of `update`. What `create` lacks of them, the SDK cannot set when it creates a schedule.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct UpdateArgs {
    /// What the workflow is given
    #[arg(long, value_name = "TEXT")]
    pub arg: Option<String>,

    /// A note for whoever looks at it
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,

    /// If the workflow before still runs
    #[arg(long, value_enum, value_name = "POLICY")]
    pub overlap_policy: Option<OverlapPolicy>,

    /// How late it may still act after the server was down; below 10s counts as 10s
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub catchup_window: Option<Duration>,

    /// Whether it pauses when a workflow fails
    #[arg(long, value_name = "BOOL")]
    pub pause_on_failure: Option<bool>,

    /// How many times more it acts by itself
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub remaining_actions: Option<i64>,

    /// When.
    #[command(flatten)]
    pub spec: SpecArgs,
}

/// When a schedule acts: at all times that any of `--interval`, `--calendar` and `--cron` describe,
/// less the excluded ones.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Times")]
pub struct SpecArgs {
    /// Every so often, counted from 1970, not from now; repeat it [default: 2m]
    #[arg(long, value_name = "DURATION[/OFFSET]", value_parser = parse_interval)]
    interval: Vec<ScheduleIntervalSpec>,

    /// At clock times, as 'hour=9 minute=0-30/10 day_of_week=MON-FRI'; repeat it
    #[arg(long, value_name = "FIELD=RANGE …", value_parser = parse_calendar)]
    calendar: Vec<ScheduleCalendarSpec>,

    /// Never at these clock times; repeat it
    #[arg(long, value_name = "FIELD=RANGE …", value_parser = parse_calendar)]
    exclude_calendar: Vec<ScheduleCalendarSpec>,

    /// As cron says it, as '0 9 * * MON-FRI'; repeat it
    #[arg(long, value_name = "CRON", value_parser = parse_cron)]
    cron: Vec<String>,

    /// Whose clock calendars and cron strings mean, as Europe/Paris [default: UTC]
    #[arg(long, value_name = "IANA NAME", value_parser = NonEmptyStringValueParser::new())]
    time_zone: Option<String>,

    /// Each time later by a random part of this
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    jitter: Option<Duration>,
}

impl SpecArgs {
    /// The flags that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("--interval", !self.interval.is_empty()),
            ("--calendar", !self.calendar.is_empty()),
            ("--exclude-calendar", !self.exclude_calendar.is_empty()),
            ("--cron", !self.cron.is_empty()),
            ("--time-zone", self.time_zone.is_some()),
            ("--jitter", self.jitter.is_some()),
        ];
        flags
            .into_iter()
            .filter_map(|(name, given)| given.then_some(name))
            .collect()
    }

    /// Whether there are times at all.
    fn has_times(&self) -> bool {
        !(self.interval.is_empty() && self.calendar.is_empty() && self.cron.is_empty())
    }

    /// Changes what was given in a schedule's times, and leaves the rest.
    ///
    /// The server turns cron strings into calendars and intervals. It cannot be told which was which,
    /// so one of these three replaces all of them.
    ///
    /// # Errors
    /// If the jitter is longer than the protocol can say.
    #[allow(deprecated, reason = "the only field for exclusions as text")]
    pub fn set(&self, spec: &mut proto::ScheduleSpec) -> anyhow::Result<()> {
        if self.has_times() {
            spec.interval = self.interval.iter().cloned().map(Into::into).collect();
            spec.calendar = self.calendar.iter().cloned().map(Into::into).collect();
            spec.cron_string.clone_from(&self.cron);
            spec.structured_calendar.clear();
        }
        if !self.exclude_calendar.is_empty() {
            let excluded = self.exclude_calendar.iter().cloned();
            spec.exclude_calendar = excluded.map(Into::into).collect();
            spec.exclude_structured_calendar.clear();
        }
        if let Some(name) = &self.time_zone {
            spec.timezone_name.clone_from(name);
            // A definition of another client's would take precedence over the name.
            spec.timezone_data.clear();
        }
        if let Some(jitter) = self.jitter {
            spec.jitter = Some(jitter.try_into().context("--jitter is too long")?);
        }
        Ok(())
    }

    /// For the SDK; every two minutes if there are no times.
    pub fn into_spec(self) -> ScheduleSpec {
        let has_times = self.has_times();
        let mut spec = ScheduleSpec::builder()
            .intervals(self.interval)
            .calendars(self.calendar)
            .exclude_calendars(self.exclude_calendar)
            .cron_strings(self.cron)
            .timezone_name(self.time_zone.unwrap_or_default())
            .maybe_jitter(self.jitter)
            .build();
        if !has_times {
            spec.intervals = vec![EVERY.into()];
        }
        spec
    }
}

/// What happens when an action is due while the workflow of the one before still runs.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub enum OverlapPolicy {
    // The numbers are the protocol's.
    /// It does not happen
    Skip = 1,
    /// It happens when the other ends; a further one does not
    BufferOne,
    /// It happens when the other ends, and so do all further ones, one after the other
    BufferAll,
    /// The other is cancelled; it happens when that has ended
    CancelOther,
    /// The other is terminated
    TerminateOther,
    /// It happens at once, beside the other
    AllowAll,
}

impl From<OverlapPolicy> for ScheduleOverlapPolicy {
    fn from(policy: OverlapPolicy) -> Self {
        match policy {
            OverlapPolicy::Skip => Self::Skip,
            OverlapPolicy::BufferOne => Self::BufferOne,
            OverlapPolicy::BufferAll => Self::BufferAll,
            OverlapPolicy::CancelOther => Self::CancelOther,
            OverlapPolicy::TerminateOther => Self::TerminateOther,
            OverlapPolicy::AllowAll => Self::AllowAll,
        }
    }
}

fn parse_time(text: &str) -> anyhow::Result<SystemTime> {
    humantime::parse_rfc3339(text).map_err(|_| anyhow::anyhow!("write it as 2026-11-24T09:00:00Z"))
}

fn parse_interval(text: &str) -> anyhow::Result<ScheduleIntervalSpec> {
    let parse = |text: &str| -> anyhow::Result<Duration> {
        let duration = humantime::parse_duration(text)?;
        // The server would cut the rest off, in silence.
        ensure!(duration.subsec_nanos() == 0, "whole seconds, please");
        Ok(duration)
    };
    let (every, offset) = match text.split_once('/') {
        Some((every, offset)) => (every, Some(parse(offset)?)),
        None => (text, None),
    };
    Ok(ScheduleIntervalSpec::new(parse(every)?, offset))
}

/// Whether two schedules have the same times.
///
/// The server compiles calendars and cron strings, so those that it returns do not look like those
/// that were sent. It keeps their comments, where the flags leave a copy of the text.
#[allow(deprecated, reason = "see `SpecArgs::set`")]
pub fn same_times(mut one: proto::ScheduleSpec, mut other: proto::ScheduleSpec) -> bool {
    let take_texts = |spec: &mut proto::ScheduleSpec| {
        let crons = spec.cron_string.drain(..).map(|cron| {
            let comment = cron.split_once('#').map(|(_, comment)| comment.trim());
            comment.unwrap_or_default().to_owned()
        });
        let compiled = spec.structured_calendar.drain(..).map(|c| c.comment);
        let calendars = spec.calendar.drain(..).map(|c| c.comment);
        let included: Vec<_> = compiled.chain(calendars).chain(crons).collect();
        let compiled = spec.exclude_structured_calendar.drain(..);
        let compiled = compiled.map(|c| c.comment);
        let calendars = spec.exclude_calendar.drain(..).map(|c| c.comment);
        let excluded: Vec<_> = compiled.chain(calendars).collect();
        (included, excluded)
    };
    take_texts(&mut one) == take_texts(&mut other) && one == other
}

/// Cuts off what the server would not take as a comment.
fn comment(text: &str) -> String {
    let text = text.trim();
    text[..text.floor_char_boundary(MAX_COMMENT)].to_owned()
}

/// The fields go to the server as they are, and their text once more as the comment.
fn parse_cron(text: &str) -> anyhow::Result<String> {
    ensure!(
        !text.trim_start().starts_with("@every"),
        "write it as --interval"
    );
    let (fields, _) = text.split_once('#').unwrap_or((text, ""));
    ensure!(
        fields.len() == text.len() || fields.ends_with(char::is_whitespace),
        "the server would take `{}` for a comment; give the days by number or name",
        &text[fields.len()..]
    );
    Ok(format!("{fields} #{}", comment(text)))
}

/// Ranges go to the server as they are: it knows `MON-FRI`, `1,15`, `0-30/10` and `*`.
fn parse_calendar(text: &str) -> anyhow::Result<ScheduleCalendarSpec> {
    ensure!(!text.trim().is_empty(), "write it as 'hour=9 minute=30'");
    let mut calendar = ScheduleCalendarSpec::default();
    calendar.comment = comment(text);
    for part in text.split_whitespace() {
        let (field, range) = part
            .split_once('=')
            .with_context(|| format!("`{part}` has no `=`; write it as hour=9"))?;
        let slot = match field {
            "second" => &mut calendar.second,
            "minute" => &mut calendar.minute,
            "hour" => &mut calendar.hour,
            "day_of_month" => &mut calendar.day_of_month,
            "month" => &mut calendar.month,
            "day_of_week" => &mut calendar.day_of_week,
            "year" => &mut calendar.year,
            _ => bail!(
                "there is no field `{field}`; there are second, minute, hour, day_of_month, month, day_of_week, year"
            ),
        };
        ensure!(slot.is_empty(), "`{field}` is there twice");
        *slot = range.to_owned();
    }
    Ok(calendar)
}
