//! Recorded histories against today's code.

use encryption::{data_converter, workflows::Workflow};
use payload_codec::{
    DEVELOPMENT_KEY_ID, EncryptionArgs, EncryptionCodec, KeyRing, PUBLISHED_DEVELOPMENT_KEY,
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;

async fn replay(codec: EncryptionCodec) -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<Workflow>()?
        .data_converter(data_converter(codec))
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}

fn new_key() -> anyhow::Result<KeyRing> {
    KeyRing::new("key-2", &[2; 32])
}

/// A change that breaks workflows already running breaks this test. One history is of the old key;
/// of the other the input is too, and the result of the new one, by a worker with both.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    // `make replay`, where the worker has keys of its own.
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("REPLAY_FILE") && (set("TEMPORAL_ENCRYPTION_KEY_FILE") || set("TEMPORAL_ENCRYPTION_KEY"))
    {
        return replay(EncryptionArgs::default().codec(None)?).await;
    }
    let keys = new_key()?.with(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)?;
    replay(EncryptionCodec::new(keys)).await
}

/// Without the old key there is no replay, and the reason names it.
#[tokio::test]
async fn replay_needs_the_old_key() -> anyhow::Result<()> {
    let replayed = replay(EncryptionCodec::new(new_key()?)).await;
    let error = replayed.expect_err("it replays");
    let error = format!("{error:?}");
    assert!(
        error.contains("no key `test-key-id` in the key ring"),
        "{error}"
    );
    Ok(())
}
