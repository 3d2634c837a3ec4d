//! The activity that processes a batch.

use serde::{Deserialize, Serialize};
use temporalio_common::data_converters::MultiArgs2;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// One item of an order: `{"order_id":"order-A","item_id":"item-1","name":"Widget"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct OrderItem {
    /// Order that the item belongs to.
    pub order_id: String,
    /// Id by which a second signal about the same item is recognized.
    pub item_id: String,
    /// Name of the item.
    pub name: String,
}

/// The activities of this sample.
pub struct AccumulatorActivities;

#[activities]
impl AccumulatorActivities {
    /// Processes a batch of items, and returns what has been done.
    ///
    /// An activity can run twice for one batch, for example if its worker dies at the end. Code that ships the
    /// items must recognize the ones that it has shipped already, by `item_id`.
    #[activity(name = "process_items")]
    pub async fn process_items(
        _ctx: ActivityContext,
        batch: MultiArgs2<String, Vec<OrderItem>>,
    ) -> Result<String, ActivityError> {
        let MultiArgs2(order_id, items) = batch;
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        Ok(format!(
            "Order {order_id} fulfilled with {} item(s): {}",
            items.len(),
            names.join(", ")
        ))
    }
}
