//! Replays recorded histories with today's code.

use async_activity_completion::{
    greeting::GreetingWorkflow,
    webhooks::{DelayedCallbackWorkflow, OrderWorkflow},
    workflows::SampleExpenseWorkflow,
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;

/// A change that would break running workflows fails this test.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<SampleExpenseWorkflow>()?
        .register_workflow::<GreetingWorkflow>()?
        .register_workflow::<OrderWorkflow>()?
        .register_workflow::<DelayedCallbackWorkflow>()?
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}
