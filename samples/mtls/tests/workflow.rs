//! The workflow on a real server, through the `worker_options` that the binary uses.

use mtls::{worker_options, workflows::SecureWorkflow};
use serde_json::json;
use testing::{TestEnv, bad_input, with_worker};

/// The data, processed.
#[tokio::test]
async fn processes() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(SecureWorkflow::run, "data".into(), env.start_options())
            .await?;
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(result, "Securely processed: data");
        Ok(())
    })
    .await
}

/// Input that is no string, or none at all, fails the workflow at once instead of hanging it.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cases = [
            (
                vec![json!(1)],
                "invalid type: integer `1`, expected a string",
            ),
            (vec![], "the argument is missing"),
        ];
        for (arguments, reason) in cases {
            let handle = env
                .start_json::<SecureWorkflow>("SecureWorkflow", &arguments)
                .await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        Ok(())
    })
    .await
}

/// Cancelled before a worker has seen it, it completes all the same: it waits for nothing, and only a
/// wait can end by a cancellation.
#[tokio::test]
async fn has_nothing_to_cancel() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(SecureWorkflow::run, "data".into(), env.start_options())
        .await?;
    handle.cancel(Default::default()).await?;
    env.work(worker_options, async {
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(result, "Securely processed: data");
        Ok(())
    })
    .await
}
