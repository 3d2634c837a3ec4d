//! The activities. They contain no code for metrics.

use shared::Json;
use std::time::Duration;
use temporalio_common::error::ApplicationErrorCategory;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// How long the activity sleeps. The other activity waits for as long.
pub const SLEEP: Duration = Duration::from_secs(1);

/// Number of pieces in stock.
pub const IN_STOCK: u32 = 10;

/// Maximum number of pieces in one order.
pub const MAX_PIECES: u32 = 1_000;

/// Type of the failure when an order exceeds the stock.
pub const SOLD_OUT: &str = "SoldOut";

/// The activities of this sample.
pub struct MetricsActivities;

#[activities]
impl MetricsActivities {
    /// Writes a log line and sleeps.
    #[activity(name = "print_and_sleep")]
    pub async fn print_and_sleep(
        _ctx: ActivityContext,
        _nothing: Json<()>,
    ) -> Result<(), ActivityError> {
        tracing::info!("in the activity");
        tokio::time::sleep(SLEEP).await;
        Ok(())
    }

    /// Reserves pieces, if there are enough in stock.
    #[activity(name = "reserve_stock")]
    pub async fn reserve_stock(_ctx: ActivityContext, pieces: u32) -> Result<(), ActivityError> {
        let (message, kind, category) = match pieces {
            pieces if pieces <= IN_STOCK => return Ok(()),
            // An expected answer. The SDK does not count benign failures.
            pieces if pieces <= MAX_PIECES => (
                "sold out".to_owned(),
                SOLD_OUT,
                ApplicationErrorCategory::Benign,
            ),
            pieces => (
                format!("{pieces} pieces ordered, more than the limit of {MAX_PIECES}"),
                "Implausible",
                ApplicationErrorCategory::Unspecified,
            ),
        };
        let failure = ApplicationFailure::builder(message)
            .type_name(kind.to_owned())
            .category(category)
            .non_retryable(true);
        Err(failure.build().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::{ActivityEnvironment, ActivityEnvironmentError};

    /// "Sold out" is a benign failure, and an order above the limit is not. Neither is retried.
    #[tokio::test]
    async fn reserves() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let reserve = async |pieces: u32| env.run(MetricsActivities::reserve_stock, pieces).await;
        reserve(IN_STOCK).await?;
        for (pieces, kind, category) in [
            (IN_STOCK + 1, SOLD_OUT, ApplicationErrorCategory::Benign),
            (
                MAX_PIECES + 1,
                "Implausible",
                ApplicationErrorCategory::Unspecified,
            ),
        ] {
            let Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) =
                reserve(pieces).await
            else {
                anyhow::bail!("{pieces} pieces were reserved");
            };
            assert_eq!(failure.type_name(), Some(kind));
            assert_eq!(failure.category(), category);
            assert!(failure.is_non_retryable());
        }
        Ok(())
    }
}
