//! The runs of a workflow that continued as new: one workflow id, many histories.

use temporalio_client::{Client, WorkflowHandle, errors::WorkflowInteractionError};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::history::v1::{HistoryEvent, history_event::Attributes},
};

/// The history of each run, from the one that `handle` was started with to the last.
///
/// # Errors
/// If the server does not know the workflow.
pub async fn histories<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> Result<Vec<Vec<HistoryEvent>>, WorkflowInteractionError> {
    let (mut info, mut histories) = (handle.info().clone(), Vec::new());
    loop {
        let run = WorkflowHandle::<_, W>::new(handle.client().clone(), info.clone());
        let history = run.fetch_history(Default::default()).into_events().await?;
        let last = history.last().and_then(|event| event.attributes.as_ref());
        let next = match last {
            Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(continued)) => {
                Some(continued.new_execution_run_id.clone())
            }
            _ => None,
        };
        histories.push(history);
        if next.is_none() {
            return Ok(histories);
        }
        info.run_id = next;
    }
}
