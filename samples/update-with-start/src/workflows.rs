//! The workflow. It is a shopping cart that the first item creates.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{ShoppingCartActivities, ShoppingCartItem};
use serde::{Deserialize, Serialize};
use shared::{Input, Json, handlers_finished};
use std::{error::Error, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, SyncWorkflowContext, WorkflowContext, WorkflowContextView,
    WorkflowResult, WorkflowTermination,
};

/// Type of the failure of an update with an unavailable item. Clients depend on it.
pub const ITEM_UNAVAILABLE: &str = "ItemUnavailableError";

/// Type of the failure of an update that comes after the checkout.
pub const ORDER_SUBMITTED: &str = "OrderAlreadySubmitted";

/// Time limit for one attempt to get a price.
const PRICE_TIMEOUT: Duration = Duration::from_secs(10);

/// Error of a handler.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// The result: `{"id":"cart-1","items":[[{"sku":"sku-123","quantity":1},599]],"total":599}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct FinalizedOrder {
    /// Workflow id of the cart.
    pub id: String,
    /// Items with their prices.
    pub items: Vec<(ShoppingCartItem, u64)>,
    /// Sum of the prices.
    pub total: u64,
}

/// Collects items until the checkout, and returns the order.
#[workflow]
#[derive(Default)]
pub struct ShoppingCartWorkflow {
    items: Vec<(ShoppingCartItem, u64)>,
    submitted: bool,
}

#[workflow_methods]
impl ShoppingCartWorkflow {
    /// Returns the order. The first `add_item` is handled before the first line of this method, so it does not touch
    /// the items.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        nothing: Input<()>,
    ) -> WorkflowResult<FinalizedOrder> {
        nothing.decode(ctx)?;
        let submitted = ctx
            .wait_condition(|cart| cart.submitted && ctx.all_handlers_finished())
            .await;
        if submitted.is_err() {
            // The end of the workflow would abort updates that are not finished, so a cancelled workflow waits for
            // them, too.
            handlers_finished(ctx).await?;
            return Err(WorkflowTermination::cancelled());
        }
        Ok(ctx.state(|cart| FinalizedOrder {
            id: ctx.workflow_id().to_owned(),
            items: cart.items.clone(),
            total: cart.subtotal(),
        }))
    }

    /// Rejects an item after the checkout, and bad input.
    #[update_validator(add_item)]
    pub fn check_item(
        &self,
        _ctx: &WorkflowContextView,
        item: &Input<ShoppingCartItem>,
    ) -> Result<(), HandlerError> {
        item.clone().into_result()?;
        if self.submitted {
            return Err(failure(ORDER_SUBMITTED, "Order already submitted"));
        }
        Ok(())
    }

    /// Gets the price of an item, adds the item to the cart, and returns the subtotal.
    #[update(name = "add_item")]
    pub async fn add_item(
        ctx: &mut WorkflowContext<Self>,
        item: Input<ShoppingCartItem>,
    ) -> Result<u64, HandlerError> {
        let item = item.into_result()?;
        let options = ActivityOptions::start_to_close_timeout(PRICE_TIMEOUT);
        let get_price = ShoppingCartActivities::get_price;
        // Without `or_cancelled`, because an error ends the update and not the workflow.
        let Json(price) = ctx
            .execute_activity(get_price, item.clone(), options)
            .await?;
        let Some(price) = price else {
            let message = format!("Item unavailable: {}", item.sku);
            return Err(failure(ITEM_UNAVAILABLE, &message));
        };
        // Only now, because an item without a price must not be in the order.
        Ok(ctx.state_mut(|cart| {
            cart.items.push((item, price));
            cart.subtotal()
        }))
    }

    /// Lets the workflow end when all items have their prices.
    #[signal(name = "checkout")]
    pub fn checkout(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.submitted = true;
    }
}

impl ShoppingCartWorkflow {
    fn subtotal(&self) -> u64 {
        self.items
            .iter()
            .fold(0, |sum, (_, price)| sum.saturating_add(*price))
    }
}

fn failure(type_name: &str, message: &str) -> HandlerError {
    let failure = ApplicationFailure::builder(message)
        .type_name(type_name.to_owned())
        .non_retryable(true);
    failure.build().into()
}
