//! The workflow. It sleeps most of the time.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{EmailActivities, SendEmailInput};
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, wait_up_to};
use std::{num::NonZeroU32, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, SyncWorkflowContext, WorkflowContext, WorkflowResult};

/// Time limit for one attempt to send an e-mail.
const EMAIL_LIMIT: Duration = Duration::from_secs(10);

/// Length of a day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The optional argument: `{"seconds":1}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct SleepOptions {
    /// Seconds from one e-mail to the next, instead of 30 days.
    pub seconds: NonZeroU32,
}

/// Sends an e-mail every 30 days, until it is completed.
#[workflow]
#[derive(Default)]
pub struct SleepForDaysWorkflow {
    /// Not set by `run`, because the signal can arrive before the first line of `run`.
    complete: bool,
}

#[workflow_methods]
impl SleepForDaysWorkflow {
    /// Returns `done!` after the signal `complete`.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        options: Input<Option<SleepOptions>>,
    ) -> WorkflowResult<String> {
        let options = options.decode(ctx)?;
        let (interval, name) = match options {
            None => (30 * DAY, "30 days".to_owned()),
            Some(SleepOptions { seconds }) => (
                Duration::from_secs(seconds.get().into()),
                format!("{seconds} seconds"),
            ),
        };
        while !ctx.state(|workflow| workflow.complete) {
            let email_msg = format!("{name} until the next email");
            let activity = ActivityOptions::start_to_close_timeout(EMAIL_LIMIT);
            let input = SendEmailInput { email_msg };
            ctx.execute_activity(EmailActivities::send_email, input, activity)
                .await
                .or_cancelled(ctx)?;
            // A timer on the server. Until it fires, no worker has anything to do.
            let complete = wait_up_to(ctx, interval, |workflow| workflow.complete).await?;
            // Only after a wait that was neither completed nor cancelled, because the next run would not know that.
            if !complete && ctx.continue_as_new_suggested() {
                ctx.continue_as_new(options.into(), Default::default())?;
            }
        }
        Ok("done!".to_owned())
    }

    /// Ends the workflow, also in the middle of the interval.
    #[signal(name = "complete")]
    pub fn complete(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.complete = true;
    }
}
