//! The activities: one local, two regular. Each runs inside its own span, and can read the starter's baggage.

use opentelemetry::{Context, baggage::BaggageExt, trace::TraceContextExt};
use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Baggage key of the buyer.
pub const TENANT: &str = "tenant";

/// Type of the failure when a payment is declined.
pub const DECLINED: &str = "Declined";

/// Input of `charge`: `{"failures":0}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ChargeInput {
    /// Number of attempts that fail before one succeeds.
    pub failures: u32,
}

/// The activities of this sample.
pub struct CheckoutActivities;

#[activities]
impl CheckoutActivities {
    /// Checks the stock, which is always sufficient.
    #[activity(name = "check_stock")]
    pub async fn check_stock(_ctx: ActivityContext, _item: String) -> Result<(), ActivityError> {
        Ok(())
    }

    /// Charges the tenant that the baggage names.
    #[activity(name = "charge")]
    pub async fn charge(ctx: ActivityContext, input: ChargeInput) -> Result<String, ActivityError> {
        let ChargeInput { failures } = input;
        let (attempt, context) = (ctx.info().attempt, Context::current());
        // From the header of the task: no workflow passes it on as an argument. Anyone who can start a
        // workflow can set it, so use it to tell requests apart, and never to grant access.
        let tenant = context.baggage().get(TENANT).map(ToString::to_string);
        let tenant = tenant.as_deref().unwrap_or("nobody");
        // Leads from a line in the log to its trace.
        let trace_id = context.span().span_context().trace_id();
        tracing::info!(tenant, %trace_id, "charging");
        if attempt > failures {
            return Ok(format!("{tenant} pays"));
        }
        let failure = ApplicationFailure::builder(format!("attempt {attempt} was declined"));
        Err(failure.type_name(DECLINED.to_owned()).build().into())
    }

    /// Books a courier, who always uses a bicycle.
    #[activity(name = "book_courier")]
    pub async fn book_courier(
        _ctx: ActivityContext,
        item: String,
    ) -> Result<String, ActivityError> {
        Ok(format!("{item} by bicycle"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::{KeyValue, trace::FutureExt};
    use temporalio_sdk::testing::{ActivityEnvironment, ActivityEnvironmentError};

    /// The tenant in the baggage pays. Without baggage, nobody pays.
    #[tokio::test]
    async fn charges_the_tenant() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let charge = || {
            let input = ChargeInput { failures: 0 };
            env.run(CheckoutActivities::charge, input)
        };
        assert_eq!(charge().await?, "nobody pays");
        let context = Context::new().with_baggage([KeyValue::new(TENANT, "acme")]);
        assert_eq!(charge().with_context(context).await?, "acme pays");
        Ok(())
    }

    /// An attempt that must fail does so with a type, and can be retried.
    #[tokio::test]
    async fn declines() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let input = ChargeInput { failures: 1 };
        let Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) =
            env.run(CheckoutActivities::charge, input).await
        else {
            anyhow::bail!("charged");
        };
        assert_eq!(failure.type_name(), Some(DECLINED));
        assert!(!failure.is_non_retryable());
        Ok(())
    }
}
