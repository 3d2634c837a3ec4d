//! The workflow. It validates its input from the client, and the result of the activity.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{activities::MyActivities, models::MyModels};
use shared::{Input, Json, OrCancelled};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

/// Passes a list of models to `my_activity`, and returns its result.
#[workflow]
#[derive(Default)]
pub struct MyWorkflow;

#[workflow_methods]
impl MyWorkflow {
    /// Returns the models.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        models: Input<MyModels>,
    ) -> WorkflowResult<MyModels> {
        // This check also runs on replay. So a rule that is added later would reject input that running workflows have
        // accepted, and they would no longer match their histories.
        let models = models.decode(ctx)?;
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(5));
        let Json(returned) = ctx
            .execute_activity(MyActivities::my_activity, models, options)
            .await
            .or_cancelled(ctx)?;
        Ok(returned)
    }
}
