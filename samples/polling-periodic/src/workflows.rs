//! The workflows. One needs a result, and its child polls for it with a timer.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{ComposeGreetingInput, GreetingActivities};
use serde::{Deserialize, Serialize};
use shared::{Input, Inputs, Json, OrCancelled, child_id, child_result, sleep};
use std::{num::NonZeroU32, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ChildWorkflowOptions, WorkflowCancellationToken, WorkflowContext,
    WorkflowResult, WorkflowTermination,
};

/// Number of polls in one run, before the workflow continues as new.
///
/// It is low, so that you can see the runs. A history can have 51,200 events, and a poll makes eleven.
pub const POLLS_PER_RUN: u32 = 3;

/// Default number of seconds between two polls: 1.
pub const POLL_INTERVAL: NonZeroU32 = NonZeroU32::MIN;

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
        let input = PollGreetingInput {
            name,
            poll_interval_seconds: options.map_or(POLL_INTERVAL, |o| o.poll_interval_seconds),
        };
        if ctx.cancellation_token().is_cancelled() {
            return Err(WorkflowTermination::cancelled());
        }
        // This history contains only the child's start and its result, however many runs the child needs.
        let child_id = child_id(ctx.workflow_id(), "poll")?;
        let options = ChildWorkflowOptions::builder()
            .workflow_id(child_id.clone())
            // `child_result` cancels the child in its current run. The SDK must not, because it would
            // cancel the first run only.
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        let child = ctx
            .start_child_workflow(PollGreetingWorkflow::run, input, options)
            .await
            .or_cancelled(ctx)?;
        child_result(ctx, child_id, child, ctx.cancelled()).await
    }
}

/// The input of [`PollGreetingWorkflow`]: `{"name":"World","poll_interval_seconds":10}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PollGreetingInput {
    /// Name to greet.
    pub name: String,
    /// Seconds between two polls. Must not be 0.
    pub poll_interval_seconds: NonZeroU32,
}

/// Polls until there is a greeting, in as many runs as necessary.
#[workflow]
#[derive(Default)]
pub struct PollGreetingWorkflow;

#[workflow_methods]
impl PollGreetingWorkflow {
    /// Returns the greeting.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<PollGreetingInput>,
    ) -> WorkflowResult<String> {
        let input = input.decode(ctx)?;
        let interval = Duration::from_secs(input.poll_interval_seconds.get().into());
        for _ in 0..POLLS_PER_RUN {
            let compose = ComposeGreetingInput {
                greeting: "Hello".to_owned(),
                name: input.name.clone(),
                // All runs of this workflow share this id, and no other workflow has it, not even a later one with
                // the same workflow id.
                id: Some(ctx.info().first_execution_run_id().to_owned()),
            };
            // "Not yet" is a result and not an error, so the default policy retries only real problems.
            let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(2));
            let Json(polled) = ctx
                .execute_activity(GreetingActivities::compose_greeting, compose, options)
                .await
                .or_cancelled(ctx)?;
            if let Some(greeting) = polled {
                return Ok(greeting);
            }
            sleep(ctx, interval).await?;
        }
        // Otherwise the history would grow with every poll until it reached its limit.
        match ctx.continue_as_new(input.into(), Default::default())? {}
    }
}
