//! The compensations of a saga: registered before their steps, and run in reverse order if a step fails.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use futures::{FutureExt, future::LocalBoxFuture};
use std::time::Duration;
use temporalio_sdk::{
    ActivityExecutionError, ActivityOptions, WorkflowCancellationToken, WorkflowContext,
    WorkflowResult, WorkflowTermination, workflows::join_all,
};

/// Time limit for one attempt. The attempts are not limited: the server retries until the step is undone.
const ATTEMPT: Duration = Duration::from_secs(10);

type Outcome = Result<(), ActivityExecutionError>;
type Compensation<'a> = Box<dyn FnOnce(ActivityOptions) -> LocalBoxFuture<'a, Outcome> + 'a>;

/// The compensations of all steps that may have happened.
pub struct Compensations<'a> {
    // The activities hold their token weakly, so it must live as long as they run.
    detached: WorkflowCancellationToken,
    registered: Vec<(&'static str, Compensation<'a>)>,
}

impl Default for Compensations<'_> {
    fn default() -> Self {
        Self {
            detached: WorkflowCancellationToken::new(),
            registered: Vec::new(),
        }
    }
}

impl<'a> Compensations<'a> {
    /// Registers a compensation. Call this before the step: if the step fails, nobody knows whether it has happened.
    ///
    /// # Errors
    /// If the workflow is cancelled. The step must not start then, so there is nothing to register.
    pub fn register<W, F: Future<Output = Outcome> + 'a>(
        &mut self,
        ctx: &WorkflowContext<W>,
        name: &'static str,
        compensate: impl FnOnce(ActivityOptions) -> F + 'a,
    ) -> WorkflowResult<()> {
        unless_cancelled(ctx)?;
        let compensate = Box::new(|options| compensate(options).boxed_local());
        self.registered.push((name, compensate));
        Ok(())
    }

    /// Undoes the steps in reverse order, or all at once if `parallel`, and returns how that went. A compensation that
    /// fails does not stop the others.
    pub async fn run(self, parallel: bool) -> Vec<(&'static str, Outcome)> {
        let undo = self.registered.into_iter().rev().map(|(name, compensate)| {
            // A token of its own. That of the workflow may be cancelled, and the activity would not even start.
            let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT)
                .cancellation_token(self.detached.clone());
            async move { (name, compensate(options.build()).await) }
        });
        if parallel {
            return join_all(undo).await;
        }
        let mut undone = Vec::new();
        for undo in undo {
            undone.push(undo.await);
        }
        undone
    }
}

/// Returns an error if the workflow is cancelled. To be called before each step: an activity that ignores a cancellation
/// does not return one.
///
/// # Errors
/// [`WorkflowTermination::Cancelled`].
pub fn unless_cancelled<W>(ctx: &WorkflowContext<W>) -> WorkflowResult<()> {
    match ctx.cancellation_token().is_cancelled() {
        true => Err(WorkflowTermination::cancelled()),
        false => Ok(()),
    }
}

/// Logs a compensation that failed for good.
pub fn compensation_failed<W>(
    ctx: &WorkflowContext<W>,
    name: &str,
    error: &ActivityExecutionError,
) {
    if !ctx.is_replaying() {
        let reason = error
            .reason()
            .map_or(error.to_string(), |reason| reason.to_string());
        let info = ctx.info();
        let workflow_id = info.workflow_id();
        tracing::error!(
            workflow_id,
            reason,
            "the compensation {name} failed, and a person must undo the step"
        );
    }
}
