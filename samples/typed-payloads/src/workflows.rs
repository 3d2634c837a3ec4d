//! The workflow: what it receives is checked twice, from the client and from the activity.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{activities::MyActivities, models::MyModels};
use shared::{Input, Json, OrCancelled};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

/// Has `my_activity` hand back a list of models.
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
        // Here, and so again on replay: a rule added later would refuse what running workflows
        // have accepted, which then do something else than their history says.
        let models = models.decode(ctx)?;
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(5));
        let Json(returned) = ctx
            .execute_activity(MyActivities::my_activity, models, options)
            .await
            .or_cancelled(ctx)?;
        Ok(returned)
    }
}
