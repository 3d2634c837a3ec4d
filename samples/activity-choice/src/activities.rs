//! One activity for each fruit. In a real program, each would call a different supplier.

use crate::ledger::Ledger;
use shared::idempotency_key;
use std::sync::Arc;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
pub struct FruitActivities {
    /// Ledger in which to record orders, if any.
    pub ledger: Option<Ledger>,
}

#[activities]
impl FruitActivities {
    /// Orders apples.
    #[activity(name = "order_apples")]
    pub async fn order_apples(
        self: Arc<Self>,
        ctx: ActivityContext,
        amount: u32,
    ) -> Result<String, ActivityError> {
        let order = format!("Ordered {} Apples...", amount);
        self.order(&ctx, order).await
    }

    /// Orders bananas.
    #[activity(name = "order_bananas")]
    pub async fn order_bananas(
        self: Arc<Self>,
        ctx: ActivityContext,
        amount: u32,
    ) -> Result<String, ActivityError> {
        let order = format!("Ordered {} Bananas...", amount);
        self.order(&ctx, order).await
    }

    /// Orders cherries.
    #[activity(name = "order_cherries")]
    pub async fn order_cherries(
        self: Arc<Self>,
        ctx: ActivityContext,
        amount: u32,
    ) -> Result<String, ActivityError> {
        let order = format!("Ordered {} Cherries...", amount);
        self.order(&ctx, order).await
    }

    /// Orders oranges.
    #[activity(name = "order_oranges")]
    pub async fn order_oranges(
        self: Arc<Self>,
        ctx: ActivityContext,
        amount: u32,
    ) -> Result<String, ActivityError> {
        let order = format!("Ordered {} Oranges...", amount);
        self.order(&ctx, order).await
    }
}

impl FruitActivities {
    async fn order(&self, ctx: &ActivityContext, order: String) -> Result<String, ActivityError> {
        let Some(ledger) = self.ledger.clone() else {
            return Ok(order);
        };
        // An activity runs at least once: if a worker dies after the order, the server does not know about the
        // order, and the next attempt orders again. The ledger recognizes it because it has the same key.
        let key = idempotency_key(ctx.info())?;
        // File access blocks the thread, which other activities may need.
        let ordering = tokio::task::spawn_blocking(move || {
            ledger.order(&key, &order)?;
            anyhow::Ok(order)
        });
        Ok(ordering.await??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::ActivityEnvironment;

    /// Each activity runs without a server and without a worker.
    #[tokio::test]
    async fn orders_each_fruit() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder()
            .register_activities(FruitActivities { ledger: None })
            .build();
        assert_eq!(
            env.run(FruitActivities::order_apples, 8).await?,
            "Ordered 8 Apples..."
        );
        assert_eq!(
            env.run(FruitActivities::order_bananas, 5).await?,
            "Ordered 5 Bananas..."
        );
        assert_eq!(
            env.run(FruitActivities::order_cherries, 1).await?,
            "Ordered 1 Cherries..."
        );
        assert_eq!(
            env.run(FruitActivities::order_oranges, 4).await?,
            "Ordered 4 Oranges..."
        );
        Ok(())
    }
}
