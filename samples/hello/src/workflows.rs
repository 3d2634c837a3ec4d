//! The workflow: decides what happens, in which order, even if workers die on the way.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::HelloActivities;
use shared::{Input, OrCancelled};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

/// Greets the given name by running the `greet` activity.
#[workflow]
#[derive(Default)]
pub struct HelloWorkflow;

#[workflow_methods]
impl HelloWorkflow {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        name: Input<String>,
    ) -> WorkflowResult<String> {
        let name = name.decode(ctx)?;
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(5));
        ctx.execute_activity(HelloActivities::greet, name, options)
            .await
            // An error fails the workflow, unless it was cancelled in the meantime.
            .or_cancelled(ctx)
    }
}
