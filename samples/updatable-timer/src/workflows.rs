//! The workflow. It waits until a point in time, which signals can change.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use shared::{Input, wait_up_to};
use std::{
    ops::RangeInclusive,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult};

/// The years 1 to 9999, in seconds since 1970.
const YEARS: RangeInclusive<f64> = -62_135_596_800.0..=253_402_300_799.0;

/// A point in time. On the wire: seconds since 1970 with fractions, such as `1764000000.25`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub struct WakeUpTime(f64);

// By hand, because the error for a bare number would name no field.
impl<'de> Deserialize<'de> for WakeUpTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refuse = |reason: String| D::Error::custom(format_args!("wake_up_time: {reason}"));
        let seconds = f64::deserialize(deserializer).map_err(|error| refuse(error.to_string()))?;
        match YEARS.contains(&seconds) {
            true => Ok(Self(seconds)),
            false => Err(refuse(format!(
                "{seconds:?} is not in the years 1 to 9999; send seconds since 1970, not milliseconds"
            ))),
        }
    }
}

impl From<SystemTime> for WakeUpTime {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH);
        Self(since.unwrap_or_default().as_secs_f64())
    }
}

impl WakeUpTime {
    /// Returns how long it is from `now` to this time, or `None` if this time has come.
    pub fn rest(self, now: SystemTime) -> Option<Duration> {
        // A time before 1970 is negative, and as good as 1970: both have come.
        let since = Duration::try_from_secs_f64(self.0).unwrap_or_default();
        let rest = UNIX_EPOCH.checked_add(since)?.duration_since(now).ok();
        rest.filter(|rest| !rest.is_zero())
    }
}

/// Waits until the wake-up time has come.
#[workflow]
#[derive(Default)]
pub struct UpdatableTimerWorkflow {
    /// `None` until `run` has begun or a signal has arrived, whichever comes first.
    wake_up_time: Option<WakeUpTime>,
}

#[workflow_methods]
impl UpdatableTimerWorkflow {
    /// Returns nothing when the wake-up time has come.
    #[run(name = "Workflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        wake_up_time: Input<WakeUpTime>,
    ) -> WorkflowResult<()> {
        let first = wake_up_time.decode(ctx)?;
        loop {
            // A signal that has arrived before the first line of `run` counts.
            let current = ctx.state_mut(|timer| *timer.wake_up_time.get_or_insert(first));
            // The time of the workflow, which is the same on every replay.
            let now = ctx.workflow_time().unwrap_or(UNIX_EPOCH);
            let Some(rest) = current.rest(now) else {
                return Ok(());
            };
            // The next run would not know that this one has been cancelled. Nothing else gets lost: all signals so far
            // are in `current`.
            if ctx.continue_as_new_suggested() && !ctx.cancellation_token().is_cancelled() {
                ctx.continue_as_new(current.into(), Default::default())?;
            }
            // Ends at the time, or earlier if the time changes. Then the loop looks again how long it is.
            wait_up_to(ctx, rest, |timer| timer.wake_up_time != Some(current)).await?;
        }
    }

    /// Changes the wake-up time. A time in the past wakes the workflow at once.
    #[signal(name = "update_wake_up_time")]
    pub fn update_wake_up_time(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        wake_up_time: Input<WakeUpTime>,
    ) {
        if let Some(wake_up_time) = wake_up_time.or_ignored(ctx, "update_wake_up_time") {
            self.wake_up_time = Some(wake_up_time);
        }
    }

    /// Returns the wake-up time, also after the end. There is none only if the workflow has failed because of its input.
    #[query(name = "get_wake_up_time")]
    pub fn get_wake_up_time(
        &self,
        _ctx: &WorkflowContextView,
        _nothing: Input<()>,
    ) -> Option<WakeUpTime> {
        self.wake_up_time
    }
}
