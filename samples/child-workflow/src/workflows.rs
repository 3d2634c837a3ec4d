//! The child, and two parents: one that waits for it, and one that also signals it.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, child_id, child_result};
use temporalio_common::error::WorkflowSignalError;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, ChildWorkflowOptions, ParentClosePolicy, SignalWorkflowOptions,
    SyncWorkflowContext, WorkflowCancellationToken, WorkflowContext, WorkflowResult,
    WorkflowTermination,
};

/// The input of [`ComposeGreetingWorkflow`]: `{"greeting":"Hello","name":"World"}`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ComposeGreetingInput {
    /// The word that greets.
    pub greeting: String,
    /// The name to greet.
    pub name: String,
    /// Whether to wait for the signal `release` first.
    ///
    /// The JSON has this field and the next one only if they are set, because workers in other
    /// languages that serve this workflow type do not know them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// How many attempts fail before one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
}

/// Composes a greeting, at once unless its input says otherwise.
#[workflow]
#[derive(Default)]
pub struct ComposeGreetingWorkflow {
    released: bool,
}

#[workflow_methods]
impl ComposeGreetingWorkflow {
    /// Returns `{greeting}, {name}!`.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<ComposeGreetingInput>,
    ) -> WorkflowResult<String> {
        let input = input.decode(ctx)?;
        if ctx.cancellation_token().is_cancelled() {
            // A cancellation may arrive in the pause before an attempt. If this attempt failed, the
            // server would start another one, which would not know about the cancellation.
            return Err(WorkflowTermination::cancelled());
        }
        let attempt = ctx.info().attempt();
        if attempt <= input.failures.unwrap_or_default() {
            let failure = ApplicationFailure::builder(format!("attempt {attempt} failed"));
            return Err(failure.type_name("NotYet".to_owned()).build().into());
        }
        if input.hold {
            // If the child is cancelled, this returns an error and the child ends CANCELED.
            ctx.wait_condition(|child| child.released).await?;
        }
        Ok(format!("{}, {}!", input.greeting, input.name))
    }

    /// Releases a child that waits because of `hold`. `Input` accepts any argument, because a signal
    /// that does not decode would hang the workflow.
    #[signal]
    pub fn release(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.released = true;
    }
}

/// Greets the given name by starting a child and waiting for its result.
#[workflow]
#[derive(Default)]
pub struct GreetingWorkflow;

#[workflow_methods]
impl GreetingWorkflow {
    /// Returns `Hello, {name}!`.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        name: Input<String>,
    ) -> WorkflowResult<String> {
        let input = ComposeGreetingInput {
            greeting: "Hello".to_owned(),
            name: name.decode(ctx)?,
            ..Default::default()
        };
        if ctx.cancellation_token().is_cancelled() {
            return Err(WorkflowTermination::cancelled());
        }
        // Only one running workflow of a namespace can have an id. This one comes from the parent's
        // id, so parents can run side by side.
        let id = child_id(ctx.workflow_id(), "child")?;
        let options = ChildWorkflowOptions::builder()
            .workflow_id(id.clone())
            // The child goes on if the parent is terminated or times out. A cancellation of the parent
            // still reaches the child.
            .parent_close_policy(ParentClosePolicy::Abandon)
            // `child_result` cancels the child, and the SDK must not.
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        // The start fails if the id is in use. The result fails if the child does.
        let child = ctx
            .start_child_workflow(ComposeGreetingWorkflow::run, input, options)
            .await
            .or_cancelled(ctx)?;
        child_result(ctx, id, child, ctx.cancelled()).await
    }
}

/// Starts a child that waits, releases it by a signal, and waits for its result.
#[workflow]
#[derive(Default)]
pub struct AdvancedParentWorkflow;

#[workflow_methods]
impl AdvancedParentWorkflow {
    /// Returns `Hi, {name}!`.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        name: Input<String>,
    ) -> WorkflowResult<String> {
        let input = ComposeGreetingInput {
            greeting: "Hi".to_owned(),
            name: name.decode(ctx)?,
            hold: true,
            ..Default::default()
        };
        if ctx.cancellation_token().is_cancelled() {
            return Err(WorkflowTermination::cancelled());
        }
        let id = child_id(ctx.workflow_id(), "child")?;
        let options = ChildWorkflowOptions::builder()
            .workflow_id(id.clone())
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        let child = ctx
            .start_child_workflow(ComposeGreetingWorkflow::run, input, options)
            .await
            .or_cancelled(ctx)?;
        let signalled = child
            .signal(
                ComposeGreetingWorkflow::release,
                ().into(),
                // SDK 1.1.1 fails the workflow task forever if it cancels a signal that has failed.
                SignalWorkflowOptions::builder()
                    .cancellation_token(WorkflowCancellationToken::new())
                    .build(),
            )
            .await;
        match signalled {
            // A child of another worker may not wait, so it may have ended by now. That is no
            // failure: its result tells how it ended.
            Ok(()) | Err(WorkflowSignalError::NotFound(_)) => {}
            Err(other) => return Err(other).or_cancelled(ctx),
        }
        child_result(ctx, id, child, ctx.cancelled()).await
    }
}
