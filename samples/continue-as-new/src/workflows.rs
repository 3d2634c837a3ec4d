//! The workflow: work without end, in runs whose histories stay short.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use serde::{Deserialize, Serialize};
use shared::{Input, sleep};
use std::{error::Error, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult};

const BATCH: Duration = Duration::from_millis(100);
const MAX_ITERATIONS: u64 = 1000;

/// Number of items in a batch.
pub const BATCH_ITEMS: u64 = 10;

/// The state that a run passes to the next one, and that the last run returns.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct State {
    /// Number of batches processed so far.
    pub iteration: u64,
    /// Number of items processed so far, including those of `add_items` and `process_items`.
    pub processed_items: u64,
}

/// The input: `{"state":{"iteration":0,"processed_items":0},"max_iterations":1000}`.
///
/// All fields are optional for the first run. A later run gets everything that it needs to know in its
/// input, because nothing else survives.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LongRunningInput {
    /// Where to go on. The default is the beginning.
    pub state: Option<State>,
    /// The iteration at which to end. The default is 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_iterations: Option<u64>,
    /// Number of events at which to continue as new, even if the server does not suggest it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_after_events: Option<u32>,
}

/// Processes batch after batch, and continues as new before its history gets too long.
#[workflow]
#[derive(Default)]
pub struct LongRunningWorkflow {
    state: State,
    /// Items that signals and updates have added since the last batch. A field of its own, because a
    /// signal can arrive before the first line of `run`, which sets `state`.
    pending: Vec<u64>,
}

#[workflow_methods]
impl LongRunningWorkflow {
    /// Returns the final state.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<LongRunningInput>,
    ) -> WorkflowResult<State> {
        let input = input.decode(ctx)?;
        let max_iterations = input.max_iterations.unwrap_or(MAX_ITERATIONS);
        ctx.state_mut(|workflow| workflow.state = input.state.unwrap_or_default());
        Self::finish_handlers(ctx).await?;
        while ctx.state(|workflow| workflow.state.iteration) < max_iterations {
            sleep(ctx, BATCH).await?;
            ctx.state_mut(|workflow| {
                workflow.state.iteration += 1;
                workflow.state.add(BATCH_ITEMS);
            });
            // What is pending when a run ends is lost, and so is the answer of a handler that has not
            // finished. So nothing is awaited between this line and the end of the run, which is
            // either `continue_as_new` or `Ok`.
            Self::finish_handlers(ctx).await?;
            let too_long = |events| ctx.history_length() >= events;
            // Only after a batch. A run that does nothing but continue as new would do so forever.
            if ctx.continue_as_new_suggested() || input.continue_after_events.is_some_and(too_long)
            {
                let state = Some(ctx.state(|workflow| workflow.state));
                let input = LongRunningInput { state, ..input };
                ctx.continue_as_new(input.into(), Default::default())?;
            }
        }
        Ok(ctx.state(|workflow| workflow.state))
    }

    /// Adds items, which `run` processes after the current batch.
    #[signal(name = "add_items")]
    pub fn add_items(&mut self, ctx: &mut SyncWorkflowContext<Self>, items: Input<u64>) {
        self.pending.extend(items.or_ignored(ctx, "add_items"));
    }

    /// Adds items, and returns the state when `run` has processed them.
    #[update(name = "process_items")]
    pub async fn process_items(
        ctx: &mut WorkflowContext<Self>,
        items: u64,
    ) -> Result<State, Box<dyn Error + Send + Sync>> {
        ctx.state_mut(|workflow| workflow.pending.push(items));
        ctx.wait_condition(|workflow| workflow.pending.is_empty())
            .await?;
        Ok(ctx.state(|workflow| workflow.state))
    }

    /// Returns the state at any time.
    #[query(name = "progress")]
    pub fn progress(&self, _ctx: &WorkflowContextView) -> State {
        self.state
    }
}

impl LongRunningWorkflow {
    /// Processes the pending items, and returns when all handlers have finished.
    async fn finish_handlers(ctx: &WorkflowContext<Self>) -> WorkflowResult<()> {
        loop {
            ctx.state_mut(|workflow| {
                for items in std::mem::take(&mut workflow.pending) {
                    workflow.state.add(items);
                }
            });
            if ctx.all_handlers_finished() {
                return Ok(());
            }
            // The handlers go on now, and may add more items.
            ctx.wait_condition(|workflow| {
                !workflow.pending.is_empty() || ctx.all_handlers_finished()
            })
            .await?;
        }
    }
}

impl State {
    /// Adds items without overflow. An overflow would panic in a debug build, and the workflow task
    /// would fail forever.
    fn add(&mut self, items: u64) {
        self.processed_items = self.processed_items.saturating_add(items);
    }
}
