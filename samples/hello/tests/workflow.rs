//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use anyhow::anyhow;
use hello::{worker_options, workflows::HelloWorkflow};
use serde_json::json;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, activity_types, bad_input, operate, with_worker};

/// The workflow returns the greeting that its activity returns.
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

/// Replaces `HelloActivities` in a test. The activity has the same name and types as the real one.
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

/// With a mocked activity, the workflow returns the mock's result, and fails with the mock's failure.
#[tokio::test]
async fn returns_what_a_mocked_activity_returns() -> anyhow::Result<()> {
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

/// Input that is not a string, or no input at all, fails the workflow at once. It does not block it forever.
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

/// A workflow that is cancelled before a worker has seen it ends as CANCELED, not as FAILED or COMPLETED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(HelloWorkflow::run, "Ada".into(), env.start_options())
        .await?;
    env.ends_cancelled(&handle, worker_options).await
}

/// The activity fails with a failure that is not retried, and the workflow is cancelled before a worker learns
/// about that. The workflow ends as CANCELED.
#[tokio::test]
async fn cancelled_after_its_activity_failed() -> anyhow::Result<()> {
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
