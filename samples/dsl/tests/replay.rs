//! Replays recorded histories with today's code. `DSLWorkflow-version-1.json` has a document without a version, whose
//! branches set the same variable, which version 2 refuses.

use dsl::workflows::DSLWorkflow;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;

/// A change that would break running workflows fails this test. So would a new rule for documents of an old version.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<DSLWorkflow>()?
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}
