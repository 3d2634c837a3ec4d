//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

#![allow(missing_docs, reason = "stand-ins for these tests alone")]

use anyhow::Context;
use serde_json::{Value, json};
use shared::describe;
use std::time::Duration;
use temporalio_client::{Client, UntypedWorkflow, WorkflowHandle};
use temporalio_common::{
    UntypedActivity,
    data_converters::RawValue,
    protos::temporal::api::{
        common::v1::Payload, enums::v1::EventType::WorkflowTaskFailed,
        history::v1::history_event::Attributes,
    },
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, WorkerOptions, WorkflowContext, WorkflowRegistrationError, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, events, raw_json, until, until_pending, with_worker,
};
use typed_payloads::{
    activities::MyActivities, converter, models::MyModels, worker_options, workflows::MyWorkflow,
};

/// Input of the Python sample, byte for byte.
const TWO: &str = r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05"},{"some_ip":"127.0.0.2","some_date":"2001-02-03T04:05:06"}]"#;

/// Input with the fields that were added later.
const RICH: &str = r#"[{"some_ip":"127.0.0.1","some_date":"2000-01-02T03:04:05.000006","lease":"PT1H30M","fee":"12.50","kind":"leased"}]"#;

/// Starts the workflow as a client in another language does.
async fn start(env: &TestEnv, models: Value) -> anyhow::Result<WorkflowHandle<Client, MyWorkflow>> {
    env.start_json("MyWorkflow", &[models]).await
}

/// Returns a valid model, and a second one in which these fields are replaced or added.
fn second(fields: Value) -> Value {
    let good = json!({"some_ip": "127.0.0.1", "some_date": "2000-01-02T03:04:05"});
    let mut other = good.clone();
    for (field, value) in fields.as_object().into_iter().flatten() {
        other[field] = value.clone();
    }
    json!([good, other])
}

/// The workflow passes its input through the activity and returns it, byte for byte.
#[tokio::test]
async fn returns_its_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for json in [TWO, RICH, "[]"] {
            let models: MyModels = serde_json::from_str(json)?;
            let handle = env
                .client
                .start_workflow(MyWorkflow::run, models.clone().into(), env.start_options())
                .await?;
            assert_eq!(handle.get_result(Default::default()).await?, models);
            assert_eq!(activity_types(&handle).await?, ["my_activity"]);
            let last = events(&handle).await?.pop().and_then(|e| e.attributes);
            let Some(Attributes::WorkflowExecutionCompletedEventAttributes(completed)) = last
            else {
                anyhow::bail!("did not complete: {last:?}");
            };
            let result = completed.result.context("no result")?.payloads;
            assert_eq!(result[0].data, json.as_bytes());
            assert_eq!(result[0].metadata["encoding"], b"json/plain");
        }
        Ok(())
    })
    .await
}

/// A wrong address, date or field fails the workflow, and the failure names its path.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cases = [
            (
                second(json!({"some_ip": "127.0.0.300"})),
                "`[1].some_ip`: invalid IPv4 address syntax",
            ),
            (
                second(json!({"some_date": "2000-13-02T03:04:05"})),
                "`[1].some_date`: is not like 2000-01-02T03:04:05: input is out of range",
            ),
            (
                second(json!({"some_date": "2000-01-02T03:04:05Z"})),
                "`[1].some_date`: 2000-01-02T03:04:05Z must not have a time zone",
            ),
            (
                second(json!({"some_date": null})),
                "`[1]`: missing field `some_date`",
            ),
            (
                json!([{"some_ip": "127.0.0.1"}]),
                "`[0]`: missing field `some_date`",
            ),
            (
                json!([{"some_date": "2000-01-02T03:04:05"}]),
                "`[0]`: missing field `some_ip`",
            ),
            (
                second(json!({"lease": "soon"})),
                "`[1].lease`: is not like PT1H30M: duration_invalid_number",
            ),
            (
                second(json!({"lease": "-PT5S"})),
                "`[1].lease`: is negative",
            ),
            (
                second(json!({"kind": "borrowed"})),
                "`[1].kind`: unknown variant `borrowed`, expected `fixed` or `leased`",
            ),
            (
                json!({"some_ip": "127.0.0.1"}),
                "invalid type: map, expected a sequence",
            ),
            (
                json!([["127.0.0.1", "2000-01-02T03:04:05"]]),
                "`[0]`: invalid type: sequence, expected an object",
            ),
            (
                second(json!({"fee": "1_000"})),
                "`[1].fee`: 1_000 is not like 12.50",
            ),
        ];
        for (models, reason) in cases {
            let handle = start(&env, models).await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        // Java writes a `BigDecimal` like this. As a `Value`, the number would be rounded before it is sent.
        let models = TWO.replacen('}', ",\"fee\":12345678901234567.89}", 1);
        let options = env.start_options();
        let handle = env
            .client
            .get_workflow_handle::<MyWorkflow>(options.workflow_id.clone());
        let payload = Payload {
            metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
            data: models.into_bytes(),
            ..Default::default()
        };
        let (workflow, input) = (
            UntypedWorkflow::new("MyWorkflow"),
            RawValue::new(vec![payload]),
        );
        env.client.start_workflow(workflow, input, options).await?;
        let reason = "`[0].fee`: 12345678901234567.89 has more digits than a double holds: \
                      send it as a string";
        assert_eq!(bad_input(&handle).await?, reason);
        let handle = env.start_json::<MyWorkflow>("MyWorkflow", &[]).await?;
        assert_eq!(bad_input(&handle).await?, "the argument is missing");
        Ok(())
    })
    .await
}

/// The failure names every broken rule in one line, including those of the list.
#[tokio::test]
async fn names_all_broken_rules() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let models = json!([
            {"some_ip": "0.0.0.0", "some_date": "2000-01-02T03:04:05"},
            {"some_ip": "255.255.255.255", "some_date": "0000-01-02T03:04:05", "fee": "-1"},
            {"some_ip": "127.0.0.1", "some_date": "2000-01-02T03:04:60"},
        ]);
        let handle = start(&env, models).await?;
        let reason = "`[0].some_ip`: 0.0.0.0 is not the address of a host; \
            `[1].fee`: is negative; \
            `[1].some_date`: is not in the years 1 to 9999; \
            `[1].some_ip`: 255.255.255.255 is not the address of a host; \
            `[2].some_date`: is a leap second";
        assert_eq!(bad_input(&handle).await?, reason);

        let model = json!({"some_ip": "127.0.0.1", "some_date": "2000-01-02T03:04:05"});
        let handle = start(&env, json!(vec![model; 1001])).await?;
        assert_eq!(bad_input(&handle).await?, "length is greater than 1000");
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, serde_json::from_str(TWO)?).await?;
    env.ends_cancelled(&handle, worker_options).await
}

/// An activity with the same name that returns invalid models, as one in another language could.
pub struct BadActivities;

#[activities]
impl BadActivities {
    #[activity(name = "my_activity")]
    pub async fn my_activity(
        _ctx: ActivityContext,
        _models: RawValue,
    ) -> Result<Value, ActivityError> {
        Ok(second(json!({"some_ip": "127.0.0.300"})))
    }
}

/// The workflow validates the result of the activity. If the result is bad, the workflow task fails and names the
/// field, and a worker with better code can complete it.
#[tokio::test]
async fn refuses_a_bad_result() -> anyhow::Result<()> {
    let options = |task_queue: &str| -> Result<_, WorkflowRegistrationError> {
        Ok(WorkerOptions::new(task_queue)
            .register_workflow::<MyWorkflow>()?
            .register_activities(BadActivities)
            .build())
    };
    with_worker(options, async |env| {
        let handle = start(&env, serde_json::from_str(TWO)?).await?;
        until(&handle, WorkflowTaskFailed).await?;
        let failed = events(&handle).await?.into_iter().find_map(|event| {
            let Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) = event.attributes
            else {
                return None;
            };
            failed.failure
        });
        let reason = "`[1].some_ip`: invalid IPv4 address syntax";
        assert!(failed.is_some_and(|failure| failure.message.ends_with(reason)));
        handle.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}

/// A workflow that validates neither the input of its activity nor its own result.
#[workflow]
#[derive(Default)]
pub struct CarelessWorkflow;

#[workflow_methods]
impl CarelessWorkflow {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        (call, models): (bool, Value),
    ) -> WorkflowResult<Value> {
        if call {
            let activity = UntypedActivity::new("my_activity");
            let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(5));
            ctx.execute_activity(activity, raw_json(std::slice::from_ref(&models)), options)
                .await?;
        }
        Ok(models)
    }
}

fn careless(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<CarelessWorkflow>()?
        .register_activities(MyActivities)
        .build())
}

/// The activity validates its input too. A bad input is retried, because a newer worker may accept it. The last failure
/// names the field.
#[tokio::test]
async fn the_activity_refuses_bad_input() -> anyhow::Result<()> {
    with_worker(careless, async |env| {
        let models = second(json!({"some_ip": "127.0.0.300"}));
        let handle = env
            .client
            .start_workflow(CarelessWorkflow::run, (true, models), env.start_options())
            .await?;
        let pending = until_pending(&handle, |activity| activity.attempt > 1).await?;
        let message = pending.last_failure.unwrap_or_default().message;
        let reason = "Encoding error: `[1].some_ip`: invalid IPv4 address syntax";
        assert_eq!(message, reason);
        handle.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}

/// The client validates the result. With the converter, the error also names the path.
#[tokio::test]
async fn the_client_refuses_a_bad_result() -> anyhow::Result<()> {
    let connections = [
        (TestEnv::new().await?, ""),
        (
            TestEnv::with_data_converter(converter::data_converter()).await?,
            "`[1].some_ip`: ",
        ),
    ];
    for (env, path) in connections {
        let results = async {
            let cases = [
                (
                    json!({"some_ip": "127.0.0.300"}),
                    format!("{path}invalid IPv4 address syntax"),
                ),
                // The error about a rule names the path without the converter.
                (
                    json!({"some_ip": "0.0.0.0"}),
                    "`[1].some_ip`: 0.0.0.0 is not the address of a host".into(),
                ),
            ];
            for (fields, reason) in cases {
                let options = env.start_options();
                let id = options.workflow_id.clone();
                env.client
                    .start_workflow(CarelessWorkflow::run, (false, second(fields)), options)
                    .await?;
                let handle = env.client.get_workflow_handle::<MyWorkflow>(id);
                let error = handle
                    .get_result(Default::default())
                    .await
                    .expect_err("the result is bad");
                assert_eq!(
                    describe(&error),
                    format!("Payload conversion error: Encoding error: {reason}")
                );
            }
            Ok(())
        };
        env.work(careless, results).await?;
    }
    Ok(())
}

/// The converter is for clients only: in a worker, it blocks a workflow that was started without its argument.
#[tokio::test]
async fn the_converter_is_not_for_the_worker() -> anyhow::Result<()> {
    let env = TestEnv::with_data_converter(converter::data_converter()).await?;
    env.work(worker_options, async {
        let models: MyModels = serde_json::from_str(RICH)?;
        let handle = env
            .client
            .start_workflow(MyWorkflow::run, models.clone().into(), env.start_options())
            .await?;
        assert_eq!(handle.get_result(Default::default()).await?, models);

        // This client has the SDK's converter, because the other one cannot send raw JSON.
        let other = TestEnv {
            task_queue: env.task_queue.clone(),
            ..TestEnv::new().await?
        };
        let handle = other.start_json::<MyWorkflow>("MyWorkflow", &[]).await?;
        until(&handle, WorkflowTaskFailed).await?;
        handle.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}
