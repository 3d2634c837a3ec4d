//! The workflow: one activity, which does all the polling.

use crate::activities::{ComposeGreetingInput, GreetingActivities};
use shared::{Input, OrCancelled};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityCancellationType, ActivityOptions, WorkflowContext, WorkflowResult};

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
        name: Input<String>,
    ) -> WorkflowResult<String> {
        let input = ComposeGreetingInput {
            greeting: "Hello".to_owned(),
            name: name.decode(ctx)?,
        };
        // All the polling of one attempt; then the server begins another. It is no limit on the
        // whole: that would be a `schedule_to_close_timeout`.
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(60))
            // Without it a dead worker would be noticed after the sixty seconds, and a
            // cancellation not heard.
            .heartbeat_timeout(Duration::from_secs(2))
            // By default the workflow would be gone while its activity still polls.
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .build();
        ctx.execute_activity(GreetingActivities::compose_greeting, input, options)
            .await
            // An activity that is being cancelled has no further attempt, so it fails if its worker dies
            // just then. With `?` alone the workflow would end FAILED, although it was cancelled.
            .or_cancelled(ctx)
    }
}
