//! The workflow: work that does not end by itself, and cleanup whatever becomes of it.

use crate::activities::CancellationActivities;
use shared::Input;
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityOptions, WorkflowCancellationToken, WorkflowContext,
    WorkflowResult, WorkflowTermination,
};

/// Works until it is cancelled, then cleans up, then ends CANCELED.
#[workflow]
#[derive(Default)]
pub struct CancellationWorkflow;

#[workflow_methods]
impl CancellationWorkflow {
    /// Returns nothing, and not before it is cancelled.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, nothing: Input<()>) -> WorkflowResult<()> {
        nothing.valid()?;
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(1000))
            // The longest that a dead worker stays unnoticed. And without heartbeats no
            // cancellation: the activity hears of it in the answer to one.
            .heartbeat_timeout(Duration::from_secs(2))
            // By default the workflow would go on at once, and clean up beside an activity that
            // still works.
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .build();
        let worked = ctx
            .execute_activity(CancellationActivities::never_complete_activity, (), options)
            .await;
        // `worked` alone does not tell: an activity that is being cancelled has no other attempt, so it
        // fails if its worker dies just then.
        let cancelled = ctx.cancellation_token().is_cancelled();

        // Not `?` on `worked` before this: cleanup is for the bad ends too.
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(5))
            // A token of its own. The workflow's is cancelled by now, and an activity on it would
            // not even be scheduled.
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        // Not `or_cancelled`, as in other samples: a cleanup that has failed must show.
        ctx.execute_activity(CancellationActivities::cleanup_activity, (), options)
            .await?;
        if cancelled {
            // CANCELED. `Ok` would make it COMPLETED, as if nothing had happened.
            return Err(WorkflowTermination::cancelled());
        }
        Ok(worked?)
    }
}
