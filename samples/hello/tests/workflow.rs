//! The workflow on a real server, through the `worker_options` that the binary uses.

use hello::{worker_options, workflows::HelloWorkflow};
use serde_json::json;
use temporalio_sdk::WorkerOptions;
use testing::{TestEnv, activity_types, bad_input, operate, with_worker};

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
            assert_eq!(bad_input(&handle).await?, reason);
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
    env.ends_cancelled(&handle, worker_options).await
}

/// The activity fails for good, and before a worker knows, the workflow is cancelled. It ends CANCELED.
#[tokio::test]
async fn fails_and_ends_cancelled() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(HelloWorkflow::run, "Ada".into(), env.start_options())
        .await?;
    let workflow_only = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let options = WorkerOptions::new(queue).register_workflow::<HelloWorkflow>()?;
        Ok(options.build())
    };
    operate::fails_and_ends_cancelled(&env, &handle, workflow_only, worker_options).await
}
