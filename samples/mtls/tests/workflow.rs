//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use mtls::{worker_options, workflows::SecureWorkflow};
use serde_json::json;
use testing::{TestEnv, bad_input, with_worker};

/// The workflow returns the processed data.
#[tokio::test]
async fn returns_processed_data() -> anyhow::Result<()> {
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

/// Input that is not a string, or no input at all, fails the workflow at once. It does not block it forever.
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

/// A workflow that is cancelled before a worker has seen it completes nevertheless. It never waits, and only
/// a wait can be cancelled.
#[tokio::test]
async fn completes_although_cancelled() -> anyhow::Result<()> {
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
