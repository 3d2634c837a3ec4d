//! The workflow on a real server, through the `worker_options` that the binary uses.

use anyhow::anyhow;
use hello::{worker_options, workflows::HelloWorkflow};
use serde_json::json;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions,
    activities::{ActivityContext, ActivityError},
};
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

/// Stands in for `HelloActivities`: the same name and types on the wire.
pub struct FakeActivities;

#[activities]
impl FakeActivities {
    #[activity(name = "greet")]
    pub async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        if name == "nobody" {
            let refused = ApplicationFailure::builder(anyhow!("nobody to greet"));
            return Err(refused.non_retryable(true).build().into());
        }
        Ok(format!("Bonjour, {name} !"))
    }
}

/// The workflow returns what the activity returns, and fails as it fails. A mock decides which.
#[tokio::test]
async fn with_a_mocked_activity() -> anyhow::Result<()> {
    let options = |task_queue: &str| -> anyhow::Result<WorkerOptions> {
        Ok(WorkerOptions::new(task_queue)
            .register_workflow::<HelloWorkflow>()?
            .register_activities(FakeActivities)
            .build())
    };
    with_worker(options, async |env| {
        let greet = async |name: &str| {
            let start =
                env.client
                    .start_workflow(HelloWorkflow::run, name.into(), env.start_options());
            let result = start.await?.get_result(Default::default()).await;
            anyhow::Ok(result.map_err(|error| shared::describe(&error)))
        };
        assert_eq!(greet("Ada").await?, Ok("Bonjour, Ada !".to_owned()));
        let failed = "workflow failed: activity greet failed: nobody to greet";
        assert_eq!(greet("nobody").await?, Err(failed.to_owned()));
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
