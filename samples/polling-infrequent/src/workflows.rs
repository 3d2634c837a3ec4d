//! The workflow: one activity, whose retries are the polls.

use crate::activities::{ComposeGreetingInput, GreetingActivities};
use serde::{Deserialize, Serialize};
use shared::{Inputs, OrCancelled};
use std::{num::NonZeroU32, time::Duration};
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

/// How long the server waits between two polls, unless it is told otherwise.
pub const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The second argument, which may be left out: `{"poll_interval_seconds":10}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct PollOptions {
    /// Seconds between two polls; not 0.
    pub poll_interval_seconds: NonZeroU32,
}

/// Has a greeting composed by a service that takes its time.
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
        // The same wait every time, where the default doubles it; and as many attempts as it
        // takes, which is the default.
        let retry_policy = RetryPolicy::builder()
            .initial_interval(interval)
            .backoff_coefficient(1.0)
            .build();
        // One attempt is one request. No heartbeat: there is no time for one, and between the
        // attempts nobody works whom the server could miss.
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
