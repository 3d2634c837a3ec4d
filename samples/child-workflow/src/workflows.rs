//! The child, and two parents: one that waits for it, and one that signals it too.

use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, child_id};
use temporalio_common::error::WorkflowSignalError;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, ChildWorkflowOptions, ParentClosePolicy, SyncWorkflowContext,
    WorkflowContext, WorkflowResult, WorkflowTermination,
};

/// The input of [`ComposeGreetingWorkflow`]: `{"greeting":"Hello","name":"World"}`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ComposeGreetingInput {
    /// How to greet.
    pub greeting: String,
    /// Whom to greet.
    pub name: String,
    /// Whether to wait for the signal `release` first. Left out of the JSON unless asked for, like
    /// the field after it: whoever else serves this type need not know of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// How many attempts fail before one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
}

/// Composes a greeting: at once, unless its input says otherwise.
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
        let input = input.valid()?;
        if ctx.cancellation_token().is_cancelled() {
            // An attempt may be asked to end in the pause before it. Were it to fail, another would
            // follow, which would not know that it was asked.
            return Err(WorkflowTermination::cancelled());
        }
        let attempt = ctx.info().attempt();
        if attempt <= input.failures.unwrap_or_default() {
            let failure = ApplicationFailure::builder(format!("attempt {attempt} failed"));
            return Err(failure.type_name("NotYet".to_owned()).build().into());
        }
        if input.hold {
            // Cancelled meanwhile, it returns here: the child ends CANCELED.
            ctx.wait_condition(|child| child.released).await?;
        }
        Ok(format!("{}, {}!", input.greeting, input.name))
    }

    /// Lets a child go on that was told to wait. `Input` takes any argument: a signal that does
    /// not decode would hang the workflow.
    #[signal]
    pub fn release(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.released = true;
    }
}

/// Has a child compose the greeting, and waits for it.
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
            name: name.valid()?,
            ..Default::default()
        };
        let options = ChildWorkflowOptions::builder()
            // Derived from the parent's id, so that parents can run side by side: only one running
            // workflow in a namespace can have an id, whoever started it.
            .workflow_id(child_id(ctx.workflow_id(), "child")?)
            // Should the parent be terminated or time out, the greeting is composed all the same.
            // A cancellation of the parent reaches the child nevertheless.
            .parent_close_policy(ParentClosePolicy::Abandon)
            .build();
        // Starting and ending each fail in their own way: the one if the id is taken, the other if
        // the child has failed.
        let child = ctx
            .start_child_workflow(ComposeGreetingWorkflow::run, input, options)
            .await
            .or_cancelled(ctx)?;
        child.result().await.or_cancelled(ctx)
    }
}

/// Starts a child that waits, signals it to go on, and waits for its greeting.
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
            name: name.valid()?,
            hold: true,
            ..Default::default()
        };
        let options = ChildWorkflowOptions::workflow_id(child_id(ctx.workflow_id(), "child")?);
        let child = ctx
            .start_child_workflow(ComposeGreetingWorkflow::run, input, options)
            .await
            .or_cancelled(ctx)?;
        let signalled = child
            .signal(
                ComposeGreetingWorkflow::release,
                ().into(),
                Default::default(),
            )
            .await;
        match signalled {
            // A child that does not wait, as another worker's need not, may have ended by now.
            // That is no failure: how it ended, its result tells.
            Ok(()) | Err(WorkflowSignalError::NotFound(_)) => {}
            Err(other) => return Err(other).or_cancelled(ctx),
        }
        child.result().await.or_cancelled(ctx)
    }
}
