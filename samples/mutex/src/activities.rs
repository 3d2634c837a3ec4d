//! The activities. One asks for the lock, one uses the resource, and two tell others about it.

use crate::{
    ledger::Ledger,
    workflows::{LockRequest, LockWorkflow, lock_id},
};
use anyhow::anyhow;
use shared::stopped;
use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, SystemTime},
};
use temporalio_client::WorkflowStartOptions;
use temporalio_common::data_converters::{MultiArgs2, MultiArgs3};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};
use tokio::time::timeout;

/// Longest time between two heartbeats.
const STEP: Duration = Duration::from_millis(250);

/// The activities of this sample.
#[derive(Clone, Debug, Default)]
pub struct MutexActivities {
    /// Where the resource records who uses it.
    pub ledger: Option<Ledger>,
}

#[activities]
impl MutexActivities {
    /// Asks for the lock of a resource, and starts the lock if it is not running. Takes the id of the resource, the
    /// time of the lease in milliseconds, and the task queue of the lock.
    ///
    /// If an attempt is repeated, the lock gets the request twice, and ignores the second one.
    #[activity(name = "signalWithStartLockWorkflow")]
    pub async fn signal_with_start_lock_workflow(
        ctx: ActivityContext,
        arguments: MultiArgs3<String, NonZeroU32, String>,
    ) -> Result<(), ActivityError> {
        let MultiArgs3(resource_id, timeout_ms, task_queue) = arguments;
        let workflow_id = ctx.info().workflow_id.clone();
        let Some(initiator_id) = workflow_id.filter(|id| !id.is_empty()) else {
            let error = anyhow!("only an activity of a workflow can ask for a lock");
            return Err(ApplicationFailure::non_retryable(error).into());
        };
        let request = LockRequest {
            initiator_id,
            timeout_ms,
        };
        let options = WorkflowStartOptions::new(task_queue, lock_id(&resource_id)).build();
        ctx.client()
            .signal_with_start_workflow(
                LockWorkflow::run,
                (None, None).into(),
                LockWorkflow::lock_requested,
                request.into(),
                options,
            )
            .await?;
        Ok(())
    }

    /// Uses the resource for some milliseconds. Takes the token of the lease, too, so that the resource can refuse a
    /// holder whose lease is over.
    #[activity(name = "useAPIThatCantBeCalledInParallel")]
    pub async fn use_api(
        self: Arc<Self>,
        ctx: ActivityContext,
        arguments: MultiArgs2<u32, String>,
    ) -> Result<(), ActivityError> {
        let MultiArgs2(milliseconds, token) = arguments;
        let workflow_id = ctx.info().workflow_id.clone().unwrap_or_default();
        if let Some(ledger) = &self.ledger {
            ledger.enter(&token, &workflow_id)?;
        }
        let work = work(&ctx, Duration::from_millis(milliseconds.into()));
        // At the deadline the lease is over. The work must not go on until the server says so.
        let done = match timeout(time_left(&ctx), work).await {
            Ok(done) => done,
            Err(_) => {
                let error = anyhow!("the lease is over before the work is done");
                Err(ApplicationFailure::non_retryable(error).into())
            }
        };
        if let Some(ledger) = &self.ledger {
            ledger.leave(&token, &workflow_id)?;
        }
        done
    }

    /// Tells others that the resource is in use. Takes the id of the resource and the token of the lease.
    #[activity(name = "notifyLocked")]
    pub async fn notify_locked(
        _ctx: ActivityContext,
        arguments: MultiArgs2<String, String>,
    ) -> Result<(), ActivityError> {
        let MultiArgs2(resource_id, token) = arguments;
        tracing::info!(resource_id, token, "locked");
        Ok(())
    }

    /// Tells others that the resource is no longer in use.
    #[activity(name = "notifyUnlocked")]
    pub async fn notify_unlocked(
        _ctx: ActivityContext,
        resource_id: String,
    ) -> Result<(), ActivityError> {
        tracing::info!(resource_id, "unlocked");
        Ok(())
    }
}

/// Works, with heartbeats, so that the server notices soon if the worker dies.
async fn work(ctx: &ActivityContext, mut left: Duration) -> Result<(), ActivityError> {
    while !left.is_zero() {
        let step = left.min(STEP);
        // Ends early when the activity must stop.
        if timeout(step, ctx.cancelled()).await.is_ok() {
            return Err(stopped(ctx).await);
        }
        left -= step;
        ctx.record_heartbeat(()).await?;
    }
    Ok(())
}

/// Returns the time until the activity's deadline. Without a deadline, that is very long.
fn time_left(ctx: &ActivityContext) -> Duration {
    let deadline = ctx.info().deadline;
    deadline.map_or(Duration::MAX, |deadline| {
        deadline
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::{ActivityEnvironment, TestActivityInfoOptions};

    /// Runs `use_api` for 300 ms with this deadline. Returns how it ends, and whether it had a heartbeat.
    async fn use_api(deadline: Option<SystemTime>) -> (Result<(), String>, bool) {
        let (beat, beats) = std::sync::mpsc::channel();
        let info = TestActivityInfoOptions::builder().deadline(deadline);
        let env = ActivityEnvironment::builder()
            .register_activities(MutexActivities::default())
            .info(info.build())
            .on_heartbeat(move |_| {
                let _ = beat.send(());
            })
            .build();
        let arguments = MultiArgs2(300, "1764000000000".to_owned());
        let used = env.run(MutexActivities::use_api, arguments).await;
        (used.map_err(|e| e.to_string()), beats.try_recv().is_ok())
    }

    /// The activity sends heartbeats while it works, and stops when its lease is over.
    #[tokio::test]
    async fn works_until_the_deadline() {
        assert_eq!(use_api(None).await, (Ok(()), true));
        let (used, _) = use_api(Some(SystemTime::now() + Duration::from_millis(30))).await;
        let error = used.expect_err("the work takes longer");
        assert!(error.contains("the lease is over"), "{error}");
    }

    /// The lock answers a workflow, so an activity without one cannot ask for it.
    #[tokio::test]
    async fn needs_a_workflow() {
        let info = TestActivityInfoOptions::builder().workflow_id(None);
        let env = ActivityEnvironment::builder().info(info.build()).build();
        let arguments = MultiArgs3("printer".to_owned(), NonZeroU32::MIN, "queue".to_owned());
        let asked = env
            .run(MutexActivities::signal_with_start_lock_workflow, arguments)
            .await;
        let error = asked.expect_err("no workflow").to_string();
        assert!(error.contains("only an activity of a workflow"), "{error}");
    }
}
