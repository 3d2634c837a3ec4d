//! One activity a fruit. In earnest each would call another supplier.

use shared::Input;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
pub struct FruitActivities;

#[activities]
impl FruitActivities {
    /// Orders apples.
    #[activity(name = "order_apples")]
    pub async fn order_apples(
        _ctx: ActivityContext,
        amount: Input<u32>,
    ) -> Result<String, ActivityError> {
        Ok(format!("Ordered {} Apples...", amount.valid()?))
    }

    /// Orders bananas.
    #[activity(name = "order_bananas")]
    pub async fn order_bananas(
        _ctx: ActivityContext,
        amount: Input<u32>,
    ) -> Result<String, ActivityError> {
        Ok(format!("Ordered {} Bananas...", amount.valid()?))
    }

    /// Orders cherries.
    #[activity(name = "order_cherries")]
    pub async fn order_cherries(
        _ctx: ActivityContext,
        amount: Input<u32>,
    ) -> Result<String, ActivityError> {
        Ok(format!("Ordered {} Cherries...", amount.valid()?))
    }

    /// Orders oranges.
    #[activity(name = "order_oranges")]
    pub async fn order_oranges(
        _ctx: ActivityContext,
        amount: Input<u32>,
    ) -> Result<String, ActivityError> {
        Ok(format!("Ordered {} Oranges...", amount.valid()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::ActivityEnvironment;

    /// Each activity alone, with neither server nor worker.
    #[tokio::test]
    async fn order() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        assert_eq!(
            env.run(FruitActivities::order_apples, 8.into()).await?,
            "Ordered 8 Apples..."
        );
        assert_eq!(
            env.run(FruitActivities::order_bananas, 5.into()).await?,
            "Ordered 5 Bananas..."
        );
        assert_eq!(
            env.run(FruitActivities::order_cherries, 1.into()).await?,
            "Ordered 1 Cherries..."
        );
        assert_eq!(
            env.run(FruitActivities::order_oranges, 4.into()).await?,
            "Ordered 4 Oranges..."
        );
        Ok(())
    }
}
