//! The workflow: like any other, for it cannot tell how its worker is connected.

use shared::Input;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

/// Processes data that came, and goes back, by a connection that both ends have proved.
#[workflow]
#[derive(Default)]
pub struct SecureWorkflow;

#[workflow_methods]
impl SecureWorkflow {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        data: Input<String>,
    ) -> WorkflowResult<String> {
        let data = data.decode(ctx)?;
        Ok(format!("Securely processed: {data}"))
    }
}
