//! A parent that ends before its child, for what the parent close policy then does.

use crate::workflows::{ComposeGreetingInput, ComposeGreetingWorkflow};
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, child_id};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ChildWorkflowOptions, ParentClosePolicy, WorkflowContext, WorkflowResult};

/// What is to become of the child, as a flag and as JSON; the SDK's own enum is neither.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ClosePolicy {
    /// It is terminated; what the server does if nothing else is asked for.
    Terminate,
    /// It is asked to end, and may clean up.
    RequestCancel,
    /// It goes on.
    Abandon,
}

impl From<ClosePolicy> for ParentClosePolicy {
    fn from(policy: ClosePolicy) -> Self {
        match policy {
            ClosePolicy::Terminate => Self::Terminate,
            ClosePolicy::RequestCancel => Self::RequestCancel,
            ClosePolicy::Abandon => Self::Abandon,
        }
    }
}

/// The input of [`LeavingParentWorkflow`]: `{"policy":"abandon"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LeavingParentInput {
    /// What is to become of the child.
    pub policy: ClosePolicy,
    /// Whether to end without waiting for the child's start, which is a mistake.
    #[serde(default)]
    pub hasty: bool,
}

/// Starts a child that waits, and ends.
#[workflow]
#[derive(Default)]
pub struct LeavingParentWorkflow;

#[workflow_methods]
impl LeavingParentWorkflow {
    /// Returns the child's workflow id.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<LeavingParentInput>,
    ) -> WorkflowResult<String> {
        let LeavingParentInput { policy, hasty } = input.valid()?;
        let child_id = child_id(ctx.workflow_id(), "child")?;
        let options = ChildWorkflowOptions::builder()
            .workflow_id(child_id.clone())
            .parent_close_policy(policy.into())
            // By default a child has no limit, and nobody waits for this one to miss it.
            .execution_timeout(Duration::from_secs(600))
            .build();
        let input = ComposeGreetingInput {
            greeting: "Hello".to_owned(),
            name: "World".to_owned(),
            hold: true,
            ..Default::default()
        };
        let starting = ctx.start_child_workflow(ComposeGreetingWorkflow::run, input, options);
        if !hasty {
            // So far the start is only recorded. The server carries it out later, and not at all
            // if the parent has closed by then, whatever the policy.
            starting.await.or_cancelled(ctx)?;
        }
        Ok(child_id)
    }
}
