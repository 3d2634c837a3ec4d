//! The workflow. It is like any other, because a workflow does not depend on how its worker connects.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use shared::Input;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

/// Processes data that travels over a connection on which both ends are authenticated.
#[workflow]
#[derive(Default)]
pub struct SecureWorkflow;

#[workflow_methods]
impl SecureWorkflow {
    /// Returns the processed data.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        data: Input<String>,
    ) -> WorkflowResult<String> {
        let data = data.decode(ctx)?;
        Ok(format!("Securely processed: {data}"))
    }
}
