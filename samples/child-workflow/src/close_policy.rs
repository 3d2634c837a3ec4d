//! A parent that ends before its child, to show the parent close policies.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::workflows::{ComposeGreetingInput, ComposeGreetingWorkflow};
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, child_id};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ChildWorkflowOptions, ParentClosePolicy, WorkflowContext, WorkflowResult};

/// How long the child may take in total.
const CHILD_TIMEOUT: Duration = Duration::from_secs(600);

/// The parent close policy, as a flag and as JSON. The SDK's own enum supports neither.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ClosePolicy {
    /// The server terminates the child. This is the default.
    Terminate,
    /// The server cancels the child, which can clean up.
    RequestCancel,
    /// The child goes on.
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
    /// What happens to the child when the parent ends.
    pub policy: ClosePolicy,
    /// Whether to make the mistake of ending without waiting for the child's start.
    #[serde(default)]
    pub hasty: bool,
}

/// Starts a child that waits, and ends before the child does.
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
        let LeavingParentInput { policy, hasty } = input.decode(ctx)?;
        let child_id = child_id(ctx.workflow_id(), "child")?;
        let options = ChildWorkflowOptions::builder()
            .workflow_id(child_id.clone())
            .parent_close_policy(policy.into())
            // Nobody waits for this child, so nobody would notice that its signal never comes. A
            // child has no limit by default. A parent that waits for its child needs none.
            .execution_timeout(CHILD_TIMEOUT)
            .build();
        let input = ComposeGreetingInput {
            greeting: "Hello".to_owned(),
            name: "World".to_owned(),
            hold: true,
            ..Default::default()
        };
        let starting = ctx.start_child_workflow(ComposeGreetingWorkflow::run, input, options);
        if !hasty {
            // The server starts the child later, and not at all if the parent has closed by then,
            // whatever the policy.
            starting.await.or_cancelled(ctx)?;
        }
        Ok(child_id)
    }
}
