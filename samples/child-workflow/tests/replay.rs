//! Replays recorded histories with today's code.

use child_workflow::{
    close_policy::LeavingParentWorkflow,
    many::{GreetEachWorkflow, GreetManyWorkflow},
    workflows::{AdvancedParentWorkflow, ComposeGreetingWorkflow, GreetingWorkflow},
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;

/// A change that would break running workflows fails this test.
///
/// `AdvancedParentWorkflow-signal-failed.json` is not recorded but edited: the signal to the child fails and
/// the parent is cancelled before a worker sees either. If the SDK cancelled the signal, it would refuse
/// this history.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<ComposeGreetingWorkflow>()?
        .register_workflow::<GreetingWorkflow>()?
        .register_workflow::<AdvancedParentWorkflow>()?
        .register_workflow::<LeavingParentWorkflow>()?
        .register_workflow::<GreetManyWorkflow>()?
        .register_workflow::<GreetEachWorkflow>()?
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}
