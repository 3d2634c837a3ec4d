//! A timer that a workflow can be cancelled in.

use std::time::Duration;
use temporalio_sdk::{
    TimerOptions, WorkflowCancellationToken, WorkflowContext, WorkflowResult, WorkflowTermination,
    workflows::select,
};

/// Waits by a timer on the server; ends the workflow as cancelled if that is asked for meanwhile.
///
/// `ctx.timer(duration).await` alone has two traps, in 1.1.1 of the SDK. Cancelled, it returns
/// `TimerResult::Cancelled`, which is no error: who overlooks it goes on as if the time had passed.
/// And if the timer fires after the cancellation, but before a worker has seen either, the SDK panics
/// (`resolution must have a registered unblocker`) at every attempt, and the workflow never ends. So this
/// timer has a token of its own.
///
/// # Errors
/// [`WorkflowTermination::Cancelled`] if the workflow is cancelled; also when the time has passed too.
pub async fn sleep<W>(ctx: &WorkflowContext<W>, duration: Duration) -> WorkflowResult<()> {
    let token = WorkflowCancellationToken::new();
    let timer = TimerOptions::builder(duration).cancellation_token(token.clone());
    select! {
        _ = ctx.timer(timer.build()) => {}
        // Only now, when the timer is known not to have fired.
        _ = ctx.cancelled() => token.cancel(),
    }
    // Both may have come in one workflow task. Who then continues as new leaves the request behind.
    if ctx.cancellation_token().is_cancelled() {
        return Err(WorkflowTermination::cancelled());
    }
    Ok(())
}
