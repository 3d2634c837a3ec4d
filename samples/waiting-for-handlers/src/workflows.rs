//! The workflows. Each lets its update handlers end before it ends itself, and the second one also compensates.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{
    activities::HandlerActivities,
    work::{WorkInput, WorkOutput, work},
};
use shared::Input;
use std::{error::Error, time::Duration};
use temporalio_common::{ActivityDefinition, error::ActivityExecutionError};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityOptions, ApplicationFailure, WaitConditionOptions,
    WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowResult,
};

/// Type of the failure of an update that ends because the workflow fails or is cancelled, or comes after that.
pub const WORKFLOW_EXITED: &str = "WorkflowExited";

/// Time limit for one attempt of an activity.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Error of a handler.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// Lets its updates finish, whether it completes, fails or is cancelled.
#[workflow]
#[derive(Default)]
pub struct WaitingForHandlersWorkflow {
    update_started: bool,
}

#[workflow_methods]
impl WaitingForHandlersWorkflow {
    /// Ends as the input says, when all handlers have finished.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<WorkInput>,
    ) -> WorkflowResult<WorkOutput> {
        // Without `?`, because the handlers must finish in any case.
        let ended = work(ctx, input, |workflow: &Self| workflow.update_started).await;
        handlers_finished(ctx).await?;
        ended
    }

    /// Does its work, even if the workflow fails or is cancelled meanwhile.
    #[update(name = "my_update")]
    pub async fn my_update(
        ctx: &mut WorkflowContext<Self>,
        _nothing: Input<()>,
    ) -> Result<String, HandlerError> {
        ctx.state_mut(|workflow| workflow.update_started = true);
        // Its own token, because that of the workflow would cancel the activity together with the workflow.
        let token = WorkflowCancellationToken::new();
        let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT_TIMEOUT)
            .cancellation_token(token.clone())
            .build();
        // Without `or_cancelled`, because an error ends the update and not the workflow.
        ctx.execute_activity(HandlerActivities::do_update, (), options)
            .await?;
        Ok("update-result".to_owned())
    }
}

/// Lets its updates finish if it completes. If it fails or is cancelled, its updates compensate first, and then the
/// workflow does.
#[workflow]
#[derive(Default)]
pub struct WaitingForHandlersAndCompensationWorkflow {
    update_started: bool,
    /// Cancelled as soon as the workflow fails or is cancelled, with the error as the reason.
    exit: WorkflowCancellationToken,
    update_compensation_done: bool,
    workflow_compensation_done: bool,
}

#[workflow_methods]
impl WaitingForHandlersAndCompensationWorkflow {
    /// Ends as the input says, when all handlers have finished and everything is compensated.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<WorkInput>,
    ) -> WorkflowResult<WorkOutput> {
        let ended = work(ctx, input, |workflow: &Self| workflow.update_started).await;
        if let Err(error) = &ended {
            let exit = ctx.state(|workflow| workflow.exit.clone());
            exit.cancel_with_reason(error.to_string());
        }
        handlers_finished(ctx).await?;
        if ended.is_err() {
            // After the updates have compensated, because they have built on what the workflow has done.
            compensate(ctx, HandlerActivities::undo_workflow).await?;
            ctx.state_mut(|workflow| workflow.workflow_compensation_done = true);
        }
        ended
    }

    /// Rejects an update as soon as the workflow fails or is cancelled. Otherwise it could begin while the workflow
    /// compensates, and nobody would wait for it.
    #[update_validator(my_update)]
    pub fn check_my_update(
        &self,
        _ctx: &WorkflowContextView,
        _nothing: &Input<()>,
    ) -> Result<(), HandlerError> {
        match self.exit.is_cancelled() {
            true => Err(exited("The workflow run is about to exit", &self.exit)),
            false => Ok(()),
        }
    }

    /// Does its work. Compensates if the work fails, or if the workflow fails or is cancelled meanwhile.
    #[update(name = "my_update")]
    pub async fn my_update(
        ctx: &mut WorkflowContext<Self>,
        _nothing: Input<()>,
    ) -> Result<String, HandlerError> {
        let exit = ctx.state_mut(|workflow| {
            workflow.update_started = true;
            workflow.exit.clone()
        });
        let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT_TIMEOUT)
            .cancellation_token(exit.clone())
            // The activity must have ended before the compensation begins.
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .build();
        let done = ctx.execute_activity(HandlerActivities::do_update, (), options);
        let failure = match done.await {
            // Even if the activity has succeeded, because it is undone now.
            _ if exit.is_cancelled() => {
                exited("The update failed because the workflow run exited", &exit)
            }
            Ok(()) => return Ok("update-result".to_owned()),
            Err(error) => error.into(),
        };
        compensate(ctx, HandlerActivities::undo_update).await?;
        ctx.state_mut(|workflow| workflow.update_compensation_done = true);
        Err(failure)
    }

    /// Returns whether an update has compensated.
    #[query(name = "update_compensation_done")]
    pub fn update_compensation_done(
        &self,
        _ctx: &WorkflowContextView,
        _nothing: Input<()>,
    ) -> bool {
        self.update_compensation_done
    }

    /// Returns whether the workflow has compensated.
    #[query(name = "workflow_compensation_done")]
    pub fn workflow_compensation_done(
        &self,
        _ctx: &WorkflowContextView,
        _nothing: Input<()>,
    ) -> bool {
        self.workflow_compensation_done
    }
}

/// Waits until all handlers have finished, also in a cancelled workflow.
async fn handlers_finished<W>(ctx: &WorkflowContext<W>) -> WorkflowResult<()> {
    // The wait has its own token, because that of the workflow may be cancelled.
    let token = WorkflowCancellationToken::new();
    let options = WaitConditionOptions::builder().cancellation_token(token.clone());
    ctx.wait_condition_with_options(|_| ctx.all_handlers_finished(), options.build())
        .await?;
    Ok(())
}

/// Runs an activity that compensates, also in a cancelled workflow, and retries it until it succeeds.
async fn compensate<W>(
    ctx: &WorkflowContext<W>,
    activity: impl ActivityDefinition<Input = (), Output = ()>,
) -> Result<(), ActivityExecutionError> {
    let token = WorkflowCancellationToken::new();
    let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT_TIMEOUT)
        .cancellation_token(token.clone())
        .build();
    ctx.execute_activity(activity, (), options).await
}

/// Returns the failure of an update, with the reason for the exit as its cause.
fn exited(message: &'static str, exit: &WorkflowCancellationToken) -> HandlerError {
    let reason = anyhow::Error::msg(exit.reason().unwrap_or_default());
    let failure = ApplicationFailure::builder(reason.context(message))
        .type_name(WORKFLOW_EXITED.to_owned())
        .non_retryable(true);
    failure.build().into()
}
