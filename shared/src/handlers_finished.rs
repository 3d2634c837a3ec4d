//! A wait for the handlers of a workflow that ends.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use temporalio_sdk::{
    WaitConditionOptions, WorkflowCancellationError, WorkflowCancellationToken, WorkflowContext,
};

/// Waits until all handlers have finished, also in a cancelled workflow.
///
/// The end of a workflow aborts the handlers that have not finished: the callers of their updates get an
/// error, although the update may have had an effect. Call this before each end of a workflow whose handlers
/// await something, whether it completes, fails, is cancelled or continues as new. Await nothing between this
/// call and the end, because another handler could begin meanwhile.
///
/// # Errors
/// Never in SDK 1.1.1: the wait has its own token, which nobody cancels.
pub async fn handlers_finished<W>(
    ctx: &WorkflowContext<W>,
) -> Result<(), WorkflowCancellationError> {
    // In a variable, because the wait does not keep it alive.
    let token = WorkflowCancellationToken::new();
    let options = WaitConditionOptions::builder().cancellation_token(token.clone());
    ctx.wait_condition_with_options(|_| ctx.all_handlers_finished(), options.build())
        .await
}
