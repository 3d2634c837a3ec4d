//! A parent of many children: at most so many at a time, each tried again when it fails.

use crate::workflows::{ComposeGreetingInput, ComposeGreetingWorkflow};
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, at_most, child_id};
use std::{cell::RefCell, num::NonZeroUsize};
use temporalio_common::{RetryPolicy, error::CancelExternalWorkflowError};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ChildWorkflowOptions, WorkflowContext, WorkflowResult, workflows};

/// The most children at a time. The server refuses more than 2,000 by failing the workflow task
/// that starts them, which is retried for ever.
const MAX_WIDTH: usize = 1000;

/// The input of [`GreetManyWorkflow`]: `{"names":["Ada","Grace"],"at_most":1}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GreetManyInput {
    /// Whom to greet, each by a child of its own; 5,000 at most.
    #[serde(deserialize_with = "at_most::<_, _, 5000>")]
    pub names: Vec<String>,
    /// How many children may run at the same time; not 0, and above 1,000 no more than that.
    pub at_most: NonZeroUsize,
    /// How many attempts of each child fail; there are three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
}

/// Greets many users, each by a child, at most so many at a time.
#[workflow]
#[derive(Default)]
pub struct GreetManyWorkflow;

#[workflow_methods]
impl GreetManyWorkflow {
    /// Returns the greetings, in the order of the names.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<GreetManyInput>,
    ) -> WorkflowResult<Vec<String>> {
        let GreetManyInput {
            names,
            at_most,
            failures,
        } = input.valid()?;
        // The longest of the ids, before any child has done work that would be lost.
        if let Some(last) = names.len().checked_sub(1) {
            child_id(ctx.workflow_id(), format_args!("child-{last}"))?;
        }
        // As many lanes as children may run at a time; each takes the next name when its child
        // has ended, so a slow child holds up its own lane alone.
        let width = at_most.get().min(names.len()).min(MAX_WIDTH);
        let names = RefCell::new(names.into_iter().enumerate());
        let lane = async |ctx: &WorkflowContext<Self>| -> WorkflowResult<Vec<(usize, String)>> {
            let mut greetings = Vec::new();
            loop {
                let Some((index, name)) = names.borrow_mut().next() else {
                    return Ok(greetings);
                };
                let greeting = Self::greet(ctx, index, name, failures).await?;
                greetings.push((index, greeting));
            }
        };
        let lanes = workflows::join_all((0..width).map(|_| lane(ctx))).await;
        let mut greetings = lanes
            .into_iter()
            .collect::<WorkflowResult<Vec<_>>>()?
            .concat();
        greetings.sort();
        Ok(greetings
            .into_iter()
            .map(|(_, greeting)| greeting)
            .collect())
    }
}

impl GreetManyWorkflow {
    /// One child, from its start to its end.
    async fn greet(
        ctx: &WorkflowContext<Self>,
        index: usize,
        name: String,
        failures: Option<u32>,
    ) -> WorkflowResult<String> {
        let input = ComposeGreetingInput {
            greeting: "Hello".to_owned(),
            name,
            failures,
            ..Default::default()
        };
        let child_id = child_id(ctx.workflow_id(), format_args!("child-{index}"))?;
        let options = ChildWorkflowOptions::builder()
            .workflow_id(child_id.clone())
            // Without one a child is not tried again. Every attempt is a new run from the start.
            .retry_policy(RetryPolicy::builder().maximum_attempts(3).build())
            .build();
        let child = ctx
            .start_child_workflow(ComposeGreetingWorkflow::run, input, options)
            .await
            .or_cancelled(ctx)?;
        let mut greeting = child.result();
        let greeting = workflows::select! {
            greeting = &mut greeting => greeting,
            _ = ctx.cancelled() => {
                // The SDK asks the child's first run to cancel, and no other: a second attempt
                // would never hear of it. Asked by its id alone, the child is whichever run it is.
                match ctx.external_workflow(child_id, None).cancel(None).await {
                    Ok(()) | Err(CancelExternalWorkflowError::NotFound(_)) => greeting.await,
                    Err(other) => return Err(other).or_cancelled(ctx),
                }
            }
        };
        greeting.or_cancelled(ctx)
    }
}
