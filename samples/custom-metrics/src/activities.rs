//! The activities. Nothing in here counts anything.

#![allow(clippy::disallowed_methods, reason = "an activity may wait in earnest")]

use shared::Json;
use std::time::Duration;
use temporalio_common::error::ApplicationErrorCategory;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// How long the activity sleeps, so how long the other one waits.
pub const SLEEP: Duration = Duration::from_secs(1);

/// What is in stock of everything.
pub const IN_STOCK: u32 = 10;

/// Nobody orders more than this in earnest.
pub const PLAUSIBLE: u32 = 1_000;

/// The type of the failure that says "sold out".
pub const SOLD_OUT: &str = "SoldOut";

/// The activities of this sample.
pub struct MetricsActivities;

#[activities]
impl MetricsActivities {
    /// Prints, and sleeps.
    #[activity(name = "print_and_sleep")]
    pub async fn print_and_sleep(
        _ctx: ActivityContext,
        _nothing: Json<()>,
    ) -> Result<(), ActivityError> {
        tracing::info!("in the activity");
        tokio::time::sleep(SLEEP).await;
        Ok(())
    }

    /// Reserves so many pieces, if they are there.
    #[activity(name = "reserve_stock")]
    pub async fn reserve_stock(_ctx: ActivityContext, pieces: u32) -> Result<(), ActivityError> {
        let (message, kind, category) = match pieces {
            pieces if pieces <= IN_STOCK => return Ok(()),
            // An answer, not a fault: benign, so the SDK does not count it as a failure.
            pieces if pieces <= PLAUSIBLE => {
                ("sold out", SOLD_OUT, ApplicationErrorCategory::Benign)
            }
            _ => (
                "nobody orders so many in earnest",
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

    /// Sold out is benign, an implausible order is not; neither is worth another attempt.
    #[tokio::test]
    async fn reserves() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let reserve = async |pieces: u32| env.run(MetricsActivities::reserve_stock, pieces).await;
        reserve(IN_STOCK).await?;
        for (pieces, kind, category) in [
            (IN_STOCK + 1, SOLD_OUT, ApplicationErrorCategory::Benign),
            (
                PLAUSIBLE + 1,
                "Implausible",
                ApplicationErrorCategory::Unspecified,
            ),
        ] {
            let Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) =
                reserve(pieces).await
            else {
                anyhow::bail!("{pieces} reserved");
            };
            assert_eq!(failure.type_name(), Some(kind));
            assert_eq!(failure.category(), category);
            assert!(failure.is_non_retryable());
        }
        Ok(())
    }
}
