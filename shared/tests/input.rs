//! Bad input on a real server: the workflow fails at once or continues, but never hangs.

#![allow(missing_docs, reason = "a workflow for this test alone")]

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{Input, OrCancelled, describe};
use std::time::Duration;
use temporalio_client::{
    Client, NamespacedClient, UntypedSignal, UntypedWorkflow, grpc::WorkflowService,
    tonic::IntoRequest,
};
use temporalio_common::{
    RetryPolicy,
    protos::temporal::api::{
        common::v1::WorkflowExecution,
        enums::v1::EventType::{ChildWorkflowExecutionStarted, WorkflowTaskFailed},
        workflowservice::v1::ResetWorkflowExecutionRequest,
    },
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ChildWorkflowOptions, ContinueAsNewOptions, SyncWorkflowContext,
    WorkerOptions, WorkflowContext, WorkflowRegistrationError, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, bad_input, raw_json, until, until_pending, with_worker};

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Deposit {
    amount: u32,
}

/// Adds up the numbers in signals, until it has received as many valid signals as its input says.
#[workflow]
#[derive(Default)]
pub struct DepositsWorkflow {
    deposits: Vec<u32>,
    refused: Vec<String>,
}

#[workflow_methods]
impl DepositsWorkflow {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        count: Input<usize>,
    ) -> WorkflowResult<(u32, Vec<String>)> {
        let count = count.decode(ctx)?;
        ctx.wait_condition(|state| state.deposits.len() >= count)
            .await?;
        Ok(ctx.state(|state| (state.deposits.iter().sum(), state.refused.clone())))
    }

    #[signal]
    pub fn deposit(&mut self, _ctx: &mut SyncWorkflowContext<Self>, deposit: Input<Deposit>) {
        match deposit.into_result() {
            Ok(Deposit { amount }) => self.deposits.push(amount),
            Err(bad) => self.refused.push(bad.to_string()),
        }
    }
}

/// A workflow and an activity of the old version, which take a number.
#[workflow]
#[derive(Default)]
pub struct Old;

#[workflow_methods]
impl Old {
    #[run(name = "Receiver")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, number: Input<u32>) -> WorkflowResult<u32> {
        number.decode(ctx)
    }
}

pub struct OldActivities;

#[activities]
impl OldActivities {
    #[activity(name = "receive")]
    pub async fn receive(_ctx: ActivityContext, number: u32) -> Result<u32, ActivityError> {
        Ok(number)
    }
}

fn old_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<Old>()?
        .register_activities(OldActivities)
        .build())
}

/// The workflow and the activity of the new version, which take a text.
#[workflow]
#[derive(Default)]
pub struct New;

#[workflow_methods]
impl New {
    #[run(name = "Receiver")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, text: Input<String>) -> WorkflowResult<u32> {
        Ok(text.decode(ctx)?.len() as u32)
    }
}

pub struct NewActivities;

#[activities]
impl NewActivities {
    #[activity(name = "receive")]
    pub async fn receive(_ctx: ActivityContext, text: String) -> Result<u32, ActivityError> {
        Ok(text.len() as u32)
    }
}

fn new_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<New>()?
        .register_activities(NewActivities)
        .build())
}

/// Timeout of a workflow task. A worker reports only the first failure of a task, so the next attempt takes this long
/// before the server tries again.
const TASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Ways in which one part of an application sends a text to another part.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Edge {
    Activity,
    Child,
    ContinueAsNew,
}

/// Sends a text of the new version to a task queue that workers of both versions may poll.
#[workflow]
#[derive(Default)]
pub struct Sender;

#[workflow_methods]
impl Sender {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: Input<Value>) -> WorkflowResult<u32> {
        let Ok((edge, task_queue)) = serde_json::from_value(input.decode(ctx)?) else {
            return Ok(0);
        };
        let text = "three".to_owned();
        match edge {
            Edge::Activity => {
                let policy = RetryPolicy::builder().backoff_coefficient(1.0);
                let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(5))
                    .task_queue(task_queue)
                    .retry_policy(policy.build())
                    .build();
                let received = ctx.execute_activity(NewActivities::receive, text, options);
                received.await.or_cancelled(ctx)
            }
            Edge::Child => {
                let id = format!("{}-child", ctx.workflow_id());
                let mut options = ChildWorkflowOptions::workflow_id(id);
                options.task_queue = Some(task_queue);
                options.task_timeout = Some(TASK_TIMEOUT);
                let child = ctx.start_child_workflow(New::run, text, options);
                let child = child.await.or_cancelled(ctx)?;
                child.result().await.or_cancelled(ctx)
            }
            Edge::ContinueAsNew => {
                let options = ContinueAsNewOptions::builder()
                    .workflow_type("Receiver".to_owned())
                    .task_queue(task_queue)
                    .task_timeout(TASK_TIMEOUT)
                    .build();
                match ctx.continue_as_new(json!(text).into(), options)? {}
            }
        }
    }
}

fn sender_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<Sender>()?
        .build())
}

/// Resets a workflow to the point before its first task.
async fn reset(client: &Client, workflow_id: &str) -> anyhow::Result<()> {
    let request = ResetWorkflowExecutionRequest {
        namespace: client.namespace(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: workflow_id.to_owned(),
            ..Default::default()
        }),
        reason: "test".to_owned(),
        workflow_task_finish_event_id: 4,
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let mut client = client.clone();
    client
        .reset_workflow_execution(request.into_request())
        .await?;
    Ok(())
}

/// In a rolling deployment, an old worker receives input from a new one: for an activity, a child, the next run, and a
/// run after a reset. None of them fails permanently, and a new worker completes them. Only input from a client fails
/// its workflow, because only the client can send something else.
#[tokio::test]
async fn a_new_worker_completes_what_an_old_one_cannot_decode() -> anyhow::Result<()> {
    let (senders, receivers) = (TestEnv::new().await?, TestEnv::new().await?);
    senders
        .work(sender_options, async {
            let mut waiting = Vec::new();
            for edge in [Edge::Activity, Edge::Child, Edge::ContinueAsNew] {
                let input = json!([edge, receivers.task_queue]);
                let handle = senders.start_json::<Sender>("Sender", &[input]).await?;
                waiting.push(handle);
            }
            let client = &receivers.client;
            let old = async {
                let mut options = receivers.start_options();
                options.task_timeout = Some(TASK_TIMEOUT);
                let started = client
                    .start_workflow(New::run, "three".into(), options)
                    .await?;
                let reason = "invalid type: string \"three\", expected u32";
                assert_eq!(bad_input(&started).await?, reason);
                let id = started.info().workflow_id.clone();
                reset(client, &id).await?;
                waiting.push(client.get_workflow_handle(id));

                let [activity, child, continued, reset] = &waiting[..] else {
                    bail!("there are four ways");
                };
                let failed = until_pending(activity, |activity| activity.attempt > 1).await?;
                let message = failed.last_failure.unwrap_or_default().message;
                assert_eq!(message, format!("Encoding error: {reason}"));
                until(child, ChildWorkflowExecutionStarted).await?;
                let child = format!("{}-child", child.info().workflow_id);
                for id in [
                    &child,
                    &continued.info().workflow_id,
                    &reset.info().workflow_id,
                ] {
                    let handle = client.get_workflow_handle::<UntypedWorkflow>(id);
                    until(&handle, WorkflowTaskFailed).await?;
                }
                Ok(())
            };
            receivers.work(old_options, old).await?;
            let new = async {
                for handle in &waiting {
                    assert_eq!(handle.get_result(Default::default()).await?, 5);
                }
                Ok(())
            };
            receivers.work(new_options, new).await
        })
        .await
}

fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<DepositsWorkflow>()?
        .build())
}

/// A bad signal is recorded, and the workflow continues. The valid signals before and after it count.
#[tokio::test]
async fn a_bad_signal_does_not_block_the_workflow() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(DepositsWorkflow::run, 2.into(), env.start_options())
            .await?;
        let id = handle.info().workflow_id.clone();
        let untyped = env.client.get_workflow_handle::<UntypedWorkflow>(id);
        for arguments in [vec![json!({"amount": "lots"})], vec![]] {
            let signal = UntypedSignal::new("deposit");
            untyped
                .signal(signal, raw_json(&arguments), Default::default())
                .await?;
        }
        for amount in [1, 2] {
            let deposit = Deposit { amount };
            handle
                .signal(
                    DepositsWorkflow::deposit,
                    deposit.into(),
                    Default::default(),
                )
                .await?;
        }
        let (sum, refused) = handle.get_result(Default::default()).await?;
        assert_eq!(sum, 3);
        let wrong_type = "bad input: `amount`: invalid type: string \"lots\", expected u32";
        assert_eq!(refused, [wrong_type, "bad input: the argument is missing"]);
        Ok(())
    })
    .await
}

/// Megabytes, deep nesting and nonsense fail their workflow like other bad input, and the worker continues.
#[tokio::test]
async fn hostile_input_fails_only_its_own_workflow() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let deep = (0..120).fold(json!(1), |value, _| json!([value]));
        for poison in [
            json!("x".repeat(1 << 20)),
            deep,
            json!(vec![0; 10_000]),
            json!(-1),
        ] {
            let handle = env
                .start_json::<DepositsWorkflow>("DepositsWorkflow", &[poison])
                .await?;
            let error = handle
                .get_result(Default::default())
                .await
                .expect_err("poison");
            assert!(
                describe(&error).starts_with("workflow failed: bad input: invalid"),
                "{error}"
            );
        }
        let handle = env
            .start_json::<DepositsWorkflow>("DepositsWorkflow", &[json!(0)])
            .await?;
        assert_eq!(handle.get_result(Default::default()).await?.0, 0);
        Ok(())
    })
    .await
}
