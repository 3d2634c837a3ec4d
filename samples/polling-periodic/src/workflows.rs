//! The workflows: one that wants a result, and its child, which polls by a timer.

use crate::activities::{ComposeGreetingInput, GreetingActivities};
use serde::{Deserialize, Serialize};
use shared::{Input, Inputs, Json, OrCancelled, child_id, sleep};
use std::{num::NonZeroU32, pin::pin, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ChildWorkflowOptions, WorkflowContext, WorkflowResult, workflows,
};

/// How many polls a run makes before it continues as new: few, for the eye. 51,200 events, of
/// which a poll makes eleven, are the limit of a history.
pub const POLLS_PER_RUN: u32 = 3;

/// Seconds between two polls, unless the workflow is told otherwise: 1.
pub const POLL_INTERVAL: NonZeroU32 = NonZeroU32::MIN;

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
        let input = PollGreetingInput {
            name,
            poll_interval_seconds: options.map_or(POLL_INTERVAL, |o| o.poll_interval_seconds),
        };
        // In however many runs the child polls, this history has its start and its result alone.
        let child_id = child_id(ctx.workflow_id(), "poll")?;
        let options = ChildWorkflowOptions::workflow_id(child_id.clone());
        let child = ctx
            .start_child_workflow(PollGreetingWorkflow::run, input, options)
            .await
            .or_cancelled(ctx)?;
        let mut result = pin!(child.result());
        workflows::select! {
            result = result.as_mut() => return result.or_cancelled(ctx),
            // The SDK passes a cancellation on by itself, but to the child's first run, which may
            // be long over; without a run id it reaches the one that polls.
            _ = ctx.cancelled() => {
                // An error is a child that has just ended, as its result tells.
                let _ = ctx.external_workflow(child_id, None).cancel(None).await;
            }
        }
        result.await.or_cancelled(ctx)
    }
}

/// The input of [`PollGreetingWorkflow`]: `{"name":"World","poll_interval_seconds":10}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PollGreetingInput {
    /// Whom to greet.
    pub name: String,
    /// Seconds between two polls; not 0.
    pub poll_interval_seconds: NonZeroU32,
}

/// Polls until there is a greeting, in as many runs as that takes.
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
                // All runs of this workflow share it, and no other workflow has it, not even a later one
                // with the same workflow id.
                id: Some(ctx.info().first_execution_run_id().to_owned()),
            };
            // "Not yet" is a result, not an error: what the default policy retries is trouble.
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
        // A history that grew with every poll would come to its limit.
        match ctx.continue_as_new(input.into(), Default::default())? {}
    }
}
