//! A timer during which a workflow can be cancelled.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use std::time::Duration;
use temporalio_sdk::{
    TimerOptions, WorkflowCancellationToken, WorkflowContext, WorkflowResult, WorkflowTermination,
    workflows::select,
};

/// Waits for a timer on the server, or returns an error as soon as the workflow is cancelled.
///
/// `ctx.timer(duration).await` alone has two traps in SDK 1.1.1. When cancelled, it returns
/// `TimerResult::Cancelled`, which is not an error, so code that ignores it continues as if the time had
/// passed. And if the timer fires after the cancellation, but before a worker has seen either, the SDK
/// panics (`resolution must have a registered unblocker`) at every attempt and the workflow never ends.
/// This timer therefore has its own cancellation token.
///
/// # Errors
/// [`WorkflowTermination::Cancelled`] if the workflow is cancelled, even if the time has passed as well.
pub async fn sleep<W>(ctx: &WorkflowContext<W>, duration: Duration) -> WorkflowResult<()> {
    let token = WorkflowCancellationToken::new();
    let timer = TimerOptions::builder(duration).cancellation_token(token.clone());
    select! {
        _ = ctx.timer(timer.build()) => {}
        // Cancel the timer only here, where it is known not to have fired.
        _ = ctx.cancelled() => token.cancel(),
    }
    // Both can arrive in one workflow task. A run that continued as new would lose the cancellation.
    if ctx.cancellation_token().is_cancelled() {
        return Err(WorkflowTermination::cancelled());
    }
    Ok(())
}
