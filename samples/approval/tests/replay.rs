//! Replays recorded histories with today's code.

use approval::workflows::{
    ApprovalWorkflow, AwaitSignalsWorkflow, EscalatingApprovalWorkflow, MultiLevelApprovalWorkflow,
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;

/// A change that would break running workflows fails this test.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<ApprovalWorkflow>()?
        .register_workflow::<MultiLevelApprovalWorkflow>()?
        .register_workflow::<EscalatingApprovalWorkflow>()?
        .register_workflow::<AwaitSignalsWorkflow>()?
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}
