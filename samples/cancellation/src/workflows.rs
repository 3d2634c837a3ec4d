//! The workflow: work that does not end by itself, and cleanup however the work ends.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::CancellationActivities;
use shared::Input;
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityOptions, WorkflowCancellationToken, WorkflowContext,
    WorkflowResult, WorkflowTermination,
};

/// Works until it is cancelled, cleans up, and ends CANCELED.
#[workflow]
#[derive(Default)]
pub struct CancellationWorkflow;

#[workflow_methods]
impl CancellationWorkflow {
    /// Returns nothing. Ends only when it is cancelled or the work fails.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, _nothing: Input<()>) -> WorkflowResult<()> {
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(1000))
            // After this time without a heartbeat, the server considers the worker dead. Heartbeats
            // also carry the cancellation: the activity learns about it from a heartbeat's response.
            .heartbeat_timeout(Duration::from_secs(2))
            // By default the workflow does not wait, and would clean up while the activity still
            // works.
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .build();
        let work_result = ctx
            .execute_activity(CancellationActivities::never_complete_activity, (), options)
            .await;
        // `work_result` alone does not show this. A cancelled activity has no further attempt, so it fails if
        // its worker dies before it has stopped.
        let cancelled = ctx.cancellation_token().is_cancelled();

        // No `?` on `work_result` before this, because cleanup must also run if the work has failed.
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(5))
            // A token of its own. The workflow's token is cancelled, so an activity with that token
            // would not even be scheduled.
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        // Not `or_cancelled` as in other samples, so that a failed cleanup fails the workflow.
        ctx.execute_activity(CancellationActivities::cleanup_activity, (), options)
            .await?;
        if cancelled {
            // `Ok` would end the workflow as COMPLETED, as if nothing had happened.
            return Err(WorkflowTermination::cancelled());
        }
        Ok(work_result?)
    }
}
