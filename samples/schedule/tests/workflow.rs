//! The workflow on a real server, through the `worker_options` that the binary uses.

use schedule::{worker_options, workflows::YourSchedulesWorkflow};
use serde_json::json;
use testing::{TestEnv, activity_types, bad_input, with_worker};

/// The greeting, by one activity: started by hand it does the same as by a schedule.
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

/// Input that is no string, or none at all, fails the workflow at once.
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

/// Cancelled before a worker has seen it, the workflow ends CANCELED.
#[tokio::test]
async fn ends_cancelled() -> anyhow::Result<()> {
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
