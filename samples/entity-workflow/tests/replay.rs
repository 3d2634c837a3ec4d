//! Replays recorded histories with today's code.

use entity_workflow::{recent_updates::UpdateIds, workflows::UserAccountWorkflow};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;

/// A change that would break running workflows fails this test. The handlers need the interceptor here, too.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<UserAccountWorkflow>()?
        .workflow_interceptor(UpdateIds::in_workflows())
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}
