//! Stage 1, before the change: ships an order, and completes when it has been delivered.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{
    activities::OrderActivities,
    workflows::{Order, Receipt, options},
};
use shared::{Input, OrCancelled};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkflowContext, WorkflowResult};

/// Ships an order, and waits until it has been delivered.
#[workflow]
#[derive(Default)]
pub struct OrderWorkflow {
    delivered: bool,
}

#[workflow_methods]
impl OrderWorkflow {
    /// Returns the receipt when the order has been delivered.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        order: Input<Order>,
    ) -> WorkflowResult<Receipt> {
        let order = order.decode(ctx)?;
        let receipt = ctx
            .execute_activity(OrderActivities::ship_order, order, options())
            .await
            .or_cancelled(ctx)?;
        // In reality this takes days. Code that is deployed in the meantime finds the order here.
        ctx.wait_condition(|workflow| workflow.delivered).await?;
        Ok(receipt)
    }

    /// Notes that the carrier has delivered the parcel.
    #[signal]
    pub fn delivered(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.delivered = true;
    }
}
