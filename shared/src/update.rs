//! How a client tells a rejected update from a failed one.

use anyhow::Context;
use temporalio_client::{
    Client, UntypedUpdate, UntypedWorkflow, WorkflowHandle, WorkflowUpdateHandle,
    errors::WorkflowUpdateError,
};

/// Returns whether an update whose `get_result` has failed was rejected.
///
/// The client gets the same error, `WorkflowUpdateError::Failed`, if the validator rejects an update and if its
/// handler fails. But a rejected update has changed nothing and is not in the history, whereas a failed one may
/// have done part of its work. The server forgets a rejected update at once, so this asks for it again.
///
/// A client that knows the types of the failures does not need this: a validator can give its failures a type
/// that no handler uses, and [`TypedFailures`](crate::TypedFailures) keeps it.
///
/// # Errors
/// If the server does not answer, or the workflow no longer exists.
pub async fn was_rejected<T>(
    client: &Client,
    update: &WorkflowUpdateHandle<Client, T>,
) -> anyhow::Result<bool> {
    let by_id = client.get_workflow_handle::<UntypedWorkflow>(update.workflow_id());
    let mut info = by_id.info().clone();
    // The run that got the update may have continued as new.
    info.run_id = update.workflow_run_id().map(str::to_owned);
    let workflow = WorkflowHandle::<Client, UntypedWorkflow>::new(client.clone(), info);
    let again = workflow.get_update_handle(UntypedUpdate::new(""), update.id());
    match again.get_result(Default::default()).await {
        Ok(_) | Err(WorkflowUpdateError::Failed(_)) => Ok(false),
        Err(WorkflowUpdateError::NotFound(status)) if status.message().starts_with("update ") => {
            Ok(true)
        }
        Err(error) => Err(error).context("cannot ask the server whether the update was rejected"),
    }
}
