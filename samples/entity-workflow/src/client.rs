//! How a client changes an account, so that each change is applied once.

use crate::{
    account::Profile,
    workflows::{BETWEEN_RUNS, UserAccountWorkflow},
};
use std::time::Duration;
use temporalio_client::{
    Client, WorkflowExecuteUpdateOptions, WorkflowHandle, errors::WorkflowUpdateError, tonic::Code,
};

/// Pause before an update is sent again.
const PAUSE: Duration = Duration::from_millis(50);

/// An update of the account.
#[derive(Clone, Debug)]
pub enum Change {
    /// `update_profile`
    Profile(Profile),
    /// `suspend`
    Suspend,
    /// `reactivate`
    Reactivate,
}

/// Sends an update until the account has answered, always with the same id, so that the account applies it once.
///
/// Use a handle from `get_workflow_handle`, which reaches the current run. Choose the id before the first try, and
/// store it if your program must be able to try again after a restart.
///
/// # Errors
/// If the update is rejected or fails, and if the account does not exist or has been deleted.
pub async fn apply_once(
    account: &WorkflowHandle<Client, UserAccountWorkflow>,
    change: &Change,
    update_id: &str,
) -> Result<(), WorkflowUpdateError> {
    loop {
        let options = WorkflowExecuteUpdateOptions::builder()
            .update_id(update_id.to_owned())
            .build();
        let answer = match change.clone() {
            Change::Profile(profile) => {
                let update = UserAccountWorkflow::update_profile;
                account
                    .execute_update(update, profile.into(), options)
                    .await
            }
            Change::Suspend => {
                let update = UserAccountWorkflow::suspend;
                account.execute_update(update, ().into(), options).await
            }
            Change::Reactivate => {
                let update = UserAccountWorkflow::reactivate;
                account.execute_update(update, ().into(), options).await
            }
        };
        match answer {
            Err(error) if is_temporary(&error) => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

/// Whether the same update may succeed if it is sent again.
fn is_temporary(error: &WorkflowUpdateError) -> bool {
    match error {
        WorkflowUpdateError::Failed(failure) => failure
            .maybe_application_failure()
            .is_some_and(|info| info.r#type == BETWEEN_RUNS),
        // The server is busy, does not answer, or has rejected the workflow task that contained the update.
        WorkflowUpdateError::Rpc(status) => [
            Code::Aborted,
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::FailedPrecondition,
            Code::ResourceExhausted,
            Code::Unavailable,
        ]
        .contains(&status.code()),
        _ => false,
    }
}
