//! Replays recorded histories with today's code.

use signal_with_start::workflows::{AccumulatorWorkflow, ShoppingCartWorkflow};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;

/// A change that would break running workflows fails this test.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<AccumulatorWorkflow>()?
        .register_workflow::<ShoppingCartWorkflow>()?
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}
