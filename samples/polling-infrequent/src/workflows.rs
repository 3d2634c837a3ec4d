//! The workflow. It runs one activity, whose attempts are the polls.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{ComposeGreetingInput, GreetingActivities};
use serde::{Deserialize, Serialize};
use shared::{Inputs, OrCancelled};
use std::{num::NonZeroU32, time::Duration};
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

/// Default time between two polls.
pub const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The optional second argument: `{"poll_interval_seconds":10}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct PollOptions {
    /// Seconds between two polls. Must not be 0.
    pub poll_interval_seconds: NonZeroU32,
}

/// Gets a greeting from a service that needs some time for it.
#[workflow]
#[derive(Default)]
pub struct GreetingWorkflow;

#[workflow_methods]
impl GreetingWorkflow {
    /// Returns the greeting.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        arguments: Inputs<String, PollOptions>,
    ) -> WorkflowResult<String> {
        let (name, options) = arguments.decode(ctx)?;
        let interval = options.map_or(POLL_INTERVAL, |options| {
            Duration::from_secs(options.poll_interval_seconds.get().into())
        });
        // The wait is always the same, while by default it doubles. The number of attempts has no limit, as by
        // default.
        let retry_policy = RetryPolicy::builder()
            .initial_interval(interval)
            .backoff_coefficient(1.0)
            .build();
        // One attempt is one request. It is too short for a heartbeat, and between the attempts no worker runs
        // whose death the server would have to notice.
        let activity = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(2))
            .retry_policy(retry_policy)
            .build();
        let input = ComposeGreetingInput {
            greeting: "Hello".to_owned(),
            name,
        };
        ctx.execute_activity(GreetingActivities::compose_greeting, input, activity)
            .await
            .or_cancelled(ctx)
    }
}
