//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use anyhow::{anyhow, ensure};
use futures::{TryStreamExt, future::try_join3};
use resumable_activity::{
    activities::Transfer,
    search_attribute::{self, TRANSFER_STATUS},
    worker_options,
    workflows::{
        Status::{self, *},
        TransferWorkflow,
    },
};
use serde_json::{Value, json};
use shared::describe;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use temporalio_client::{
    Client, UntypedSignal, WorkflowHandle,
    errors::{WorkflowGetResultError, WorkflowInteractionError},
};
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType::{self, ActivityTaskCompleted, TimerStarted},
    history::v1::history_event::Attributes,
};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, bad_input, event_types, events, eventually, operate, raw_json, until, until_pending,
};
use tokio::sync::Notify;

type Handle = WorkflowHandle<Client, TransferWorkflow>;

/// An account that does not exist.
const WRONG: &str = "account-000";

/// The environment of a test whose worker has registered the search attribute, as the worker binary does.
pub(crate) async fn registered() -> anyhow::Result<TestEnv> {
    let env = TestEnv::new().await?;
    search_attribute::register(&env.client).await?;
    Ok(env)
}

pub(crate) async fn start(env: &TestEnv, to: &str) -> anyhow::Result<Handle> {
    let transfer = json!({"from_account": "account-001", "to_account": to, "amount": 500.0});
    env.start_json("TransferWorkflow", &[transfer]).await
}

/// Sends a signal as a client in another language can.
pub(crate) async fn send(
    handle: &Handle,
    signal: &str,
    argument: Value,
) -> Result<(), WorkflowInteractionError> {
    let signal = UntypedSignal::new(signal);
    handle
        .signal(signal, raw_json(&[argument]), Default::default())
        .await
}

async fn status(handle: &Handle) -> anyhow::Result<Status> {
    let query = TransferWorkflow::get_status;
    Ok(handle.query(query, ().into(), Default::default()).await?)
}

/// Waits until the query returns this status.
pub(crate) async fn until_status(handle: &Handle, expected: Status) -> anyhow::Result<()> {
    eventually(expected, async || {
        Ok((status(handle).await? == expected).then_some(()))
    })
    .await
}

/// Waits until a list query by the search attribute finds this workflow and no other one of the test.
pub(crate) async fn until_listed(
    env: &TestEnv,
    handle: &Handle,
    status: Status,
) -> anyhow::Result<()> {
    let (name, queue) = (TRANSFER_STATUS.name(), &env.task_queue);
    let query = format!("{name} = '{status}' AND TaskQueue = '{queue}'");
    let found = async || {
        let listed = env.client.list_workflows(&query, Default::default());
        let ids: Vec<String> = listed
            .map_ok(|workflow| workflow.id().to_owned())
            .try_collect()
            .await?;
        Ok((ids == [handle.info().workflow_id.clone()]).then_some(()))
    };
    eventually(format!("a list with {status}"), found).await
}

/// Returns what the history has of the search attribute.
async fn upserts(handle: &Handle) -> anyhow::Result<Vec<String>> {
    let mut statuses = Vec::new();
    for event in events(handle).await? {
        let Some(Attributes::UpsertWorkflowSearchAttributesEventAttributes(upsert)) =
            event.attributes
        else {
            continue;
        };
        let fields = upsert.search_attributes.unwrap_or_default().indexed_fields;
        let value = fields.get(TRANSFER_STATUS.name()).map(|value| &value.data);
        statuses.push(serde_json::from_slice(
            value.map_or(&[], |value| &value[..]),
        )?);
    }
    Ok(statuses)
}

/// Returns the accounts to which the activity was to transfer.
pub(crate) async fn accounts(handle: &Handle) -> anyhow::Result<Vec<String>> {
    let mut accounts = Vec::new();
    for event in events(handle).await? {
        let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = event.attributes
        else {
            continue;
        };
        let seconds = |seconds| Duration::from_secs(seconds).try_into().ok();
        ensure!(scheduled.start_to_close_timeout == seconds(10));
        ensure!(scheduled.retry_policy.unwrap_or_default().maximum_attempts == 3);
        for payload in scheduled.input.unwrap_or_default().payloads {
            accounts.push(serde_json::from_slice::<Transfer>(&payload.data)?.to_account);
        }
    }
    Ok(accounts)
}

async fn result(handle: &Handle) -> anyhow::Result<Result<String, String>> {
    let result = handle.get_result(Default::default()).await;
    Ok(result.map_err(|error| describe(&error)))
}

fn is_cancelled(result: &Result<String, WorkflowGetResultError>) -> bool {
    matches!(result, Err(WorkflowGetResultError::Cancelled { .. }))
}

/// What the published starter does: the transfer fails and is parked without a timer, is corrected, and is approved.
/// The query and the list query show each status, and the history has each of them once for each transition.
#[tokio::test]
async fn parked_corrected_and_approved() -> anyhow::Result<()> {
    let env = registered().await?;
    env.work(worker_options, async {
        let handle = start(&env, WRONG).await?;
        until_status(&handle, AwaitingCorrection).await?;
        until_listed(&env, &handle, AwaitingCorrection).await?;
        send(&handle, "retry_with_correction", json!("account-123")).await?;
        until_status(&handle, AwaitingApproval).await?;
        until_listed(&env, &handle, AwaitingApproval).await?;
        send(&handle, "approve", json!(true)).await?;
        let done = "Transfer of 500.0 to account-123 completed".to_owned();
        assert_eq!(result(&handle).await?, Ok(done));
        assert_eq!(status(&handle).await?, Completed);
        until_listed(&env, &handle, Completed).await?;
        let transitions = [
            Transferring,
            AwaitingCorrection,
            Transferring,
            AwaitingApproval,
            Completed,
        ];
        assert_eq!(upserts(&handle).await?, transitions.map(|s| s.to_string()));
        assert_eq!(accounts(&handle).await?, [WRONG, "account-123"]);
        assert!(!event_types(&handle).await?.contains(&TimerStarted));
        Ok(())
    })
    .await
}

/// A correction and answers that arrive before the first line of `run` are kept. Of two corrections the second counts,
/// because the operator has corrected the first. Of two answers the first counts. A correction is used only once, so
/// the workflow waits for another when the transfer fails again. Signals that do not decode are ignored, and so is an
/// empty correction.
#[tokio::test]
async fn early_signals_are_kept() -> anyhow::Result<()> {
    let env = registered().await?;
    let handle = start(&env, WRONG).await?;
    for account in [json!("account-456"), json!("account-001"), json!(7)] {
        send(&handle, "retry_with_correction", account).await?;
    }
    for nothing in [json!(""), json!(" \t"), json!(null), json!(["account-456"])] {
        send(&handle, "retry_with_correction", nothing).await?;
    }
    for answer in [json!("yes"), json!(null), json!(false), json!(true)] {
        send(&handle, "approve", answer).await?;
    }
    env.work(worker_options, async {
        until_status(&handle, AwaitingCorrection).await?;
        send(&handle, "retry_with_correction", json!("account-789")).await?;
        let rejected = "Transfer rejected by client".to_owned();
        assert_eq!(result(&handle).await?, Ok(rejected));
        assert_eq!(status(&handle).await?, Rejected);
        let expected = [WRONG, "account-001", "account-789"];
        assert_eq!(accounts(&handle).await?, expected);
        Ok(())
    })
    .await
}

/// After five corrections, a transfer that fails again fails the workflow, with the last error.
#[tokio::test]
async fn gives_up_after_five_corrections() -> anyhow::Result<()> {
    let env = registered().await?;
    env.work(worker_options, async {
        let handle = start(&env, WRONG).await?;
        for number in 1..=5 {
            until_status(&handle, AwaitingCorrection).await?;
            send(
                &handle,
                "retry_with_correction",
                json!(format!("{WRONG}-{number}")),
            )
            .await?;
        }
        let reason = "workflow failed: activity execute_transfer failed: \
                      Account account-000-5 not found (AccountNotFoundError)";
        assert_eq!(result(&handle).await?, Err(reason.to_owned()));
        assert_eq!(accounts(&handle).await?.len(), 6);
        assert_eq!(status(&handle).await?, Failed);
        until_listed(&env, &handle, Failed).await
    })
    .await
}

/// A bank that fails in the first attempts, or that answers when a test opens it.
#[derive(Clone, Default)]
pub struct TestBank {
    failures: Arc<AtomicU32>,
    closed: Option<Arc<Notify>>,
}

#[activities]
impl TestBank {
    #[activity(name = "execute_transfer")]
    pub async fn execute_transfer(
        self: Arc<Self>,
        _ctx: ActivityContext,
        _transfer: Transfer,
    ) -> Result<(), ActivityError> {
        if let Some(closed) = &self.closed {
            closed.notified().await;
        }
        let fail = |left: u32| left.checked_sub(1);
        let failed = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fail);
        if failed.is_err() {
            return Ok(());
        }
        let failure = ApplicationFailure::builder(anyhow!("the bank does not answer"))
            .next_retry_delay(Duration::from_millis(10));
        Err(failure.build().into())
    }
}

impl TestBank {
    fn options(&self, task_queue: &str) -> anyhow::Result<WorkerOptions> {
        let options = WorkerOptions::new(task_queue)
            .register_workflow::<TransferWorkflow>()?
            .register_activities(self.clone());
        Ok(options.build())
    }
}

/// The activity has three attempts, and then an operator lets the same transfer begin again.
#[tokio::test]
async fn retries_before_it_parks() -> anyhow::Result<()> {
    let env = registered().await?;
    let bank = TestBank::default();
    bank.failures.store(3 + 2, Ordering::Relaxed);
    env.work(|queue| bank.options(queue), async {
        let handle = start(&env, "account-123").await?;
        until_status(&handle, AwaitingCorrection).await?;
        assert_eq!(bank.failures.load(Ordering::Relaxed), 2);
        send(&handle, "retry_with_correction", json!("account-123")).await?;
        send(&handle, "approve", json!(true)).await?;
        let done = "Transfer of 500.0 to account-123 completed".to_owned();
        assert_eq!(result(&handle).await?, Ok(done));
        assert_eq!(bank.failures.load(Ordering::Relaxed), 0);
        assert_eq!(accounts(&handle).await?, ["account-123"; 2]);
        Ok(())
    })
    .await
}

/// A workflow that is cancelled while the bank works waits for its answer before it ends CANCELED.
#[tokio::test]
async fn cancelled_during_the_transfer() -> anyhow::Result<()> {
    let env = registered().await?;
    let closed = Arc::new(Notify::new());
    let bank = TestBank {
        closed: Some(closed.clone()),
        ..TestBank::default()
    };
    env.work(|queue| bank.options(queue), async {
        let handle = start(&env, "account-123").await?;
        until_pending(&handle, |activity| activity.attempt == 1).await?;
        handle.cancel(Default::default()).await?;
        until(&handle, EventType::ActivityTaskCancelRequested).await?;
        closed.notify_one();
        let ended = handle.get_result(Default::default()).await;
        ensure!(is_cancelled(&ended), "{ended:?}");
        ensure!(event_types(&handle).await?.contains(&ActivityTaskCompleted));
        Ok(())
    })
    .await
}

/// A workflow that is cancelled while it waits for a correction ends CANCELED. It keeps its last status, so the
/// operators' query also asks for running workflows.
#[tokio::test]
async fn cancelled_while_it_is_parked() -> anyhow::Result<()> {
    let env = registered().await?;
    env.work(worker_options, async {
        let handle = start(&env, WRONG).await?;
        until_status(&handle, AwaitingCorrection).await?;
        handle.cancel(Default::default()).await?;
        let ended = handle.get_result(Default::default()).await;
        ensure!(is_cancelled(&ended), "{ended:?}");
        until_listed(&env, &handle, AwaitingCorrection).await
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = registered().await?;
    let handle = start(&env, WRONG).await?;
    env.ends_cancelled(&handle, worker_options).await
}

/// The transfer fails for good, and before a worker knows, the workflow is cancelled. It ends CANCELED, and does not
/// wait for a correction.
#[tokio::test]
async fn fails_and_ends_cancelled() -> anyhow::Result<()> {
    let env = registered().await?;
    let handle = start(&env, WRONG).await?;
    let workflow_only = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let options = WorkerOptions::new(queue).register_workflow::<TransferWorkflow>()?;
        Ok(options.build())
    };
    operate::fails_and_ends_cancelled(&env, &handle, workflow_only, worker_options).await?;
    assert_eq!(upserts(&handle).await?, ["TRANSFERRING"]);
    Ok(())
}

/// Input that does not decode fails the workflow at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    let env = registered().await?;
    env.work(worker_options, async {
        let with =
            |amount: Value| vec![json!({"from_account": "a", "to_account": "b", "amount": amount})];
        let cases = [
            (vec![], "the argument is missing"),
            (
                vec![json!({"from_account": "a", "amount": 1})],
                "missing field `to_account`",
            ),
            (
                with(json!("500")),
                "`amount`: invalid type: string \"500\", expected f64",
            ),
            (
                with(json!(0)),
                "`amount`: 0.0 is not an amount, send a number above 0",
            ),
            (
                with(json!(-0.5)),
                "`amount`: -0.5 is not an amount, send a number above 0",
            ),
        ];
        for (arguments, reason) in cases {
            let handle: Handle = env.start_json("TransferWorkflow", &arguments).await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        Ok(())
    })
    .await
}

/// Several workers that start at the same time, or later, register the search attribute without an error.
#[tokio::test]
async fn several_workers_register() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let register = || search_attribute::register(&env.client);
    try_join3(register(), register(), register()).await?;
    register().await
}
