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

/// How a compensation ends.
pub type Outcome = Result<(), ActivityExecutionError>;
type Compensation<'a> = Box<dyn FnOnce(ActivityOptions) -> LocalBoxFuture<'a, Outcome> + 'a>;

/// The compensations of all steps that may have happened, with their names.
#[derive(Default)]
pub struct Compensations<'a>(Vec<(&'static str, Compensation<'a>)>);

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
        self.0.push((name, compensate));
        Ok(())
    }

    /// Undoes the steps in reverse order, or all at once if `parallel`, and reports how each compensation ends. One that
    /// fails does not stop the others.
    pub async fn run(self, parallel: bool, report: impl Fn(&'static str, Outcome)) {
        // The workflow's own token may be cancelled, and then no activity would start. The activities hold their token
        // weakly, so this one must live until they have ended.
        let detached = WorkflowCancellationToken::new();
        let undo = self.0.into_iter().rev().map(async |(name, compensate)| {
            let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT)
                .cancellation_token(detached.clone());
            report(name, compensate(options.build()).await);
        });
        if parallel {
            join_all(undo).await;
        } else {
            for undo in undo {
                undo.await;
            }
        }
    }
}

/// Returns an error if the workflow is cancelled. Call this before each step: an activity that ignores its cancellation
/// returns no error.
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
