//! The activity. It stands in for a price service.

use serde::{Deserialize, Serialize};
use shared::Json;
use std::time::Duration;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// How long the service takes.
const SERVICE_TIME: Duration = Duration::from_millis(100);

/// The item that is out of stock.
pub const UNAVAILABLE_SKU: &str = "sku-456";

const PRICE: u64 = 599;

/// An item of a cart: `{"sku":"sku-123","quantity":1}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ShoppingCartItem {
    /// Stock keeping unit, the id of the article.
    pub sku: String,
    /// Number of articles.
    pub quantity: u32,
}

/// The activities of this sample.
#[derive(Clone, Copy, Debug)]
pub struct ShoppingCartActivities;

#[activities]
impl ShoppingCartActivities {
    /// Returns the price of all articles of this item, or nothing if the item is unavailable.
    #[activity(name = "get_price")]
    pub async fn get_price(
        _ctx: ActivityContext,
        item: ShoppingCartItem,
    ) -> Result<Json<Option<u64>>, ActivityError> {
        tokio::time::sleep(SERVICE_TIME).await;
        let available = item.sku != UNAVAILABLE_SKU;
        Ok(Json(available.then(|| PRICE * u64::from(item.quantity))))
    }
}
