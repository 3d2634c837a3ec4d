//! The workflow. It runs one activity, which does all the polling.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{ComposeGreetingInput, GreetingActivities};
use shared::{Input, OrCancelled};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityCancellationType, ActivityOptions, WorkflowContext, WorkflowResult};

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
        name: Input<String>,
    ) -> WorkflowResult<String> {
        let input = ComposeGreetingInput {
            greeting: "Hello".to_owned(),
            name: name.decode(ctx)?,
        };
        // Limits the polling of one attempt, after which the server starts another. To limit all attempts together,
        // use a `schedule_to_close_timeout`.
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(60))
            // Without this, the server would notice a dead worker only after the sixty seconds, and the activity
            // would never learn about a cancellation.
            .heartbeat_timeout(Duration::from_secs(2))
            // By default the workflow would end while its activity still polls.
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .build();
        ctx.execute_activity(GreetingActivities::compose_greeting, input, options)
            .await
            // An activity that is being cancelled has no further attempt, so it fails if its worker dies at that
            // moment. With `?` alone the workflow would end FAILED, although it was cancelled.
            .or_cancelled(ctx)
    }
}
