//! Replays recorded histories with today's code.

use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;
use timers::workflows::{
    ActivityDeadlineWorkflow, CancellationScopeWorkflow, ProcessOrderWorkflow, ProgressWorkflow,
    SampleTimerWorkflow, WorkflowDeadlineWorkflow,
};

/// A change that would break running workflows fails this test.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<ProcessOrderWorkflow>()?
        .register_workflow::<SampleTimerWorkflow>()?
        .register_workflow::<ProgressWorkflow>()?
        .register_workflow::<ActivityDeadlineWorkflow>()?
        .register_workflow::<CancellationScopeWorkflow>()?
        .register_workflow::<WorkflowDeadlineWorkflow>()?
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}
