//! Replays recorded histories with today's code.

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

/// A change that would break running workflows fails this test. One history was recorded with the old key. In the
/// other one, the input has the old key and the result has the new one, because the worker had both keys.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    // `make replay` of a worker with keys of its own.
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("REPLAY_FILE") && (set("TEMPORAL_ENCRYPTION_KEY_FILE") || set("TEMPORAL_ENCRYPTION_KEY"))
    {
        return replay(EncryptionArgs::default().codec(None)?).await;
    }
    let keys = new_key()?.with(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)?;
    replay(EncryptionCodec::new(keys)).await
}

/// A replay without the old key fails, and the error names the key.
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
