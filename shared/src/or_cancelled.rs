//! Ends a cancelled workflow as CANCELED even if an activity or a child returns another error.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use temporalio_sdk::{WorkflowContext, WorkflowResult, WorkflowTermination};

/// Adds [`OrCancelled::or_cancelled`] to the results of activities and children.
pub trait OrCancelled<T> {
    /// Returns the result, or the cancellation if it is an error and the workflow has been cancelled.
    ///
    /// With `?` alone, such a workflow ends FAILED instead of CANCELED. An activity that is being cancelled
    /// has no further attempt, so it fails if its worker dies just then. And an activity or a child may
    /// have failed by itself before a worker learned about the cancellation. An `Ok` stays, cancelled or
    /// not.
    ///
    /// ```
    /// # use shared::{Input, OrCancelled};
    /// # use std::time::Duration;
    /// # use temporalio_macros::{activities, workflow, workflow_methods};
    /// # use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};
    /// # use temporalio_sdk::activities::{ActivityContext, ActivityError};
    /// # struct Activities;
    /// # #[activities]
    /// # impl Activities {
    /// #     #[activity(name = "greet")]
    /// #     async fn greet(_ctx: ActivityContext) -> Result<String, ActivityError> { Ok(String::new()) }
    /// # }
    /// # #[workflow]
    /// # #[derive(Default)]
    /// # pub struct GreetingWorkflow;
    /// # #[workflow_methods]
    /// # impl GreetingWorkflow {
    /// # #[run]
    /// # pub async fn run(ctx: &mut WorkflowContext<Self>, _nothing: Input<()>) -> WorkflowResult<String> {
    /// let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(5));
    /// ctx.execute_activity(Activities::greet, (), options)
    ///     .await
    ///     .or_cancelled(ctx)
    /// # }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`WorkflowTermination::Cancelled`] in a cancelled workflow, and otherwise the error itself.
    fn or_cancelled<W>(self, ctx: &WorkflowContext<W>) -> WorkflowResult<T>;
}

impl<T, E: Into<WorkflowTermination>> OrCancelled<T> for Result<T, E> {
    fn or_cancelled<W>(self, ctx: &WorkflowContext<W>) -> WorkflowResult<T> {
        match self {
            Err(_) if ctx.cancellation_token().is_cancelled() => {
                Err(WorkflowTermination::cancelled())
            }
            other => other.map_err(Into::into),
        }
    }
}
