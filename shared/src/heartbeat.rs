//! For activities that heartbeat: where an attempt resumes, and the error with which it stops.

use crate::idempotency::is_standalone;
use std::time::Duration;
use temporalio_client::{UntypedWorkflow, errors::WorkflowInteractionError};
use temporalio_common::{
    data_converters::TemporalDeserializable, error::ApplicationErrorCategory,
    protos::temporal::api::enums::v1::PendingActivityState,
};
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Type of the application failure with which [`stopped`] ends an attempt that nobody cancelled.
pub const STOPPED: &str = "Stopped";

/// How long to wait for the server to say why an attempt must stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns the details of the last heartbeat that an earlier attempt sent, or `None` if there are none.
///
/// Details that do not decode count as none, with a warning in the log. Another version of the activity
/// or a worker in another language may have sent them. As an error they would fail every attempt.
pub fn last_heartbeat<T: TemporalDeserializable + 'static>(ctx: &ActivityContext) -> Option<T> {
    match ctx.heartbeat_details().deserialize() {
        Ok(details) => details,
        Err(error) => {
            let attempt = ctx.info().attempt;
            tracing::warn!(%error, attempt, "the heartbeat details of an earlier attempt do not decode, so the work starts over");
            None
        }
    }
}

/// Returns the error for an attempt whose [`ActivityContext::cancelled`] has resolved.
///
/// That happens not only when the activity is cancelled, but also when it is paused, reset or timed
/// out, and when its worker shuts down. SDK 1.1.1 does not say which. An attempt that answers "cancelled"
/// to a pause is refused by the server and hangs, and no cancellation of its workflow reaches it any
/// more. So this function asks the server. If the activity is being cancelled, the error is
/// [`ActivityError::cancelled`]. Otherwise it is a failure of type [`STOPPED`], after which the server
/// starts another attempt as the retry policy says, and not before the activity is unpaused.
///
/// A local activity, which nobody can pause, and an activity without a workflow count as cancelled.
pub async fn stopped(ctx: &ActivityContext) -> ActivityError {
    let reason = match tokio::time::timeout(PATIENCE, state(ctx)).await {
        Ok(Ok(Some(PendingActivityState::CancelRequested))) => return ActivityError::cancelled(),
        Ok(Ok(Some(PendingActivityState::PauseRequested | PendingActivityState::Paused))) => {
            "the activity is paused".to_owned()
        }
        Ok(Ok(_)) => "the activity was reset or has timed out, or its worker shuts down".to_owned(),
        // A failure is right here too: an activity that is being cancelled has no further attempt.
        Ok(Err(error)) => format!("the server does not say why: {error}"),
        Err(_) => format!("the server does not say why within {PATIENCE:?}"),
    };
    tracing::info!(reason, "stopped, but not cancelled");
    let failure = ApplicationFailure::builder(format!("told to stop: {reason}"))
        .type_name(STOPPED.to_owned())
        // An operator or a deployment did it, so no alert should count it.
        .category(ApplicationErrorCategory::Benign)
        .build();
    failure.into()
}

/// Returns the activity's state on the server, if the activity is still pending there.
async fn state(
    ctx: &ActivityContext,
) -> Result<Option<PendingActivityState>, WorkflowInteractionError> {
    if ctx.info().is_local || is_standalone(ctx.info()) {
        return Ok(Some(PendingActivityState::CancelRequested));
    }
    let Some(workflow) = ctx.workflow_handle::<UntypedWorkflow>() else {
        return Ok(None);
    };
    let description = workflow.describe(Default::default()).await?;
    let pending = &description.raw().pending_activities;
    let activity = pending
        .iter()
        .find(|activity| activity.activity_id == ctx.info().activity_id);
    Ok(activity.map(|activity| activity.state()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };
    use temporalio_macros::activities;
    use temporalio_sdk::testing::{ActivityEnvironment, TestActivityInfoOptions};

    struct Counting;

    #[activities]
    impl Counting {
        #[activity(name = "count")]
        async fn count(ctx: ActivityContext) -> Result<Option<u64>, ActivityError> {
            Ok(last_heartbeat(&ctx))
        }

        #[activity(name = "stop")]
        async fn stop(ctx: ActivityContext) -> Result<(), ActivityError> {
            Err(stopped(&ctx).await)
        }
    }

    /// What is logged meanwhile.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Details that decode are returned, none are none, and those of another version are none too, with
    /// a warning.
    #[tokio::test]
    async fn heartbeats_of_earlier_attempts() -> anyhow::Result<()> {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let _logging = tracing::subscriber::set_default(subscriber.finish());

        let env = ActivityEnvironment::builder().build();
        assert_eq!(env.run(Counting::count, ()).await?, None);
        let env = ActivityEnvironment::builder_with_default().heartbeat_details(7_u64)?;
        assert_eq!(env.build().run(Counting::count, ()).await?, Some(7));
        assert!(log.0.lock().unwrap().is_empty());

        for foreign in [serde_json::json!({ "steps": 3 }), serde_json::json!("3")] {
            let env = ActivityEnvironment::builder_with_default().heartbeat_details(foreign)?;
            assert_eq!(env.build().run(Counting::count, ()).await?, None);
            let logged = std::mem::take(&mut *log.0.lock().unwrap());
            let logged = String::from_utf8(logged)?;
            assert!(
                logged.contains("WARN") && logged.contains("heartbeat details"),
                "{logged}"
            );
        }
        Ok(())
    }

    /// Local activities, and those without a workflow, count as cancelled: there is nobody to ask.
    #[tokio::test]
    async fn stops_without_asking() {
        let info = || TestActivityInfoOptions::builder();
        for info in [
            info().workflow_id(None).build(),
            info().is_local(true).build(),
        ] {
            let env = ActivityEnvironment::builder().info(info).build();
            let error = env.run(Counting::stop, ()).await.unwrap_err().to_string();
            assert!(error.contains("Cancelled"), "{error}");
        }
    }
}
