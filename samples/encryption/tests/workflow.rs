//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, bail, ensure};
use encryption::{encrypted, worker_options, workflows::Workflow};
use payload_codec::{DEVELOPMENT_KEY_ID, EncryptionCodec, KeyRing, PUBLISHED_DEVELOPMENT_KEY};
use serde_json::json;
use shared::{MAX_INPUT, describe};
use std::time::Duration;
use temporalio_client::{Client, WorkflowHandle};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::{
        common::v1::Payload, enums::v1::EventType::WorkflowTaskFailed,
        history::v1::history_event::Attributes,
    },
};
use testing::{TestEnv, bad_input, events, until};

fn development_key() -> anyhow::Result<KeyRing> {
    KeyRing::new(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)
}

fn new_key() -> anyhow::Result<KeyRing> {
    KeyRing::new("key-2", &[2; 32])
}

/// Returns the same test environment with a client that has these keys.
fn with_keys(env: &TestEnv, keys: KeyRing) -> TestEnv {
    TestEnv {
        client: encrypted(env.client.clone(), EncryptionCodec::new(keys)),
        task_queue: env.task_queue.clone(),
    }
}

async fn start(env: &TestEnv) -> anyhow::Result<WorkflowHandle<Client, Workflow>> {
    env.start_json("Workflow", &[json!("Ada")]).await
}

/// Returns another client's handle of a workflow.
fn seen_by(
    env: &TestEnv,
    handle: &WorkflowHandle<Client, Workflow>,
) -> WorkflowHandle<Client, Workflow> {
    env.client.get_workflow_handle(&handle.info().workflow_id)
}

/// Returns the input and the result as the server stores them.
async fn stored<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Vec<Payload>> {
    let payloads = |attributes| match attributes {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(a)) => a.input,
        Some(Attributes::WorkflowExecutionCompletedEventAttributes(a)) => a.result,
        _ => None,
    };
    let events = events(handle).await?.into_iter();
    Ok(events
        .filter_map(|event| payloads(event.attributes))
        .flat_map(|payloads| payloads.payloads)
        .collect())
}

/// Returns the ids of the keys that encrypted the input and the result.
async fn keys(handle: &WorkflowHandle<Client, Workflow>) -> anyhow::Result<Vec<String>> {
    let key = |payload: Payload| {
        ensure!(
            payload.metadata["encoding"] == b"binary/encrypted",
            "{payload:?}"
        );
        Ok(String::from_utf8(
            payload.metadata["encryption-key-id"].clone(),
        )?)
    };
    stored(handle).await?.into_iter().map(key).collect()
}

/// The workflow returns the greeting, and the server stores input and result as ciphertext.
#[tokio::test]
async fn greets() -> anyhow::Result<()> {
    let env = with_keys(&TestEnv::new().await?, development_key()?);
    env.work(worker_options, async {
        let handle = start(&env).await?;
        assert_eq!(handle.get_result(Default::default()).await?, "Hello, Ada");
        assert_eq!(keys(&handle).await?, ["test-key-id", "test-key-id"]);
        Ok(())
    })
    .await
}

/// The worker accepts input in plain text, and encrypts the result.
#[tokio::test]
async fn accepts_plain_input() -> anyhow::Result<()> {
    let plain = TestEnv::new().await?;
    let env = with_keys(&plain, development_key()?);
    env.work(worker_options, async {
        let handle = seen_by(&env, &start(&plain).await?);
        assert_eq!(handle.get_result(Default::default()).await?, "Hello, Ada");
        let [input, result] = &stored(&handle).await?[..] else {
            bail!("not two payloads");
        };
        assert_eq!(input.data, b"\"Ada\"");
        assert_eq!(result.metadata["encoding"], b"binary/encrypted");
        Ok(())
    })
    .await
}

/// Input of the wrong type fails the workflow, as without encryption. Only the client can read the message, because
/// it quotes the input.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    let env = with_keys(&TestEnv::new().await?, development_key()?);
    env.work(worker_options, async {
        let cases = [
            (
                vec![json!(4111_1111)],
                "invalid type: integer `41111111`, expected a string",
            ),
            (vec![], "the argument is missing"),
        ];
        for (arguments, reason) in cases {
            let handle = env.start_json::<Workflow>("Workflow", &arguments).await?;
            assert_eq!(bad_input(&handle).await?, reason);
            let history = format!("{:?}", events(&handle).await?);
            assert!(history.contains("\"Encoded failure\"") && history.contains("\"BadInput\""));
            assert!(!history.contains("bad input") && !history.contains("41111111"));
        }
        Ok(())
    })
    .await
}

/// The workflow accepts names up to the size limit, with and without compression, and fails with longer ones. The
/// limit applies to the decrypted and decompressed name: a few kilobytes can become 30 MiB.
#[tokio::test]
async fn limits_long_names() -> anyhow::Result<()> {
    let nearly_2_mib = (2 << 20) - 200;
    let sizes = [MAX_INPUT - 1, MAX_INPUT, MAX_INPUT + 1, nearly_2_mib];
    for (compress_from, more) in [(None, None), (Some(1), Some(30 << 20))] {
        let mut env = TestEnv::new().await?;
        let codec = EncryptionCodec::new(development_key()?).compress_from(compress_from);
        env.client = encrypted(env.client.clone(), codec);
        env.work(worker_options, async {
            for size in sizes.into_iter().chain(more) {
                let name = json!("x".repeat(size - "\"\"".len()));
                let handle = env.start_json::<Workflow>("Workflow", &[name]).await?;
                if size <= MAX_INPUT {
                    let greeting = handle.get_result(Default::default()).await?;
                    assert_eq!(greeting.len(), "Hello, ".len() + size - "\"\"".len());
                } else {
                    let reason = format!("{size} bytes, more than the limit of 1572864");
                    assert_eq!(bad_input(&handle).await?, reason);
                }
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// If the worker lacks the key of the input, the history names the key, and the workflow does not fail. It continues
/// when a worker has the key.
#[tokio::test]
async fn waits_for_the_key() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (old, new) = (
        with_keys(&env, development_key()?),
        with_keys(&env, new_key()?),
    );
    let mut options = new.start_options();
    // The server waits this long for a task that has failed twice; the default is 10 s.
    options.task_timeout = Some(Duration::from_secs(1));
    let handle = new
        .client
        .start_workflow(Workflow::run, "Ada".into(), options)
        .await?;
    old.work(worker_options, async {
        until(&handle, WorkflowTaskFailed).await?;
        let message = events(&handle)
            .await?
            .into_iter()
            .find_map(|event| match event.attributes {
                Some(Attributes::WorkflowTaskFailedEventAttributes(a)) => Some(a.failure?.message),
                _ => None,
            });
        let expected = "Failed decoding activation: Encoding error: no key `key-2` in the key \
                        ring, which holds `test-key-id`; add it to the key file";
        assert_eq!(message.as_deref(), Some(expected));
        Ok(())
    })
    .await?;
    new.work(worker_options, async {
        assert_eq!(handle.get_result(Default::default()).await?, "Hello, Ada");
        Ok(())
    })
    .await
}

/// If the client lacks the key of the result, it gets an error at once that names the key.
#[tokio::test]
async fn the_client_names_the_key() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (old, new) = (
        with_keys(&env, development_key()?),
        with_keys(&env, new_key()?),
    );
    old.work(worker_options, async {
        let handle = seen_by(&new, &start(&old).await?);
        let error = handle
            .get_result(Default::default())
            .await
            .err()
            .context("it reads")?;
        let expected = "Payload conversion error: Encoding error: no key `test-key-id` in the key \
                        ring, which holds `key-2`; add it to the key file";
        assert_eq!(describe(&error), expected);
        Ok(())
    })
    .await
}

/// A workflow that was started with the old key ends with the new one, and programs with both keys can read both.
#[tokio::test]
async fn rotates() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let old = with_keys(&env, development_key()?);
    let rotated = new_key()?.with(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)?;
    let rotated = with_keys(&env, rotated);
    let handle = seen_by(&rotated, &start(&old).await?);
    rotated
        .work(worker_options, async {
            assert_eq!(handle.get_result(Default::default()).await?, "Hello, Ada");
            assert_eq!(keys(&handle).await?, ["test-key-id", "key-2"]);
            Ok(())
        })
        .await
}

/// The workflow completes even if it is cancelled before its first task, because it never waits.
#[tokio::test]
async fn completes_although_cancelled() -> anyhow::Result<()> {
    let env = with_keys(&TestEnv::new().await?, development_key()?);
    let handle = start(&env).await?;
    handle.cancel(Default::default()).await?;
    env.work(worker_options, async {
        assert_eq!(handle.get_result(Default::default()).await?, "Hello, Ada");
        Ok(())
    })
    .await
}
