//! The workflows. In one, an activity waits for another. The other one counts orders itself.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

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

/// How long an attempt may take, without the wait for a worker.
const START_TO_CLOSE: Duration = Duration::from_secs(5);

/// Schedules two activities at once. The worker of this sample runs one at a time.
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
    /// How the order arrived.
    pub channel: Channel,
    /// Number of pieces ordered.
    pub pieces: u32,
}

/// Counts an order and reserves its pieces.
#[workflow]
pub struct OrderWorkflow {
    metrics: Metrics,
}

// There is no `Default`, because `worker_options` registers a factory that passes the metrics in.
#[workflow_methods(factory_only)]
impl OrderWorkflow {
    /// Returns `"reserved"` or `"sold out"`.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        order: Input<Order>,
    ) -> WorkflowResult<String> {
        let Order { channel, pieces } = order.decode(ctx)?;
        // During a replay `LogFields` suppresses this line. Nothing suppresses a metric.
        tracing::info!(?channel, pieces, "order received");
        // Without this condition, every replay counts the order again. The workflow must not read the metrics,
        // because their values are not the same in a replay.
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
    /// Creates a workflow that counts on `metrics`, for `register_workflow_with_factory`.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

fn is_sold_out(error: &ActivityExecutionError) -> bool {
    matches!(error.cause(), Some(IncomingError::Application(failure))
        if failure.type_name() == Some(SOLD_OUT))
}
