//! The workflows: all activities at once, and at most so many at a time.

use crate::activities::GreetingActivities;
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, at_most};
use std::{cell::RefCell, num::NonZeroUsize, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult, workflows::join_all};

/// How long a greeting may take before it is tried again.
const START_TO_CLOSE: Duration = Duration::from_secs(5);

/// The most greetings at a time. The server refuses more than 2,000 activities by failing the
/// workflow task that schedules them, which is retried for ever.
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
        nothing: Input<()>,
    ) -> WorkflowResult<Vec<String>> {
        nothing.valid()?;
        // Each call schedules its activity there and then; the `await` only collects. The SDK's
        // own `join_all`: it polls in the order given, so that a replay sees what the run saw.
        let greetings = (1..=5).map(|user| {
            let options = ActivityOptions::start_to_close_timeout(START_TO_CLOSE);
            ctx.execute_activity(
                GreetingActivities::say_hello_activity,
                format!("user{user}"),
                options,
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

/// The input of [`SayHelloBoundedWorkflow`]: `{"names":["Ada","Grace"],"at_most":1}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BoundedInput {
    /// Whom to greet; 5,000 at most.
    #[serde(deserialize_with = "at_most::<_, _, 5000>")]
    pub names: Vec<String>,
    /// How many greetings may run at the same time; not 0.
    pub at_most: NonZeroUsize,
}

/// Greets many users, at most so many at a time.
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
        let BoundedInput { names, at_most } = input.valid()?;
        // As many lanes as may run at a time; each takes the next name when it is done with the
        // last, so a slow greeting holds up its own lane alone. A semaphore or `FuturesUnordered`
        // would wake the lanes in an order that a replay need not repeat.
        let width = at_most.get().min(names.len()).min(MAX_WIDTH);
        let names = RefCell::new(names.into_iter());
        let lane = async |ctx: &WorkflowContext<Self>| -> WorkflowResult<Vec<String>> {
            let mut greetings = Vec::new();
            loop {
                let Some(name) = names.borrow_mut().next() else {
                    return Ok(greetings);
                };
                let options = ActivityOptions::start_to_close_timeout(START_TO_CLOSE);
                greetings.push(
                    ctx.execute_activity(GreetingActivities::say_hello_activity, name, options)
                        .await
                        .or_cancelled(ctx)?,
                );
            }
        };
        let lanes = join_all((0..width).map(|_| lane(ctx))).await;
        let mut greetings = lanes
            .into_iter()
            .collect::<WorkflowResult<Vec<_>>>()?
            .concat();
        greetings.sort();
        Ok(greetings)
    }
}
