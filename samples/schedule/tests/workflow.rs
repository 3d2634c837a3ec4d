//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use schedule::{worker_options, workflows::YourSchedulesWorkflow};
use serde_json::json;
use testing::{TestEnv, activity_types, bad_input, with_worker};

/// A client starts the workflow, which returns the greeting of one activity, as it does under a schedule.
#[tokio::test]
async fn greets() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(
                YourSchedulesWorkflow::run,
                "my schedule arg".into(),
                env.start_options(),
            )
            .await?;
        assert_eq!(
            handle.get_result(Default::default()).await?,
            "Hello, my schedule arg!"
        );
        assert_eq!(activity_types(&handle).await?, ["your_activity"]);
        Ok(())
    })
    .await
}

/// The workflow fails at once if its input is not a string, or if it has no input.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cases = [
            (
                vec![json!(42)],
                "invalid type: integer `42`, expected a string",
            ),
            (vec![], "the argument is missing"),
        ];
        for (arguments, reason) in cases {
            let handle = env
                .start_json::<YourSchedulesWorkflow>("YourSchedulesWorkflow", &arguments)
                .await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(
            YourSchedulesWorkflow::run,
            "my schedule arg".into(),
            env.start_options(),
        )
        .await?;
    env.ends_cancelled(&handle, worker_options).await
}
