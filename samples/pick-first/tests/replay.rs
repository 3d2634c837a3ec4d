//! Replays recorded histories with today's code.

use pick_first::workflows::{HedgedRequestWorkflow, PickFirstWorkflow, PickSomeWorkflow};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;

/// A change that would break running workflows fails this test.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<PickFirstWorkflow>()?
        .register_workflow::<PickSomeWorkflow>()?
        .register_workflow::<HedgedRequestWorkflow>()?
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}
