//! A wait for a condition with a time limit.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use std::time::Duration;
use temporalio_sdk::{
    TimerOptions, WorkflowCancellationToken, WorkflowContext, WorkflowResult, workflows::select,
};

/// Waits until the condition holds, but no longer than `limit`, and returns whether it holds.
///
/// The SDK's `wait_condition` has no limit, and its timer has the traps that [`sleep`](crate::sleep)
/// avoids. A timer that is no longer needed is cancelled: otherwise it would stay in the history, and wake
/// the workflow for nothing. If the condition comes true in the workflow task in which the timer fires, the
/// condition counts.
///
/// # Errors
/// [`WorkflowTermination::Cancelled`](temporalio_sdk::WorkflowTermination::Cancelled) if the workflow is
/// cancelled first.
pub async fn wait_up_to<W>(
    ctx: &WorkflowContext<W>,
    limit: Duration,
    condition: impl Fn(&W) -> bool,
) -> WorkflowResult<bool> {
    if ctx.state(&condition) {
        return Ok(true);
    }
    let token = WorkflowCancellationToken::new();
    let timer = TimerOptions::builder(limit).cancellation_token(token.clone());
    select! {
        holds = ctx.wait_condition(|state| condition(state)) => {
            token.cancel();
            holds?;
            Ok(true)
        }
        _ = ctx.timer(timer.build()) => Ok(false),
    }
}
