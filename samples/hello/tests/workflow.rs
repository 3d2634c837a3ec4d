//! The workflow on a real server, through the `worker_options` that the binary uses.

use hello::{worker_options, workflows::HelloWorkflow};
use serde_json::json;
use shared::{
    describe,
    testing::{TestEnv, activity_types, with_worker},
};
use temporalio_client::errors::WorkflowGetResultError;

/// The greeting, by one activity.
#[tokio::test]
async fn greets() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(HelloWorkflow::run, "Ada".into(), env.start_options())
            .await?;
        assert_eq!(handle.get_result(Default::default()).await?, "Hello, Ada!");
        assert_eq!(activity_types(&handle).await?, ["greet"]);
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
                vec![json!({"name": "Ada"})],
                "invalid type: map, expected a string",
            ),
            (vec![], "the argument is missing"),
            (
                vec![json!("Ada"), json!("Grace")],
                "takes one argument, got 2",
            ),
        ];
        for (arguments, reason) in cases {
            let handle = env
                .start_json::<HelloWorkflow>("HelloWorkflow", &arguments)
                .await?;
            let error = handle
                .get_result(Default::default())
                .await
                .expect_err("bad input");
            assert_eq!(
                describe(&error),
                format!("workflow failed: bad input: {reason} (BadInput)")
            );
        }
        Ok(())
    })
    .await
}

/// Cancelled before a worker has seen it, the workflow ends CANCELED, not FAILED or COMPLETED.
#[tokio::test]
async fn ends_cancelled() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(HelloWorkflow::run, "Ada".into(), env.start_options())
        .await?;
    handle.cancel(Default::default()).await?;
    env.work(worker_options, async {
        let error = handle
            .get_result(Default::default())
            .await
            .expect_err("cancelled");
        assert!(
            matches!(error, WorkflowGetResultError::Cancelled { .. }),
            "{error:?}"
        );
        Ok(())
    })
    .await
}
