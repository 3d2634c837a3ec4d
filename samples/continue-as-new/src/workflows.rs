//! The workflow: work without end, in runs whose histories stay short.

use serde::{Deserialize, Serialize};
use shared::{Input, sleep};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult};

const BATCH: Duration = Duration::from_millis(100);
const MAX_ITERATIONS: u64 = 1000;

/// How many items a batch has.
pub const BATCH_ITEMS: u64 = 10;

/// What one run hands to the next, and the last one returns.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct State {
    /// How many batches are done.
    pub iteration: u64,
    /// How many items are done, those of `add_items` among them.
    pub processed_items: u64,
}

/// The input: `{"state":{"iteration":0,"processed_items":0},"max_iterations":1000}`. The first run
/// needs none of it, and the next ones are given all of it: what is not in here is lost.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LongRunningInput {
    /// Where to go on; from the beginning without it.
    pub state: Option<State>,
    /// At which iteration to end; 1000 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_iterations: Option<u64>,
    /// Continue as new at so many events even if the server does not suggest it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_after_events: Option<u32>,
}

/// Processes batch after batch, and continues as new before its history gets too long.
#[workflow]
#[derive(Default)]
pub struct LongRunningWorkflow {
    state: State,
    /// Whether handlers may change the state. Not at first: a signal that is there already is
    /// handled before the first line of `run`, which then puts the state in and overwrites it.
    between_batches: bool,
}

#[workflow_methods]
impl LongRunningWorkflow {
    /// Returns the final state.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<LongRunningInput>,
    ) -> WorkflowResult<State> {
        let input = input.valid()?;
        let max_iterations = input.max_iterations.unwrap_or(MAX_ITERATIONS);
        ctx.state_mut(|workflow| workflow.state = input.state.unwrap_or_default());
        Self::finish_handlers(ctx).await?;
        while ctx.state(|workflow| workflow.state.iteration) < max_iterations {
            sleep(ctx, BATCH).await?;
            ctx.state_mut(|workflow| {
                workflow.state.iteration += 1;
                workflow.state.add(BATCH_ITEMS);
            });
            // A handler that has not finished when a run ends never does. So nothing is awaited
            // between this and the end, be it `continue_as_new` or `Ok`.
            Self::finish_handlers(ctx).await?;
            let too_long = |events| ctx.history_length() >= events;
            // After a batch, never before the first: a run that only continued as new would do so
            // for ever.
            if ctx.continue_as_new_suggested() || input.continue_after_events.is_some_and(too_long)
            {
                let state = Some(ctx.state(|workflow| workflow.state));
                let input = LongRunningInput { state, ..input };
                ctx.continue_as_new(input.into(), Default::default())?;
            }
        }
        Ok(ctx.state(|workflow| workflow.state))
    }

    /// Adds so many items to those processed, as soon as no batch is under way.
    #[signal(name = "add_items")]
    pub async fn add_items(ctx: &mut WorkflowContext<Self>, items: Input<u64>) {
        let items = match items.valid() {
            Ok(items) => items,
            // Nobody waits for the outcome of a signal, and the workflow is not to fail by it.
            Err(failure) => {
                if !ctx.is_replaying() {
                    tracing::warn!(workflow_id = ctx.workflow_id(), %failure, "add_items ignored");
                }
                return;
            }
        };
        let turn = ctx.wait_condition(|workflow| workflow.between_batches);
        // Else the workflow is cancelled.
        if turn.await.is_ok() {
            ctx.state_mut(|workflow| workflow.state.add(items));
        }
    }

    /// Tells the state, at any time.
    #[query(name = "progress")]
    pub fn progress(&self, _ctx: &WorkflowContextView) -> State {
        self.state
    }
}

impl LongRunningWorkflow {
    /// Lets the handlers have their turn, and returns when all have finished.
    async fn finish_handlers(ctx: &WorkflowContext<Self>) -> WorkflowResult<()> {
        ctx.state_mut(|workflow| workflow.between_batches = true);
        ctx.wait_condition(|_| ctx.all_handlers_finished()).await?;
        ctx.state_mut(|workflow| workflow.between_batches = false);
        Ok(())
    }
}

impl State {
    /// Saturates: an overflow panics in a debug build, and a workflow that panics is retried for
    /// ever.
    fn add(&mut self, items: u64) {
        self.processed_items = self.processed_items.saturating_add(items);
    }
}
