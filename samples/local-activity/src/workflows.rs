//! The workflows: one with two local activities, one with two regular ones, and one with retries.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{ComposeGreetingInput, GreetingActivities};
use shared::{Input, OrCancelled};
use std::time::Duration;
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, LocalActivityOptions, WorkflowContext, WorkflowResult};

/// Result of the workflows if the greeting is blank.
const INVALID: &str = "Invalid result";

/// Composes a greeting and validates it with two local activities.
#[workflow]
#[derive(Default)]
pub struct LocalActivityWorkflow;

#[workflow_methods]
impl LocalActivityWorkflow {
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
        // Seven attempts and the waits between them (1 s, 2 s, … 32 s) end before the 100 s that the SDK
        // gives a local activity. If the time ran out first, the failure of the last attempt would be lost.
        let retry_policy = RetryPolicy::builder().maximum_attempts(7).build();
        // Without a timeout, an attempt may take 100 s, far longer than a workflow task (10 s). The worker
        // would keep the task open, and the workflow would receive no signal during that time.
        let options = LocalActivityOptions::builder()
            .start_to_close_timeout(Duration::from_secs(2))
            .retry_policy(retry_policy)
            // A timer of the workflow waits before every retry. By default, the worker itself waits up to
            // 60 s, and then the timeout of a failed attempt could cancel the next one.
            .timer_backoff_threshold(Duration::ZERO)
            .build();
        let greeting = ctx
            .execute_local_activity(GreetingActivities::compose_greeting, input, options.clone())
            .await
            .or_cancelled(ctx)?;
        let valid = ctx
            .execute_local_activity(
                GreetingActivities::validate_input,
                greeting.clone(),
                options,
            )
            .await
            .or_cancelled(ctx)?;
        Ok(if valid { greeting } else { INVALID.to_owned() })
    }
}

/// Does the same with regular activities, for comparison.
#[workflow]
#[derive(Default)]
pub struct RegularActivityWorkflow;

#[workflow_methods]
impl RegularActivityWorkflow {
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
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(2));
        let greeting = ctx
            .execute_activity(GreetingActivities::compose_greeting, input, options.clone())
            .await
            .or_cancelled(ctx)?;
        let valid = ctx
            .execute_activity(
                GreetingActivities::validate_input,
                greeting.clone(),
                options,
            )
            .await
            .or_cancelled(ctx)?;
        Ok(if valid { greeting } else { INVALID.to_owned() })
    }
}

/// Runs a local activity that fails its first attempts, with a longer wait after each of them.
#[workflow]
#[derive(Default)]
pub struct LocalRetryWorkflow;

#[workflow_methods]
impl LocalRetryWorkflow {
    /// Returns the number of the attempt that succeeded, or fails with the failure of the last attempt.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, failures: Input<u32>) -> WorkflowResult<u32> {
        let failures = failures.decode(ctx)?;
        // The waits are 0.3 s, 0.6 s, 1.2 s and 2.4 s. The first is below the threshold, so the worker
        // waits inside the workflow task, and the history does not show it. Before the later attempts, a
        // timer of the workflow waits, and a worker that dies during such a wait loses nothing.
        let retry_policy = RetryPolicy::builder()
            .initial_interval(Duration::from_millis(300))
            // Five attempts of at most 2 s and their waits end long before the timeout. If the time ran
            // out first, the workflow would fail with a timeout, without the activity's own failure.
            .maximum_attempts(5)
            .build();
        // No `start_to_close_timeout`, because after a wait inside the worker it could cancel a later
        // attempt. The activity itself limits its attempts.
        let options = LocalActivityOptions::builder()
            .schedule_to_close_timeout(Duration::from_secs(60))
            .retry_policy(retry_policy)
            .timer_backoff_threshold(Duration::from_millis(500))
            .build();
        ctx.execute_local_activity(GreetingActivities::fail_at_first, failures, options)
            .await
            .or_cancelled(ctx)
    }
}
