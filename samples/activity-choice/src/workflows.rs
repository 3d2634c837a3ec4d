//! The workflow. One `match` chooses the activity for each item.

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

/// Input of the workflow: `{"items":[{"fruit":1,"amount":8}]}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ShoppingList {
    /// Items to order, one after the other. At most 5,000.
    #[serde(deserialize_with = "at_most::<_, _, 5000>")]
    pub items: Vec<Item>,
}

/// One line of a [`ShoppingList`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Item {
    /// Kind of fruit.
    pub fruit: Fruit,
    /// Number of pieces.
    pub amount: u32,
}

/// Kind of fruit, an integer in JSON.
// By default serde uses the name of the variant, which integer enums in other languages do not send.
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

/// Orders the items one after the other, each with the activity for its fruit.
#[workflow]
#[derive(Default)]
pub struct PurchaseFruitsWorkflow;

#[workflow_methods]
impl PurchaseFruitsWorkflow {
    /// Returns the results of the activities as one text.
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
            // There is deliberately no `_ =>`: a new fruit does not compile until it has an activity.
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
