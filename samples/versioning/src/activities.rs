//! The activities: `ship_order`, which the workflow always had, and `fraud_check`, which the change adds.

use crate::workflows::{Order, Receipt};
use anyhow::anyhow;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Type of the failure with which `fraud_check` refuses an order.
pub const FRAUD_SUSPECTED: &str = "FraudSuspected";

/// Highest price of an order that `fraud_check` accepts. In place of a real fraud detection service.
pub const MOST_CENTS: u64 = 1_000_000;

/// The activities of this sample, the same in every stage: a worker keeps an activity until no workflow can
/// schedule it any more.
pub struct OrderActivities;

#[activities]
impl OrderActivities {
    /// Refuses an order that looks like fraud.
    #[activity(name = "fraud_check")]
    pub async fn fraud_check(_ctx: ActivityContext, order: Order) -> Result<(), ActivityError> {
        let Order { number, cents } = order;
        if cents > MOST_CENTS {
            let refused = anyhow!("order {number} over {cents} cents is refused");
            return Err(ApplicationFailure::builder(refused)
                .type_name(FRAUD_SUSPECTED.to_owned())
                .non_retryable(true)
                .build()
                .into());
        }
        Ok(())
    }

    /// Hands the order to the carrier.
    #[activity(name = "ship_order")]
    pub async fn ship_order(_ctx: ActivityContext, order: Order) -> Result<Receipt, ActivityError> {
        let Order { number, .. } = order;
        Ok(Receipt {
            parcel: format!("parcel-{number}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::{ActivityEnvironment, ActivityEnvironmentError};

    /// The activity accepts an order at the limit. One cent more is a failure that is not retried.
    #[tokio::test]
    async fn refuses_above_the_limit() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let check = |cents| {
            let number = "A-17".to_owned();
            env.run(OrderActivities::fraud_check, Order { number, cents })
        };
        check(MOST_CENTS).await?;
        let refused = check(MOST_CENTS + 1).await;
        let Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) = refused
        else {
            anyhow::bail!("{refused:?}");
        };
        assert_eq!(failure.type_name(), Some(FRAUD_SUSPECTED));
        assert!(failure.is_non_retryable());
        Ok(())
    }

    /// The receipt has the number of the parcel.
    #[tokio::test]
    async fn ships() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let (number, parcel) = ("A-17".to_owned(), "parcel-A-17".to_owned());
        let order = Order { number, cents: 1 };
        let receipt = env.run(OrderActivities::ship_order, order);
        assert_eq!(receipt.await?, Receipt { parcel });
        Ok(())
    }
}
