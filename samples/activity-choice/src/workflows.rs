//! The workflow: one `match` decides which activity an item needs.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::FruitActivities;
use serde::{Deserialize, Serialize};
use serde_repr::{Deserialize_repr, Serialize_repr};
use shared::{Input, OrCancelled, at_most};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

/// The workflow's input: `{"items":[{"fruit":1,"amount":8}]}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ShoppingList {
    /// What to order, in this order; 5,000 items at most.
    #[serde(deserialize_with = "at_most::<_, _, 5000>")]
    pub items: Vec<Item>,
}

/// One line of a [`ShoppingList`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Item {
    /// Which fruit.
    pub fruit: Fruit,
    /// How many.
    pub amount: u32,
}

/// A fruit; on the wire the integer given here.
// Serde's default would be the variant's name, which other languages' integer enums do not send.
#[derive(Clone, Copy, Debug, Deserialize_repr, Eq, PartialEq, Serialize_repr)]
#[repr(u8)]
pub enum Fruit {
    /// 1
    Apple = 1,
    /// 2
    Banana = 2,
    /// 3
    Cherry = 3,
    /// 4
    Orange = 4,
}

/// Orders each item by the activity for its fruit, one after the other.
#[workflow]
#[derive(Default)]
pub struct PurchaseFruitsWorkflow;

#[workflow_methods]
impl PurchaseFruitsWorkflow {
    /// Returns what the activities said, joined.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        list: Input<ShoppingList>,
    ) -> WorkflowResult<String> {
        let list = list.decode(ctx)?;
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(5));
        let mut ordered = String::new();
        for Item { fruit, amount } in list.items {
            let options = options.clone();
            // Without `_ =>` on purpose: a new fruit does not compile until it has an activity.
            ordered += &match fruit {
                Fruit::Apple => ctx
                    .execute_activity(FruitActivities::order_apples, amount, options)
                    .await
                    .or_cancelled(ctx)?,
                Fruit::Banana => ctx
                    .execute_activity(FruitActivities::order_bananas, amount, options)
                    .await
                    .or_cancelled(ctx)?,
                Fruit::Cherry => ctx
                    .execute_activity(FruitActivities::order_cherries, amount, options)
                    .await
                    .or_cancelled(ctx)?,
                Fruit::Orange => ctx
                    .execute_activity(FruitActivities::order_oranges, amount, options)
                    .await
                    .or_cancelled(ctx)?,
            };
        }
        Ok(ordered)
    }
}
