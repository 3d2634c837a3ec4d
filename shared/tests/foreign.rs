//! Sends payloads like clients and workers in Go, Java and TypeScript, on a real server.

#![allow(missing_docs, reason = "workflows for these tests alone")]

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{AbsentResults, Input, Inputs, Json, OrCancelled, describe};
use std::{collections::HashMap, time::Duration};
use temporalio_client::{
    ActivityDescribeOptions, ActivityStartOptions, Client, NamespacedClient, UntypedQuery,
    UntypedSignal, UntypedUpdate, UntypedWorkflow, WorkflowHandle, grpc::WorkflowService,
    tonic::IntoRequest,
};
use temporalio_common::{
    ActivityCloseTimeouts, UntypedActivity,
    data_converters::RawValue,
    protos::temporal::api::{
        command::v1::{Command, CompleteWorkflowExecutionCommandAttributes, command::Attributes},
        common::v1::{Payload, Payloads},
        enums::v1::{CommandType, EventType::WorkflowTaskFailed},
        history::v1::history_event::Attributes as EventAttributes,
        taskqueue::v1::TaskQueue,
        workflowservice::v1::{
            PollActivityTaskQueueRequest, PollWorkflowTaskQueueRequest,
            RespondActivityTaskCompletedRequest, RespondWorkflowTaskCompletedRequest,
        },
    },
};
use temporalio_macros::{activities, activity_definitions, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowContextView,
    WorkflowRegistrationError, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, bad_input, events, eventually, raw_json, until, with_worker};

fn payload(encoding: &str, data: &str) -> Payload {
    Payload {
        metadata: HashMap::from([("encoding".to_owned(), encoding.as_bytes().to_vec())]),
        data: data.as_bytes().to_vec(),
        ..Default::default()
    }
}

/// Returns the payloads for an absent value: from Go and Java, from TypeScript, and from the Temporal CLI.
fn nothing() -> [Option<Payload>; 3] {
    [
        None,
        Some(payload("binary/null", "")),
        Some(payload("json/plain", "null")),
    ]
}

fn payloads(payload: Option<Payload>) -> Option<Payloads> {
    payload.map(|payload| Payloads {
        payloads: vec![payload],
    })
}

/// Activities of a worker in another language, on the task queue `<queue>-go`.
struct Go;

#[activity_definitions]
impl Go {
    #[activity(name = "go_nothing")]
    fn nothing() -> Result<(), ActivityError> {
        unimplemented!()
    }

    #[activity(name = "go_pointer")]
    fn pointer() -> Result<Json<Option<String>>, ActivityError> {
        unimplemented!()
    }

    #[activity(name = "go_text")]
    fn text() -> Result<String, ActivityError> {
        unimplemented!()
    }
}

/// Awaits an activity in Go.
#[workflow]
#[derive(Default)]
pub struct AwaitsGo;

#[workflow_methods]
impl AwaitsGo {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        activity: Input<String>,
    ) -> WorkflowResult<Option<String>> {
        // Short, because a task that is lost on its way to the poller is given out again only after it.
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(5))
            .task_queue(format!("{}-go", ctx.task_queue()))
            .build();
        match activity.decode(ctx)?.as_str() {
            "nothing" => {
                let awaited = ctx.execute_activity(Go::nothing, (), options).await;
                awaited.or_cancelled(ctx).map(|()| None)
            }
            "pointer" => {
                let awaited = ctx.execute_activity(Go::pointer, (), options).await;
                awaited.or_cancelled(ctx).map(|Json(value)| value)
            }
            _ => {
                let awaited = ctx.execute_activity(Go::text, (), options).await;
                awaited.or_cancelled(ctx).map(Some)
            }
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Order {
    items: Vec<Item>,
    #[serde(default)]
    hold: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Item {
    fruit: Value,
    amount: u32,
}

/// Takes an order, and messages without an argument.
#[workflow]
#[derive(Default)]
pub struct TakesOrders {
    signals: usize,
}

#[workflow_methods]
impl TakesOrders {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        arguments: Inputs<Order, Order>,
    ) -> WorkflowResult<usize> {
        let (order, more) = arguments.decode(ctx)?;
        let hold = order.hold;
        ctx.wait_condition(|state| !hold || state.signals == 4)
            .await?;
        Ok(order.items.len() + more.unwrap_or_default().items.len())
    }

    #[signal]
    pub fn release(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.signals += 1;
    }

    #[update]
    pub fn count(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) -> usize {
        self.signals
    }

    #[query]
    pub fn signals(&self, _ctx: &WorkflowContextView, _nothing: Input<()>) -> usize {
        self.signals
    }
}

/// Passes its arguments on to an activity that takes none, and returns its result.
#[workflow]
#[derive(Default)]
pub struct PassesOn;

#[workflow_methods]
impl PassesOn {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        arguments: Input<Vec<Value>>,
    ) -> WorkflowResult<RawValue> {
        let activity = UntypedActivity::new("takes_nothing");
        let arguments = raw_json(&arguments.decode(ctx)?);
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(5));
        let passed = ctx.execute_activity(activity, arguments, options).await;
        passed.or_cancelled(ctx)
    }
}

pub struct Activities;

#[activities]
impl Activities {
    #[activity(name = "takes_text")]
    pub async fn takes_text(_ctx: ActivityContext, text: String) -> Result<String, ActivityError> {
        Ok(text)
    }

    #[activity(name = "takes_nothing")]
    pub async fn takes_nothing(
        _ctx: ActivityContext,
        _nothing: Json<()>,
    ) -> Result<String, ActivityError> {
        Ok("done".to_owned())
    }
}

fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<AwaitsGo>()?
        .register_workflow::<PassesOn>()?
        .register_workflow::<TakesOrders>()?
        .register_activities(Activities)
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}

/// Takes one activity task and completes it with this payload, like a worker in Go.
async fn complete_activity(env: &TestEnv, result: Option<Payload>) -> anyhow::Result<()> {
    let mut client = env.client.clone();
    let request = PollActivityTaskQueueRequest {
        namespace: client.namespace(),
        task_queue: Some(TaskQueue {
            name: format!("{}-go", env.task_queue),
            ..Default::default()
        }),
        identity: "go".to_owned(),
        ..Default::default()
    };
    let task_token = eventually("an activity of `go`", async || {
        let polled = client.poll_activity_task_queue(request.clone().into_request());
        let token = polled.await?.into_inner().task_token;
        // A poll that ends without a task has no token.
        Ok((!token.is_empty()).then_some(token))
    })
    .await?;
    let request = RespondActivityTaskCompletedRequest {
        namespace: client.namespace(),
        task_token,
        result: payloads(result),
        identity: "go".to_owned(),
        ..Default::default()
    };
    client
        .respond_activity_task_completed(request.into_request())
        .await?;
    Ok(())
}

/// Starts a workflow and completes it with this payload, like a worker in Go.
async fn complete_workflow<W>(
    env: &TestEnv,
    result: Option<Payload>,
) -> anyhow::Result<WorkflowHandle<Client, W>>
where
    W: temporalio_common::HasWorkflowDefinition,
{
    let mut client = env.client.clone();
    let handle = env.start_json::<W>("GoWorkflow", &[]).await?;
    let request = PollWorkflowTaskQueueRequest {
        namespace: client.namespace(),
        task_queue: Some(TaskQueue {
            name: env.task_queue.clone(),
            ..Default::default()
        }),
        identity: "go".to_owned(),
        ..Default::default()
    };
    let task_token = eventually("a workflow of `go`", async || {
        let polled = client.poll_workflow_task_queue(request.clone().into_request());
        let token = polled.await?.into_inner().task_token;
        Ok((!token.is_empty()).then_some(token))
    })
    .await?;
    let command = CompleteWorkflowExecutionCommandAttributes {
        result: payloads(result),
    };
    let request = RespondWorkflowTaskCompletedRequest {
        namespace: client.namespace(),
        task_token,
        commands: vec![Command {
            command_type: CommandType::CompleteWorkflowExecution.into(),
            attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(
                command,
            )),
            ..Default::default()
        }],
        identity: "go".to_owned(),
        ..Default::default()
    };
    client
        .respond_workflow_task_completed(request.into_request())
        .await?;
    Ok(handle)
}

async fn awaits_go(
    env: &TestEnv,
    activity: &str,
) -> anyhow::Result<WorkflowHandle<Client, AwaitsGo>> {
    env.start_json("AwaitsGo", &[json!(activity)]).await
}

/// A workflow awaits activities in Go that return nothing, as `()` and as `None`. Another encoding does not count as
/// nothing: the workflow task fails, and the error names the activity or the encoding.
#[tokio::test]
async fn absent_results_of_activities() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for awaited in ["nothing", "pointer"] {
            for result in nothing() {
                let handle = awaits_go(&env, awaited).await?;
                complete_activity(&env, result).await?;
                assert_eq!(handle.get_result(Default::default()).await?, None);
            }
        }
        let handle = awaits_go(&env, "pointer").await?;
        complete_activity(&env, Some(payload("json/plain", "\"value\""))).await?;
        let value = handle.get_result(Default::default()).await?;
        assert_eq!(value.as_deref(), Some("value"));

        let protobuf = || Some(payload("json/protobuf", "{}"));
        for (awaited, result, expected) in [
            (
                "text",
                None,
                "the result of the activity `go_text` is absent",
            ),
            (
                "text",
                protobuf(),
                "the result of the activity `go_text` is absent",
            ),
            (
                "pointer",
                protobuf(),
                "the payload's encoding is json/protobuf",
            ),
        ] {
            let handle = awaits_go(&env, awaited).await?;
            complete_activity(&env, result).await?;
            until(&handle, WorkflowTaskFailed).await?;
            let failed =
                events(&handle)
                    .await?
                    .into_iter()
                    .find_map(|event| match event.attributes {
                        Some(EventAttributes::WorkflowTaskFailedEventAttributes(failed)) => {
                            failed.failure
                        }
                        _ => None,
                    });
            let message = failed.unwrap_or_default().message;
            assert!(message.contains(expected), "{message}");
            handle.terminate(Default::default()).await?;
        }
        Ok(())
    })
    .await
}

/// A starter awaits a workflow in Go that returns nothing, as `()` and as `None`. Its error names an encoding that it
/// cannot read.
#[tokio::test]
async fn absent_results_of_workflows() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    for result in nothing() {
        let handle = complete_workflow::<ReturnsNothing>(&env, result.clone()).await?;
        handle.get_result(Default::default()).await?;
        let handle = complete_workflow::<AwaitsGo>(&env, result).await?;
        assert_eq!(handle.get_result(Default::default()).await?, None);
    }
    for (encoding, advice) in [
        (
            "binary/encrypted",
            "it is encrypted, so start this program with the key",
        ),
        (
            "json/protobuf",
            "send plain JSON instead of a protobuf message",
        ),
        ("binary/plain", "send JSON instead of bytes"),
    ] {
        let handle = complete_workflow::<AwaitsGo>(&env, Some(payload(encoding, "{}"))).await?;
        let error = handle.get_result(Default::default()).await.err();
        let expected = format!(
            "Payload conversion error: the payload's encoding is {encoding}, which cannot be read \
             here: {advice}"
        );
        assert_eq!(error.map(|error| describe(&error)), Some(expected));
    }
    Ok(())
}

/// A workflow in Go that returns nothing.
#[workflow]
#[derive(Default)]
pub struct ReturnsNothing;

#[workflow_methods]
impl ReturnsNothing {
    #[run]
    pub async fn run(_ctx: &mut WorkflowContext<Self>, _nothing: Input<()>) -> WorkflowResult<()> {
        Ok(())
    }
}

/// `null` counts as absent, for a second argument and for a field, and Go's empty list is `null`. Further arguments are
/// ignored. A list is not accepted as an object, and a number that would lose digits is refused.
#[tokio::test]
async fn arguments_of_workflows() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let start = async |arguments: &[Value]| {
            env.start_json::<TakesOrders>("TakesOrders", arguments)
                .await
        };
        let one = json!({"items": [{"fruit": 1, "amount": 8}], "hold": null});
        for (arguments, items) in [
            (vec![one.clone()], 1),
            (vec![one.clone(), Value::Null], 1),
            (vec![one.clone(), one.clone(), json!("ignored")], 2),
            (vec![json!({"items": null})], 0),
        ] {
            let handle = start(&arguments).await?;
            let taken = handle.get_result(Default::default()).await?;
            assert_eq!(taken, items, "{arguments:?}");
        }
        let number: Value = serde_json::from_str("12345678901234567.89")?;
        let rounded = number.to_string();
        let exact = r#"{"items":[{"fruit":12345678901234567.89,"amount":1}]}"#;
        let raw = RawValue::new(vec![payload("json/plain", exact)]);
        let options = env.start_options();
        let id = options.workflow_id.clone();
        let workflow = UntypedWorkflow::new("TakesOrders");
        env.client.start_workflow(workflow, raw, options).await?;
        let handle = env.client.get_workflow_handle::<TakesOrders>(id);
        let reason = "argument 1: `items[0].fruit`: 12345678901234567.89 has more digits than a \
                      double holds: send it as a string";
        assert_eq!(bad_input(&handle).await?, reason, "not {rounded}");
        for (arguments, reason) in [
            (vec![], "argument 1: the argument is missing"),
            (
                vec![Value::Null],
                "argument 1: invalid type: null, expected struct Order",
            ),
            (
                vec![json!({"items": [[1, 8]]})],
                "argument 1: `items[0]`: invalid type: sequence, expected an object",
            ),
            (
                vec![json!({"items": [{"fruit": 1, "amount": null}]})],
                "argument 1: `items[0]`: missing field `amount`",
            ),
        ] {
            assert_eq!(bad_input(&start(&arguments).await?).await?, reason);
        }
        Ok(())
    })
    .await
}

/// A signal, an update, a query and an activity that take no argument ignore any argument.
#[tokio::test]
async fn arguments_where_none_is_taken() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let arguments = [
            vec![],
            vec![Value::Null],
            vec![json!("surprise")],
            vec![json!(1), json!(2)],
        ];
        let hold = json!({"items": [], "hold": true});
        let handle = env
            .start_json::<UntypedWorkflow>("TakesOrders", &[hold])
            .await?;
        for (index, arguments) in arguments.iter().enumerate() {
            let raw = || raw_json(arguments);
            let signal = UntypedSignal::new("release");
            handle.signal(signal, raw(), Default::default()).await?;
            let query = UntypedQuery::new("signals");
            let queried = handle.query(query, raw(), Default::default()).await?;
            assert_eq!(queried.payloads[0].data, (index + 1).to_string().as_bytes());
            if index < 3 {
                let update = UntypedUpdate::new("count");
                let updated = handle
                    .execute_update(update, raw(), Default::default())
                    .await?;
                assert_eq!(updated.payloads[0].data, (index + 1).to_string().as_bytes());
            }
            let arguments = [json!(arguments)];
            let passed = env
                .start_json::<UntypedWorkflow>("PassesOn", &arguments)
                .await?;
            let passed = passed.get_result(Default::default()).await?;
            assert_eq!(passed.payloads[0].data, b"\"done\"");
        }
        handle.get_result(Default::default()).await?;
        Ok(())
    })
    .await
}

/// An activity that a client starts without a workflow: it ignores what it does not take. Arguments that
/// do not decode are retried, as the SDK does it, and the last failure says why.
#[tokio::test]
async fn standalone_activities() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let start = async |activity: &str, arguments: &[Value]| {
            let limit = ActivityCloseTimeouts::ScheduleToClose(Duration::from_secs(60));
            let id = env.start_options().workflow_id;
            let options = ActivityStartOptions::new(&env.task_queue, id, limit).build();
            let (activity, arguments) = (UntypedActivity::new(activity), raw_json(arguments));
            env.client
                .start_activity(activity, arguments, options)
                .await
        };
        let handle = start("takes_nothing", &[json!("surprise")]).await?;
        let done: RawValue = handle.result().await?;
        assert_eq!(done.payloads[0].data, b"\"done\"");
        for (arguments, reason) in [
            (
                vec![json!(1)],
                "Encoding error: invalid type: integer `1`, expected a string",
            ),
            (
                vec![json!("a"), json!("b")],
                "the arguments cannot be read: their number is wrong, or the encoding of one \
                 (if it is binary/encrypted, start the worker with the key)",
            ),
        ] {
            let handle = start("takes_text", &arguments).await?;
            loop {
                let options = ActivityDescribeOptions::builder().include_last_failure(true);
                let described = handle.describe(options.build()).await?;
                if let Some(failure) = &described.raw_info().last_failure {
                    assert_eq!(failure.message, reason);
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            handle.terminate(Default::default()).await?;
        }
        Ok(())
    })
    .await
}
