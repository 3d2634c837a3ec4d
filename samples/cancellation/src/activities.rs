//! The activities: one works in steps until it must stop, and the other cleans up.

use shared::{Json, last_heartbeat, stopped};
use std::time::Duration;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// How long one step takes.
pub const STEP: Duration = Duration::from_millis(250);

/// The activities of this sample.
pub struct CancellationActivities;

#[activities]
impl CancellationActivities {
    /// Does one step after the other, and reports their number in a heartbeat after each.
    #[activity(name = "never_complete_activity")]
    pub async fn never_complete_activity(
        ctx: ActivityContext,
        _nothing: Json<()>,
    ) -> Result<(), ActivityError> {
        // Goes on after the last heartbeat of an earlier attempt, whose worker may have died.
        let mut done: u64 = last_heartbeat(&ctx).unwrap_or(0);
        tracing::info!(attempt = ctx.info().attempt, done, "working");
        loop {
            // One step. It ends early when the activity must stop.
            if tokio::time::timeout(STEP, ctx.cancelled()).await.is_ok() {
                tracing::info!(done, "told to stop");
                // `Ok` would report a completed activity. `ActivityError::cancelled()` is wrong if
                // the activity is paused, so `stopped` asks the server.
                return Err(stopped(&ctx).await);
            }
            done += 1;
            ctx.record_heartbeat(done).await?;
        }
    }

    /// Cleans up after the work.
    #[activity(name = "cleanup_activity")]
    pub async fn cleanup_activity(
        _ctx: ActivityContext,
        _nothing: Json<()>,
    ) -> Result<(), ActivityError> {
        tracing::info!("cleaning up");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use temporalio_sdk::testing::{
        ActivityEnvironment, ActivityEnvironmentError, TestActivityInfoOptions,
    };

    /// The activity goes on after the last heartbeat of an earlier attempt, and stops when its context is
    /// cancelled. Without a workflow that counts as a cancellation. `tests/operators.rs` tests the other
    /// reasons to stop.
    #[tokio::test]
    async fn resumes_and_stops() -> anyhow::Result<()> {
        let beats = Arc::new(Mutex::new(Vec::new()));
        let first_beat = Arc::new(tokio::sync::Notify::new());
        let (beaten, notify) = (beats.clone(), first_beat.clone());
        let info = TestActivityInfoOptions::builder().workflow_id(None);
        let env = ActivityEnvironment::builder_with_default()
            .info(info.build())
            .heartbeat_details(41_u64)?
            .on_heartbeat(move |done| {
                if let (Ok(done), Ok(mut beats)) = (done.downcast::<u64>(), beaten.lock()) {
                    beats.push(*done);
                }
                notify.notify_one();
            })
            .build();
        let cancelling = async {
            first_beat.notified().await;
            env.cancel();
        };
        let working = env.run(CancellationActivities::never_complete_activity, Json(()));
        let (result, ()) = futures::future::join(working, cancelling).await;
        let cancelled = ActivityEnvironmentError::Activity(ActivityError::cancelled());
        assert_eq!(
            result.map_err(|error| error.to_string()),
            Err(cancelled.to_string())
        );
        assert_eq!(beats.lock().map(|beats| beats.clone()).ok(), Some(vec![42]));
        Ok(())
    }
}
