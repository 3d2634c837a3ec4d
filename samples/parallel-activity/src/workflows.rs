//! Three workflows: a few activities at once, many with a concurrency limit that stop at the first
//! failure, and many that report each failure.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::GreetingActivities;
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, at_most};
use std::{cell::RefCell, num::NonZeroUsize, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCloseTimeouts, ActivityExecutionError, ActivityOptions, WorkflowCancellationToken,
    WorkflowContext, WorkflowResult, WorkflowTermination, workflows::join_all,
};

/// How long one attempt of a greeting may take.
const START_TO_CLOSE: Duration = Duration::from_secs(5);

/// How long a greeting may take in total, with all its attempts and with an outage of the workers.
///
/// Without this limit the server retries forever, so one name that never works holds up the whole
/// workflow. A limit on the number of attempts is the wrong tool: every killed worker uses one up.
const SCHEDULE_TO_CLOSE: Duration = Duration::from_secs(3600);

/// The most greetings at the same time, whatever the input asks for.
///
/// If a workflow has more than 2,000 pending activities, the server fails the workflow task that
/// schedules the next one, and retries that task forever.
const MAX_WIDTH: usize = 1000;

/// Greets five users at once.
#[workflow]
#[derive(Default)]
pub struct SayHelloWorkflow;

#[workflow_methods]
impl SayHelloWorkflow {
    /// Returns the greetings, sorted.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        _nothing: Input<()>,
    ) -> WorkflowResult<Vec<String>> {
        // Each call schedules its activity immediately; the `await` only collects the results. The
        // SDK's own `join_all` polls in the given order, so a replay sees what the run saw.
        let greetings = (1..=5).map(|user| {
            ctx.execute_activity(
                GreetingActivities::say_hello_activity,
                format!("user{user}"),
                options(&ctx.cancellation_token()),
            )
        });
        let mut greetings = join_all(greetings)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .or_cancelled(ctx)?;
        greetings.sort();
        Ok(greetings)
    }
}

/// The input of [`SayHelloBoundedWorkflow`] and [`SayHelloEachWorkflow`]:
/// `{"names":["Ada","Grace"],"at_most":1}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BoundedInput {
    /// The names to greet; at most 5,000.
    #[serde(deserialize_with = "at_most::<_, _, 5000>")]
    pub names: Vec<String>,
    /// How many greetings may run at the same time; at least 1. Above 1,000 it counts as 1,000.
    pub at_most: NonZeroUsize,
}

/// Greets many users with a concurrency limit, and fails as soon as one greeting fails.
#[workflow]
#[derive(Default)]
pub struct SayHelloBoundedWorkflow;

#[workflow_methods]
impl SayHelloBoundedWorkflow {
    /// Returns the greetings, sorted.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<BoundedInput>,
    ) -> WorkflowResult<Vec<String>> {
        let BoundedInput { names, at_most } = input.decode(ctx)?;
        // Cancelled with the workflow, and by the first greeting that fails.
        let stop = ctx.cancellation_token().child_token();
        let failure = RefCell::new(None);
        let greetings = bounded(names, at_most, &stop, async |name| {
            match say_hello(ctx, name, &stop).await {
                Ok(greeting) => Some(greeting),
                Err(error) => {
                    // Only the first failure counts. The others follow from its cancellation.
                    failure.borrow_mut().get_or_insert(error);
                    stop.cancel();
                    None
                }
            }
        });
        let mut greetings: Vec<String> = greetings.await.into_iter().flatten().collect();
        match failure.into_inner() {
            Some(error) => Err(error).or_cancelled(ctx),
            None if stop.is_cancelled() => Err(WorkflowTermination::cancelled()),
            None => {
                greetings.sort();
                Ok(greetings)
            }
        }
    }
}

/// What became of one name, for [`SayHelloEachWorkflow`].
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The greeting.
    Greeting(String),
    /// The reason why there is no greeting.
    Failure(String),
}

/// Greets many users with a concurrency limit, and reports the failures beside the greetings.
#[workflow]
#[derive(Default)]
pub struct SayHelloEachWorkflow;

#[workflow_methods]
impl SayHelloEachWorkflow {
    /// Returns an outcome for each name, in the order of the names.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<BoundedInput>,
    ) -> WorkflowResult<Vec<Outcome>> {
        let BoundedInput { names, at_most } = input.decode(ctx)?;
        let stop = ctx.cancellation_token();
        let outcomes = bounded(names, at_most, &stop, async |name| {
            match say_hello(ctx, name, &stop).await {
                Ok(greeting) => Outcome::Greeting(greeting),
                Err(error) => Outcome::Failure(match error.reason() {
                    Some(reason) => reason.to_string(),
                    None => error.to_string(),
                }),
            }
        });
        let outcomes = outcomes.await;
        if stop.is_cancelled() {
            // The activities that were cancelled with the workflow are no failures to report.
            return Err(WorkflowTermination::cancelled());
        }
        Ok(outcomes)
    }
}

/// Runs `work` for each item, at most `width` at the same time, and returns the results in the order
/// of the items. Starts no more items once `stop` is cancelled.
///
/// There are `width` lanes. A lane takes the next item when it has finished its last one, so a slow
/// item holds up its own lane only. A semaphore or `FuturesUnordered` would wake the lanes in an
/// order that a replay need not repeat.
async fn bounded<T, R>(
    items: Vec<T>,
    width: NonZeroUsize,
    stop: &WorkflowCancellationToken,
    work: impl AsyncFn(T) -> R,
) -> Vec<R> {
    let width = width.get().min(items.len()).min(MAX_WIDTH);
    let items = RefCell::new(items.into_iter().enumerate());
    let lane = async || {
        let mut done = Vec::new();
        while !stop.is_cancelled() {
            let Some((index, item)) = items.borrow_mut().next() else {
                break;
            };
            done.push((index, work(item).await));
        }
        done
    };
    let lanes = join_all((0..width).map(|_| lane())).await;
    let mut done: Vec<(usize, R)> = lanes.into_iter().flatten().collect();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Runs the activity, and cancels it with `stop`.
async fn say_hello<W>(
    ctx: &WorkflowContext<W>,
    name: String,
    stop: &WorkflowCancellationToken,
) -> Result<String, ActivityExecutionError> {
    ctx.execute_activity(GreetingActivities::say_hello_activity, name, options(stop))
        .await
}

fn options(stop: &WorkflowCancellationToken) -> ActivityOptions {
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: SCHEDULE_TO_CLOSE,
        start_to_close: START_TO_CLOSE,
    })
    .cancellation_token(stop.clone())
    .build()
}
