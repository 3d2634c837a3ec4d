//! Two parents of many children: one that stops at the first failure, and one that reports each
//! failure.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::workflows::{ComposeGreetingInput, ComposeGreetingWorkflow};
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, at_most, child_id, child_result};
use std::{cell::RefCell, num::NonZeroUsize};
use temporalio_common::{RetryPolicy, error::OutgoingWorkflowError};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ChildWorkflowOptions, WorkflowCancellationToken, WorkflowContext, WorkflowResult,
    WorkflowTermination, workflows::join_all,
};

/// The most children at the same time, whatever the input asks for.
///
/// If a workflow has more than 2,000 pending children, the server fails the workflow task that starts the
/// next one, and retries that task forever.
const MAX_WIDTH: usize = 1000;

/// The input of [`GreetManyWorkflow`] and [`GreetEachWorkflow`]: `{"names":["Ada","Grace"],"at_most":1}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GreetManyInput {
    /// The names to greet, each by a child of its own; at most 5,000.
    #[serde(deserialize_with = "at_most::<_, _, 5000>")]
    pub names: Vec<String>,
    /// How many children may run at the same time; at least 1. Above 1,000 it counts as 1,000.
    pub at_most: NonZeroUsize,
    /// How many of the three attempts of each child fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
}

/// Greets many users, each by a child, with a concurrency limit. Fails as soon as one child fails.
#[workflow]
#[derive(Default)]
pub struct GreetManyWorkflow {
    /// Whether a child has failed, so that no other child starts and running ones are cancelled.
    stopping: bool,
}

#[workflow_methods]
impl GreetManyWorkflow {
    /// Returns the greetings, in the order of the names.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<GreetManyInput>,
    ) -> WorkflowResult<Vec<String>> {
        let input = input.decode(ctx)?;
        check_ids(ctx, &input)?;
        let failure = RefCell::new(None);
        let stopped =
            || ctx.state(|parent| parent.stopping) || ctx.cancellation_token().is_cancelled();
        let greetings = bounded(input.names, input.at_most, stopped, async |index, name| {
            // Also returns when the workflow is cancelled.
            let stop = ctx.wait_condition(|parent| parent.stopping);
            match greet(ctx, index, name, input.failures, stop).await {
                Ok(greeting) => Some(greeting),
                Err(error) => {
                    // Only the first failure counts. The others follow from its cancellation.
                    failure.borrow_mut().get_or_insert(error);
                    ctx.state_mut(|parent| parent.stopping = true);
                    None
                }
            }
        });
        let greetings = greetings.await.into_iter().flatten().collect();
        match failure.into_inner() {
            Some(error) => Err(error),
            None if ctx.cancellation_token().is_cancelled() => {
                Err(WorkflowTermination::cancelled())
            }
            None => Ok(greetings),
        }
    }
}

/// What became of one name, for [`GreetEachWorkflow`].
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The greeting.
    Greeting(String),
    /// The reason why there is no greeting.
    Failure(String),
}

/// Greets many users, each by a child, with a concurrency limit. Reports the failures beside the
/// greetings.
#[workflow]
#[derive(Default)]
pub struct GreetEachWorkflow;

#[workflow_methods]
impl GreetEachWorkflow {
    /// Returns an outcome for each name, in the order of the names.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<GreetManyInput>,
    ) -> WorkflowResult<Vec<Outcome>> {
        let input = input.decode(ctx)?;
        check_ids(ctx, &input)?;
        let stopped = || ctx.cancellation_token().is_cancelled();
        let outcomes = bounded(
            input.names,
            input.at_most,
            stopped,
            async |index, name| match greet(ctx, index, name, input.failures, ctx.cancelled()).await
            {
                Ok(greeting) => Outcome::Greeting(greeting),
                Err(error) => Outcome::Failure(reason(&error)),
            },
        );
        let outcomes = outcomes.await;
        if stopped() {
            // The children that were cancelled with the workflow are no failures to report.
            return Err(WorkflowTermination::cancelled());
        }
        Ok(outcomes)
    }
}

/// Runs `work` for each item, at most `width` at the same time, and returns the results in the order
/// of the items. Starts no more items once `stopped` holds.
///
/// There are `width` lanes. A lane takes the next item when it has finished its last one, so a slow
/// item holds up its own lane only.
async fn bounded<T, R>(
    items: Vec<T>,
    width: NonZeroUsize,
    stopped: impl Fn() -> bool,
    work: impl AsyncFn(usize, T) -> R,
) -> Vec<R> {
    let width = width.get().min(items.len()).min(MAX_WIDTH);
    let items = RefCell::new(items.into_iter().enumerate());
    let lane = async || {
        let mut done = Vec::new();
        while !stopped() {
            let Some((index, item)) = items.borrow_mut().next() else {
                break;
            };
            done.push((index, work(index, item).await));
        }
        done
    };
    let lanes = join_all((0..width).map(|_| lane())).await;
    let mut done: Vec<(usize, R)> = lanes.into_iter().flatten().collect();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Runs one child to its end, or cancels it when `stop` resolves.
async fn greet<W>(
    ctx: &WorkflowContext<W>,
    index: usize,
    name: String,
    failures: Option<u32>,
    stop: impl Future,
) -> WorkflowResult<String> {
    let input = ComposeGreetingInput {
        greeting: "Hello".to_owned(),
        name,
        failures,
        ..Default::default()
    };
    let id = child_id(ctx.workflow_id(), format_args!("child-{index}"))?;
    let options = ChildWorkflowOptions::builder()
        .workflow_id(id.clone())
        // `child_result` cancels the child, and the SDK must not.
        .cancellation_token(WorkflowCancellationToken::new())
        // Without a retry policy a child has one attempt. Each attempt is a new run with an empty
        // history. Unlike an activity, a workflow loses no attempt to a worker that is killed.
        .retry_policy(RetryPolicy::builder().maximum_attempts(3).build())
        .build();
    let child = ctx
        .start_child_workflow(ComposeGreetingWorkflow::run, input, options)
        .await
        .or_cancelled(ctx)?;
    child_result(ctx, id, child, stop).await
}

/// Checks the longest of the children's ids before any child does work that would be lost.
fn check_ids<W>(ctx: &WorkflowContext<W>, input: &GreetManyInput) -> WorkflowResult<()> {
    if let Some(last) = input.names.len().checked_sub(1) {
        child_id(ctx.workflow_id(), format_args!("child-{last}"))?;
    }
    Ok(())
}

/// The message of the child's own failure, without the SDK's text around it.
fn reason(error: &WorkflowTermination) -> String {
    match error {
        WorkflowTermination::Failed(OutgoingWorkflowError::ChildWorkflowExecution(child)) => {
            match child.reason() {
                Some(reason) => reason.to_string(),
                None => child.to_string(),
            }
        }
        other => other.to_string(),
    }
}
