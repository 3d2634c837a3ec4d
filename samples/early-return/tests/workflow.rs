//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, bail};
use early_return::{
    activities::{InitActivity, Status, Transaction, TransactionRequest},
    worker_options,
    workflows::TransactionWorkflow,
};
use futures::future::join;
use serde_json::{Value, json};
use shared::{Json, describe};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use temporalio_client::{
    Client, WorkflowHandle,
    WorkflowIdConflictPolicy::Fail,
    WorkflowIdReusePolicy::RejectDuplicate,
    WorkflowUpdateWithStartOptions,
    errors::{
        WorkflowGetResultError, WorkflowStartError, WorkflowUpdateError,
        WorkflowUpdateWithStartError,
    },
};
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType::{
        self, ActivityTaskScheduled, MarkerRecorded, WorkflowExecutionStarted,
        WorkflowExecutionUpdateAccepted, WorkflowExecutionUpdateCompleted, WorkflowTaskCompleted,
        WorkflowTaskScheduled, WorkflowTaskStarted,
    },
    history::v1::{ActivityTaskScheduledEventAttributes, history_event::Attributes},
};
use temporalio_macros::activities;
use temporalio_sdk::{
    WorkerOptions, WorkflowRegistrationError,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, event_types, events, until, until_pending, with_worker,
};
use tokio::time::sleep;

type Handle = WorkflowHandle<Client, TransactionWorkflow>;

/// Activities that a test lets end, and that stop when they are cancelled.
#[derive(Clone, Default)]
pub struct SlowActivities {
    initialize: Arc<AtomicU32>,
    complete: Arc<AtomicU32>,
}

#[activities]
impl SlowActivities {
    #[activity(name = "init_transaction")]
    pub async fn init_transaction(
        self: Arc<Self>,
        ctx: ActivityContext,
        _request: TransactionRequest,
    ) -> Result<Transaction, ActivityError> {
        wait_for(&ctx, &self.initialize).await?;
        Ok(transaction("tx-slow", Status::Initialized))
    }

    #[activity(name = "complete_transaction")]
    pub async fn complete_transaction(
        self: Arc<Self>,
        ctx: ActivityContext,
        transaction: Transaction,
    ) -> Result<Transaction, ActivityError> {
        wait_for(&ctx, &self.complete).await?;
        Ok(transaction)
    }

    #[activity(name = "cancel_transaction")]
    pub async fn cancel_transaction(
        _ctx: ActivityContext,
        _transaction: Json<Option<Transaction>>,
    ) -> Result<(), ActivityError> {
        Ok(())
    }
}

async fn wait_for(ctx: &ActivityContext, opened: &AtomicU32) -> Result<(), ActivityError> {
    while opened.load(Relaxed) == 0 {
        if ctx.is_cancelled() {
            return Err(ActivityError::cancelled());
        }
        ctx.record_heartbeat(()).await?;
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

impl SlowActivities {
    fn options(&self, task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
        Ok(WorkerOptions::new(task_queue)
            .graceful_shutdown_period(Duration::ZERO)
            .register_workflow::<TransactionWorkflow>()?
            .register_activities(self.clone())
            .build())
    }
}

fn transaction(id: &str, status: Status) -> Transaction {
    let id = id.to_owned();
    Transaction { id, status }
}

fn request(amount: f64, init: InitActivity) -> TransactionRequest {
    TransactionRequest {
        amount,
        currency: "USD".to_owned(),
        init: Some(init),
    }
}

/// Returns a handle of a workflow that has not been started yet.
fn new_workflow(env: &TestEnv) -> Handle {
    env.client
        .get_workflow_handle(env.start_options().workflow_id)
}

async fn start_early(
    env: &TestEnv,
    workflow: &Handle,
    request: TransactionRequest,
    update_id: &str,
) -> Result<Transaction, WorkflowUpdateWithStartError> {
    let id = workflow.info().workflow_id.clone();
    let options = WorkflowUpdateWithStartOptions::new(&env.task_queue, id, Fail)
        .id_reuse_policy(RejectDuplicate)
        .update_id(update_id.to_owned());
    env.client
        .execute_update_with_start_workflow(
            TransactionWorkflow::run,
            request.into(),
            TransactionWorkflow::return_init_result,
            ().into(),
            options.build(),
        )
        .await
}

async fn ask(workflow: &Handle) -> Result<Transaction, WorkflowUpdateError> {
    let update = TransactionWorkflow::return_init_result;
    workflow
        .execute_update(update, ().into(), Default::default())
        .await
}

/// Returns the types of the activities that the workflow has scheduled, with their input.
async fn scheduled(workflow: &Handle) -> anyhow::Result<Vec<(String, Value)>> {
    let mut scheduled = Vec::new();
    for event in events(workflow).await? {
        if let Some(Attributes::ActivityTaskScheduledEventAttributes(activity)) = event.attributes {
            let input = activity.input.unwrap_or_default().payloads;
            // Nothing is `binary/null` on the wire, without data.
            let input = match input[0].data.is_empty() {
                true => json!(null),
                false => serde_json::from_slice(&input[0].data)?,
            };
            scheduled.push((activity.activity_type.unwrap_or_default().name, input));
        }
    }
    Ok(scheduled)
}

async fn first_activity(workflow: &Handle) -> anyhow::Result<ActivityTaskScheduledEventAttributes> {
    let mut history = events(workflow).await?.into_iter();
    let activity = history.find_map(|event| match event.attributes {
        Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => Some(scheduled),
        _ => None,
    });
    activity.context("no activity")
}

fn seconds<T: TryFrom<Duration>>(seconds: u64) -> Option<T> {
    Duration::from_secs(seconds).try_into().ok()
}

async fn ends_cancelled(workflow: &Handle) -> anyhow::Result<()> {
    match workflow.get_result(Default::default()).await {
        Err(WorkflowGetResultError::Cancelled { .. }) => Ok(()),
        other => bail!("{other:?}"),
    }
}

/// With a local activity, the update is accepted and completed in the first workflow task, and phase 2 begins in the
/// same task. Its activity has the timeouts of the README.
#[tokio::test]
async fn returns_in_the_first_workflow_task() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let workflow = new_workflow(&env);
        let id = format!("tx-{}", workflow.info().workflow_id);
        let early = start_early(&env, &workflow, request(100.0, InitActivity::Local), "1").await?;
        assert_eq!(early, transaction(&id, Status::Initialized));
        let history = event_types(&workflow).await?;
        let expected = [
            WorkflowExecutionStarted,
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
            WorkflowTaskCompleted,
            WorkflowExecutionUpdateAccepted,
            MarkerRecorded,
            WorkflowExecutionUpdateCompleted,
            ActivityTaskScheduled,
        ];
        assert_eq!(history[..expected.len()], expected);

        // Phase 1 has ended, so an update that comes later returns at once.
        assert_eq!(ask(&workflow).await?, early);
        let activity = first_activity(&workflow).await?;
        assert_eq!(activity.start_to_close_timeout, seconds(30));
        assert_eq!(activity.heartbeat_timeout, seconds(2));

        let result = workflow.get_result(Default::default()).await?;
        assert_eq!(result, transaction(&id, Status::Completed));
        assert_eq!(activity_types(&workflow).await?, ["complete_transaction"]);
        Ok(())
    })
    .await
}

/// With a regular activity, the update returns while phase 2 still runs, too. A second start of the transaction is
/// refused while the first one runs and after its end. If the call is repeated with the same update id, it returns
/// the same answer.
#[tokio::test]
async fn returns_before_phase_2() -> anyhow::Result<()> {
    let slow = SlowActivities::default();
    slow.initialize.store(1, Relaxed);
    with_worker(
        |queue| slow.options(queue),
        async |env| {
            let workflow = new_workflow(&env);
            let start = async |update_id: &str| {
                let request = request(100.0, InitActivity::Regular);
                start_early(&env, &workflow, request, update_id).await
            };
            let initialized = transaction("tx-slow", Status::Initialized);
            assert_eq!(start("1").await?, initialized);
            let refused = |started: Result<Transaction, WorkflowUpdateWithStartError>| {
                let already = matches!(
                    started,
                    Err(WorkflowUpdateWithStartError::Start(
                        WorkflowStartError::AlreadyStarted { .. }
                    ))
                );
                assert!(already, "{started:?}");
            };
            refused(start("2").await);
            assert_eq!(start("1").await?, initialized);
            slow.complete.store(1, Relaxed);
            assert_eq!(workflow.get_result(Default::default()).await?, initialized);
            assert_eq!(start("1").await?, initialized);
            refused(start("3").await);
            let init = first_activity(&workflow).await?;
            assert_eq!(init.schedule_to_close_timeout, seconds(5));
            assert_eq!(init.start_to_close_timeout, seconds(2));
            let expected = ["init_transaction", "complete_transaction"];
            assert_eq!(activity_types(&workflow).await?, expected);
            Ok(())
        },
    )
    .await
}

/// An invalid amount fails the update and the workflow with the same type and message, and the transaction is
/// cancelled in between. Both kinds of activities do the same.
#[tokio::test]
async fn fails_early() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cancelled = ("cancel_transaction".to_owned(), json!(null));
        for (init, activities) in [
            (InitActivity::Local, vec![cancelled.clone()]),
            (
                InitActivity::Regular,
                vec![
                    (
                        "init_transaction".to_owned(),
                        json!({"amount": -1.0, "currency": "USD", "init": "regular"}),
                    ),
                    cancelled,
                ],
            ),
        ] {
            let workflow = new_workflow(&env);
            let early = start_early(&env, &workflow, request(-1.0, init), "1").await;
            let reason = "Invalid amount: -1.0 (InvalidAmount)";
            let error = early.err().context("initialized")?;
            assert_eq!(describe(&error), format!("update failed: {reason}"));
            let error = workflow
                .get_result(Default::default())
                .await
                .err()
                .context("completed")?;
            assert_eq!(describe(&error), format!("workflow failed: {reason}"));
            assert_eq!(scheduled(&workflow).await?, activities);
        }
        Ok(())
    })
    .await
}

/// A workflow that is cancelled in phase 1 fails its update, cancels the transaction, and ends CANCELED.
#[tokio::test]
async fn cancelled_in_phase_1() -> anyhow::Result<()> {
    let slow = SlowActivities::default();
    with_worker(
        |queue| slow.options(queue),
        async |env| {
            let workflow = new_workflow(&env);
            let request = request(100.0, InitActivity::Regular);
            let starting = start_early(&env, &workflow, request, "1");
            let cancelling = async {
                // Until the workflow has been started.
                while workflow.describe(Default::default()).await.is_err() {
                    sleep(Duration::from_millis(10)).await;
                }
                until(&workflow, ActivityTaskScheduled).await?;
                workflow.cancel(Default::default()).await?;
                anyhow::Ok(())
            };
            let (early, cancelled) = join(starting, cancelling).await;
            cancelled?;
            let Err(WorkflowUpdateWithStartError::Update(WorkflowUpdateError::Failed(failure))) =
                early
            else {
                bail!("{early:?}");
            };
            assert!(!failure.message.contains("completed before"), "{failure:?}");
            ends_cancelled(&workflow).await?;
            let last = scheduled(&workflow).await?.pop();
            assert_eq!(last, Some(("cancel_transaction".to_owned(), json!(null))));
            Ok(())
        },
    )
    .await
}

/// A workflow that is cancelled in phase 2 waits until `complete_transaction` has stopped, cancels the transaction, and
/// ends CANCELED.
#[tokio::test]
async fn cancelled_in_phase_2() -> anyhow::Result<()> {
    let slow = SlowActivities::default();
    slow.initialize.store(1, Relaxed);
    with_worker(
        |queue| slow.options(queue),
        async |env| {
            let workflow = new_workflow(&env);
            start_early(&env, &workflow, request(100.0, InitActivity::Local), "1").await?;
            until_pending(&workflow, |activity| activity.last_heartbeat_time.is_some()).await?;
            workflow.cancel(Default::default()).await?;
            ends_cancelled(&workflow).await?;
            let expected = [
                ActivityTaskScheduled,
                EventType::ActivityTaskCanceled,
                ActivityTaskScheduled,
                EventType::ActivityTaskCompleted,
            ];
            let mut history = event_types(&workflow).await?;
            history.retain(|event| expected.contains(event));
            assert_eq!(history, expected);
            let last = scheduled(&workflow).await?.pop();
            let initialized = json!({"id": "tx-slow", "status": "initialized"});
            assert_eq!(last, Some(("cancel_transaction".to_owned(), initialized)));
            Ok(())
        },
    )
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let input = json!({"amount": 100, "currency": "USD"});
    let workflow: Handle = env.start_json("TransactionWorkflow", &[input]).await?;
    env.ends_cancelled(&workflow, worker_options).await?;
    assert_eq!(activity_types(&workflow).await?, ["cancel_transaction"]);
    Ok(())
}

/// Input that does not decode fails the workflow at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cases = [
            (vec![], "the argument is missing"),
            (vec![json!({"currency": "USD"})], "missing field `amount`"),
            (vec![json!({"amount": 1})], "missing field `currency`"),
            (
                vec![json!({"amount": "100", "currency": "USD"})],
                "`amount`: invalid type: string \"100\", expected f64",
            ),
            (
                vec![json!({"amount": 100, "currency": "USD", "init": "remote"})],
                "`init`: unknown variant `remote`, expected `local` or `regular`",
            ),
        ];
        for (arguments, reason) in cases {
            let workflow: Handle = env.start_json("TransactionWorkflow", &arguments).await?;
            assert_eq!(bad_input(&workflow).await?, reason);
        }
        Ok(())
    })
    .await
}
