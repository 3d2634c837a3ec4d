//! The workflow. Nothing in it is about encryption.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use shared::Input;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

/// Greets the given name.
#[workflow]
#[derive(Default)]
pub struct Workflow;

#[workflow_methods]
impl Workflow {
    /// Returns the greeting.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        name: Input<String>,
    ) -> WorkflowResult<String> {
        let name = name.decode(ctx)?;
        Ok(format!("Hello, {name}"))
    }
}
