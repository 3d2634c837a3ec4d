//! Waiting for a child workflow, in a parent that can be cancelled.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::OrCancelled;
use futures::FutureExt;
use std::pin::pin;
use temporalio_common::{WorkflowDefinition, data_converters::TemporalDeserializable};
use temporalio_sdk::{
    CancelExternalWorkflowError, StartedChildWorkflow, WorkflowContext, WorkflowResult,
    workflows::select,
};

/// Waits for the result of the child `id`. When `stop` resolves, cancels the child first.
///
/// Pass `ctx.cancelled()` as `stop` to pass on a cancellation of the workflow, and start the child with a
/// `cancellation_token` of its own, so that the SDK does not cancel it too. The SDK (1.1.1) would cancel
/// only the child's first run, so the cancellation would miss a later run and the parent would wait
/// forever. If an operator has terminated the child in the meantime, the SDK would even fail the
/// parent's workflow task forever, with `Invalid transition in state machine`.
///
/// # Errors
/// [`temporalio_sdk::WorkflowTermination::Cancelled`] if the workflow is cancelled and the child does not
/// complete, otherwise the failure of the child.
pub async fn child_result<W, WD>(
    ctx: &WorkflowContext<W>,
    id: String,
    child: StartedChildWorkflow<WD>,
    stop: impl Future,
) -> WorkflowResult<WD::Output>
where
    WD: WorkflowDefinition,
    WD::Output: TemporalDeserializable + 'static,
{
    let mut result = child.result();
    let mut stop = pin!(stop.fuse());
    let result = select! {
        result = &mut result => result,
        // By its id alone, which is that of the current run.
        _ = stop.as_mut() => match ctx.external_workflow(id, None).cancel(None).await {
            // A child that is not found has just ended. Its result tells how.
            Ok(()) | Err(CancelExternalWorkflowError::NotFound(_)) => result.await,
            Err(other) => return Err(other).or_cancelled(ctx),
        },
    };
    result.or_cancelled(ctx)
}
