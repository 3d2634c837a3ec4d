//! The workflows: one that makes an activity wait for another, and one that counts by itself.

use crate::{
    activities::{MetricsActivities, SOLD_OUT},
    metrics::{Channel, Metrics},
};
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled};
use std::time::Duration;
use temporalio_common::error::{ActivityExecutionError, IncomingError};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult, workflows::join_all};

/// How long an attempt may take. The wait for a worker is not part of it.
const START_TO_CLOSE: Duration = Duration::from_secs(5);

/// Two activities at once, for a worker that runs one at a time.
#[workflow]
#[derive(Default)]
pub struct StartTwoActivitiesWorkflow;

#[workflow_methods]
impl StartTwoActivitiesWorkflow {
    /// Returns when both are done.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, _nothing: Input<()>) -> WorkflowResult<()> {
        let both = [(); 2].map(|()| {
            let options = ActivityOptions::start_to_close_timeout(START_TO_CLOSE);
            ctx.execute_activity(MetricsActivities::print_and_sleep, (), options)
        });
        for done in join_all(both).await {
            done.or_cancelled(ctx)?;
        }
        Ok(())
    }
}

/// The input of [`OrderWorkflow`]: `{"channel":"web","pieces":3}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Order {
    /// How it came in.
    pub channel: Channel,
    /// How much of it.
    pub pieces: u32,
}

/// Counts the order and reserves what it asks for.
#[workflow]
pub struct OrderWorkflow {
    metrics: Metrics,
}

// No `Default`: `worker_options` registers a factory, which hands it the metrics.
#[workflow_methods(factory_only)]
impl OrderWorkflow {
    /// Returns `"reserved"` or `"sold out"`.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        order: Input<Order>,
    ) -> WorkflowResult<String> {
        let Order { channel, pieces } = order.decode(ctx)?;
        // Silent while replaying, thanks to `LogFields`; a metric is not.
        tracing::info!(?channel, pieces, "order received");
        // Without this, every replay counts the order again. The metrics may be used for nothing
        // else in here: what they hold differs from run to run.
        if !ctx.is_replaying() {
            ctx.state(|workflow| workflow.metrics.order(channel));
        }
        let options = ActivityOptions::start_to_close_timeout(START_TO_CLOSE);
        let reserved = ctx.execute_activity(MetricsActivities::reserve_stock, pieces, options);
        match reserved.await {
            Ok(()) => Ok("reserved".to_owned()),
            Err(error) if is_sold_out(&error) => Ok("sold out".to_owned()),
            Err(error) => Err(error).or_cancelled(ctx),
        }
    }
}

impl OrderWorkflow {
    /// A workflow that counts on `metrics`; for `register_workflow_with_factory`.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

fn is_sold_out(error: &ActivityExecutionError) -> bool {
    matches!(error.cause(), Some(IncomingError::Application(failure))
        if failure.type_name() == Some(SOLD_OUT))
}
