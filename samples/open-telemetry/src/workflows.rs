//! The workflows: a parent with a local activity, an activity and a child workflow, and that child.
//!
//! They contain no code for tracing. The plugin creates the spans.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{ChargeInput, CheckoutActivities};
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, child_id, child_result};
use std::time::Duration;
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ChildWorkflowOptions, LocalActivityOptions, WorkflowCancellationToken,
    WorkflowContext, WorkflowResult, WorkflowTermination,
};

/// Time limit for an attempt.
const START_TO_CLOSE: Duration = Duration::from_secs(5);

/// The input of [`CheckoutWorkflow`]: `{"item":"apples"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Checkout {
    /// Item to buy.
    pub item: String,
    /// Number of attempts at the payment that fail before one succeeds. There are at most three attempts.
    #[serde(default)]
    pub failures: u32,
}

/// Checks the stock, charges the buyer, and starts a child that ships the item.
#[workflow]
#[derive(Default)]
pub struct CheckoutWorkflow;

#[workflow_methods]
impl CheckoutWorkflow {
    /// Returns who paid and how the item is shipped: `"acme pays; apples by bicycle"`.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<Checkout>,
    ) -> WorkflowResult<String> {
        let Checkout { item, failures } = input.decode(ctx)?;
        // An id that is too long fails the workflow, and must do so before anything is charged.
        let shipment_id = child_id(ctx.workflow_id(), "shipment")?;
        // The sample local-activity explains this limit and `timer_backoff_threshold`: otherwise the
        // failure of the last attempt could be lost, and a timeout could cancel a later attempt.
        let retry_policy = RetryPolicy::builder().maximum_attempts(5).build();
        let options = LocalActivityOptions::builder()
            .start_to_close_timeout(START_TO_CLOSE)
            .retry_policy(retry_policy)
            .timer_backoff_threshold(Duration::ZERO)
            .build();
        ctx.execute_local_activity(CheckoutActivities::check_stock, item.clone(), options)
            .await
            .or_cancelled(ctx)?;

        // Three attempts keep the trace short. In production, limit the time of a payment instead
        // (`schedule_to_close_timeout`), because attempts that are lost with their worker count too.
        let retry_policy = RetryPolicy::builder()
            .initial_interval(Duration::from_millis(100))
            .maximum_attempts(3)
            .build();
        let options = ActivityOptions::with_start_to_close_timeout(START_TO_CLOSE)
            .retry_policy(retry_policy)
            .build();
        let charge = ChargeInput { failures };
        let paid = ctx
            .execute_activity(CheckoutActivities::charge, charge, options)
            .await
            .or_cancelled(ctx)?;

        if ctx.cancellation_token().is_cancelled() {
            return Err(WorkflowTermination::cancelled());
        }
        let options = ChildWorkflowOptions::builder()
            .workflow_id(shipment_id.clone())
            // `child_result` cancels the child in its current run. The SDK must not, because it would
            // cancel the first run only.
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        let shipment = ctx
            .start_child_workflow(ShipmentWorkflow::run, item, options)
            .await
            .or_cancelled(ctx)?;
        let shipped = child_result(ctx, shipment_id, shipment, ctx.cancelled()).await?;
        Ok(format!("{paid}; {shipped}"))
    }
}

/// Books a courier.
#[workflow]
#[derive(Default)]
pub struct ShipmentWorkflow;

#[workflow_methods]
impl ShipmentWorkflow {
    /// Returns how the item is shipped: `"apples by bicycle"`.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        item: Input<String>,
    ) -> WorkflowResult<String> {
        let item = item.decode(ctx)?;
        let options = ActivityOptions::start_to_close_timeout(START_TO_CLOSE);
        ctx.execute_activity(CheckoutActivities::book_courier, item, options)
            .await
            .or_cancelled(ctx)
    }
}
