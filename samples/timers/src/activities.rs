//! The activities. They take a while, and stop early when they are told to.

use shared::{Json, stopped};
use std::{num::NonZeroU64, sync::Arc, time::Duration};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};
use tokio::time::timeout;

/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// The activities of this sample.
#[derive(Clone, Debug, Default)]
pub struct OrderActivities {
    /// Whether the e-mail service is down.
    pub email_down: bool,
}

#[activities]
impl OrderActivities {
    /// Processes an order. That takes half of the attempt's time limit.
    #[activity(name = "processOrder")]
    pub async fn process_order(
        ctx: ActivityContext,
        _nothing: Json<()>,
    ) -> Result<(), ActivityError> {
        let info = ctx.info();
        let limit = match (info.started_time, info.deadline) {
            (Some(started), Some(deadline)) => deadline.duration_since(started).ok(),
            _ => None,
        };
        work(&ctx, limit.unwrap_or_default() / 2).await
    }

    /// Tells the customer that the order takes longer. It only logs: your own code sends the e-mail here.
    #[activity(name = "sendNotificationEmail")]
    pub async fn send_notification_email(
        self: Arc<Self>,
        _ctx: ActivityContext,
        _nothing: Json<()>,
    ) -> Result<(), ActivityError> {
        if self.email_down {
            let failure = ApplicationFailure::builder("the e-mail service is down");
            return Err(failure
                .type_name("EmailServiceDown".to_owned())
                .build()
                .into());
        }
        tracing::info!("e-mail sent: your order takes longer than expected");
        Ok(())
    }

    /// Works for this number of milliseconds.
    #[activity(name = "do_work")]
    pub async fn do_work(
        ctx: ActivityContext,
        milliseconds: Json<NonZeroU64>,
    ) -> Result<(), ActivityError> {
        work(&ctx, Duration::from_millis(milliseconds.0.get())).await
    }

    /// Cleans up after work that has not been completed.
    #[activity(name = "clean_up")]
    pub async fn clean_up(_ctx: ActivityContext, _nothing: Json<()>) -> Result<(), ActivityError> {
        tracing::info!("cleaning up");
        Ok(())
    }
}

/// Works for this time, or until the activity must stop. It learns that from the responses to its heartbeats.
async fn work(ctx: &ActivityContext, time: Duration) -> Result<(), ActivityError> {
    let until_stopped = async {
        while timeout(HEARTBEAT, ctx.cancelled()).await.is_err() {
            ctx.record_heartbeat(()).await?;
        }
        Err(stopped(ctx).await)
    };
    // No error means that the time is up, and with it the work is done.
    timeout(time, until_stopped).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;
    use temporalio_sdk::testing::{
        ActivityEnvironment, ActivityEnvironmentError, TestActivityInfoOptions,
    };

    fn env(limit: Duration) -> ActivityEnvironment {
        let started = SystemTime::now();
        let info = TestActivityInfoOptions::builder()
            .workflow_id(None)
            .started_time(Some(started))
            .deadline(started.checked_add(limit));
        ActivityEnvironment::builder().info(info.build()).build()
    }

    /// An order takes half of its time limit.
    #[tokio::test]
    async fn takes_half_of_the_limit() -> anyhow::Result<()> {
        let begin = std::time::Instant::now();
        let env = env(Duration::from_millis(100));
        env.run(OrderActivities::process_order, Json(())).await?;
        assert!(begin.elapsed() >= Duration::from_millis(50));
        Ok(())
    }

    /// Work that is cancelled ends before its time, as cancelled.
    #[tokio::test]
    async fn stops() -> anyhow::Result<()> {
        let env = env(Duration::from_secs(3600));
        env.cancel();
        for result in [
            env.run(OrderActivities::process_order, Json(())).await,
            env.run(OrderActivities::do_work, Json(NonZeroU64::MAX))
                .await,
        ] {
            let cancelled = ActivityEnvironmentError::Activity(ActivityError::cancelled());
            let result = result.map_err(|error| error.to_string());
            assert_eq!(result, Err(cancelled.to_string()));
        }
        Ok(())
    }
}
