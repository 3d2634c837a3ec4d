//! A workflow with an `#[init]`, which sets the state from the input before any handler runs.

#![allow(missing_docs, reason = "a workflow for this test alone")]

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowContextView,
    WorkflowRegistrationError, WorkflowResult,
};
use testing::TestEnv;

/// Adds the numbers in signals to its input.
#[workflow]
pub struct SumWorkflow {
    sum: u32,
    signals: usize,
}

#[workflow_methods]
impl SumWorkflow {
    #[init]
    fn new(_ctx: &WorkflowContextView, start: u32) -> Self {
        Self {
            sum: start,
            signals: 0,
        }
    }

    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u32> {
        ctx.wait_condition(|state| state.signals > 0).await?;
        Ok(ctx.state(|state| state.sum))
    }

    #[signal]
    pub fn add(&mut self, _ctx: &mut SyncWorkflowContext<Self>, number: u32) {
        self.sum += number;
        self.signals += 1;
    }
}

fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<SumWorkflow>()?
        .build())
}

/// An `#[init]` that only moves values is allowed, and a signal that arrives before `run` finds the input
/// in the state.
#[tokio::test]
async fn init_runs_before_signals() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(SumWorkflow::run, 40, env.start_options())
        .await?;
    // No worker runs yet, so the workflow's first task contains the signal.
    handle
        .signal(SumWorkflow::add, 2, Default::default())
        .await?;
    env.work(worker_options, async {
        assert_eq!(handle.get_result(Default::default()).await?, 42);
        Ok(())
    })
    .await
}
