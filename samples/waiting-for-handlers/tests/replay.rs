//! Replays recorded histories with today's code.

use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;
use waiting_for_handlers::workflows::{
    WaitingForHandlersAndCompensationWorkflow, WaitingForHandlersWorkflow,
};

/// A change that would break running workflows fails this test.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<WaitingForHandlersWorkflow>()?
        .register_workflow::<WaitingForHandlersAndCompensationWorkflow>()?
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}
