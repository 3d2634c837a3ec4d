//! The workflow. It is the same whether a schedule or a client starts it.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{Greeting, ScheduleActivities};
use shared::{Input, OrCancelled};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

/// Greets the name in the schedule's argument.
#[workflow]
#[derive(Default)]
pub struct YourSchedulesWorkflow;

#[workflow_methods]
impl YourSchedulesWorkflow {
    /// Returns the greeting.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        name: Input<String>,
    ) -> WorkflowResult<String> {
        let greeting = Greeting {
            greeting: "Hello".to_owned(),
            name: name.decode(ctx)?,
        };
        // The SDK's schedules set no timeout for their workflows, so the workflow limits its own time.
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        ctx.execute_activity(ScheduleActivities::your_activity, greeting, options)
            .await
            .or_cancelled(ctx)
    }
}
