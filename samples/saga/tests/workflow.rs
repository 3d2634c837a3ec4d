//! Runs `OpenAccountWorkflow` on a real server, with the `worker_options` of the worker binary.

use crate::whole::{ACCOUNT, UNDO_ACCOUNT, is_done, names, new_ledger};
use anyhow::Context;
use saga::{
    activities::AccountActivities,
    ledger::{Entry, Ledger},
    worker_options,
    workflows::{OpenAccountWorkflow, Step, Undone},
};
use serde_json::{Value, json};
use shared::describe;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use temporalio_client::{
    Client, NamespacedClient, UntypedQuery, UntypedWorkflow, WorkflowHandle,
    errors::WorkflowGetResultError, grpc::WorkflowService, tonic::IntoRequest,
};
use temporalio_common::{
    data_converters::PayloadConverter,
    protos::temporal::api::{
        common::v1::WorkflowExecution,
        enums::v1::{EventType, PendingActivityState},
        history::v1::{HistoryEvent, history_event::Attributes},
        workflowservice::v1::ResetWorkflowExecutionRequest,
    },
};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, event_types, events, operate, until, until_pending,
    with_worker,
};
use tokio::sync::Notify;

type Handle = WorkflowHandle<Client, OpenAccountWorkflow>;

/// A request as the published starter sends it, with these fields in addition.
fn request(account_id: &str, more: Value) -> Value {
    let mut request = json!({
        "accountId": account_id,
        "clientName": "Alice Example",
        "clientEmail": "alice@example.com",
        "address": "123 Main St, Brooklyn NY",
        "bankAccount": "DE89-3704-0044-0532-0130-00",
    });
    if let (Some(request), Some(more)) = (request.as_object_mut(), more.as_object()) {
        request.extend(more.clone());
    }
    request
}

async fn start(env: &TestEnv, account_id: &str, more: Value) -> anyhow::Result<Handle> {
    env.start_json("OpenAccountWorkflow", &[request(account_id, more)])
        .await
}

/// How the workflow ended: its result, or its error in one line.
async fn end(handle: &Handle) -> Result<String, String> {
    let ended = handle.get_result(Default::default()).await;
    ended.map_err(|error| describe(&error))
}

async fn compensations(handle: &Handle) -> anyhow::Result<Undone> {
    let query = OpenAccountWorkflow::compensations;
    Ok(handle.query(query, ().into(), Default::default()).await?)
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Compensations that run at once end in any order.
fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// A service that a test holds up.
#[derive(Clone, Default)]
pub struct Gate {
    /// Opens the gate for one attempt.
    pub open: Arc<Notify>,
    attempts: Arc<AtomicU32>,
}

impl Gate {
    /// Waits until a test opens the gate.
    pub async fn pass(&self) {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        self.open.notified().await;
    }
}

/// The third step and its compensation, which wait for a test.
pub struct SlowClient {
    real: Arc<AccountActivities>,
    add: Option<Gate>,
    remove: Option<Gate>,
}

#[activities]
impl SlowClient {
    /// Adds the client, then waits before it says so.
    #[activity(name = "add_client")]
    pub async fn add_client(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: Step,
    ) -> Result<(), ActivityError> {
        self.real.clone().change(&ctx, step).await?;
        if let Some(gate) = &self.add {
            gate.pass().await;
        }
        Ok(())
    }

    /// Fails once, then waits, then removes the client.
    #[activity(name = "remove_client")]
    pub async fn remove_client(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: Step,
    ) -> Result<(), ActivityError> {
        if let Some(gate) = &self.remove {
            if gate.attempts.load(Ordering::SeqCst) == 0 {
                gate.attempts.fetch_add(1, Ordering::SeqCst);
                return Err(ApplicationFailure::builder("try again").build().into());
            }
            gate.pass().await;
        }
        self.real.clone().change(&ctx, step).await
    }
}

/// The worker's options with gates in the third step and in its compensation.
fn gated(
    queue: &str,
    ledger: &Ledger,
    add: Option<&Gate>,
    remove: Option<&Gate>,
) -> anyhow::Result<WorkerOptions> {
    let ledger = ledger.clone();
    let real = Arc::new(AccountActivities {
        ledger: ledger.clone(),
    });
    Ok(WorkerOptions::new(queue)
        .register_workflow::<OpenAccountWorkflow>()?
        .register_activities(AccountActivities { ledger })
        // Of two activities with the same name, the later one counts.
        .register_activities(SlowClient {
            real,
            add: add.cloned(),
            remove: remove.cloned(),
        })
        .build())
}

/// Each step is done once, under a key of its own, and has one attempt of ten seconds. No compensation runs.
#[tokio::test]
async fn opens_an_account() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    with_worker(
        |queue| worker_options(queue, ledger.clone()),
        async |env| {
            let handle = start(&env, "a", json!({"fail_at": ""})).await?;
            assert_eq!(end(&handle).await, Ok("Account a opened".to_owned()));
            assert_eq!(activity_types(&handle).await?, ACCOUNT);
            let entries = ledger.entries("a").await?;
            assert!(is_done(&entries, &ACCOUNT)?);
            let run_id = handle
                .describe(Default::default())
                .await?
                .run_id()
                .to_owned();
            for (entry, step) in entries.iter().zip(ACCOUNT) {
                assert_eq!(entry.key, format!("{run_id}:{step}"));
            }
            assert_eq!(compensations(&handle).await?, Undone::default());
            for event in events(&handle).await? {
                if let Some(Attributes::ActivityTaskScheduledEventAttributes(step)) =
                    event.attributes
                {
                    let limit = step.start_to_close_timeout.context("no limit")?;
                    assert_eq!(
                        (
                            limit.seconds,
                            step.retry_policy.map(|policy| policy.maximum_attempts)
                        ),
                        (10, Some(1))
                    );
                }
            }
            Ok(())
        },
    )
    .await
}

/// Whichever step fails, after it has happened, the saga undoes it and the steps before it, in reverse order or all at
/// once. Then it fails with the error of the step. Without `fail_at`, as the published starter leaves it out, the last
/// step fails.
#[tokio::test]
async fn undoes_the_steps() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    with_worker(
        |queue| worker_options(queue, ledger.clone()),
        async |env| {
            for parallel in [false, true] {
                for (at, step) in ACCOUNT.iter().enumerate() {
                    let mut more = json!({"fail_at": step, "parallelCompensation": parallel});
                    if (at, parallel) == (3, false) {
                        more = json!({});
                    }
                    let account = format!("{step}-{parallel}");
                    let handle = start(&env, &account, more).await?;
                    let failed = format!(
                        "workflow failed: activity {step} failed: the service is down (ServiceDown)"
                    );
                    assert_eq!(end(&handle).await, Err(failed));
                    let undo = &UNDO_ACCOUNT[3 - at..];
                    assert_eq!(
                        activity_types(&handle).await?,
                        [&ACCOUNT[..=at], undo].concat()
                    );
                    let entries = ledger.entries(&account).await?;
                    assert!(!is_done(&entries, &ACCOUNT)?);
                    assert_eq!(entries.len(), 2 * (at + 1));
                    let undone = compensations(&handle).await?;
                    assert_eq!(
                        (sorted(undone.undone), undone.failed),
                        (sorted(owned(undo)), vec![])
                    );
                    if !parallel {
                        assert_eq!(names(&entries)[at + 1..], *undo);
                    }
                    // All compensations are scheduled in one workflow task, or each one after the last one has ended.
                    let tasks: std::collections::BTreeSet<i64> =
                        scheduled_by(&events(&handle).await?, undo);
                    assert_eq!(tasks.len(), if parallel { 1 } else { undo.len() });
                }
            }
            Ok(())
        },
    )
    .await
}

/// The workflow tasks that scheduled these activities.
fn scheduled_by(events: &[HistoryEvent], activities: &[&str]) -> std::collections::BTreeSet<i64> {
    let tasks = events.iter().filter_map(|event| match &event.attributes {
        Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
            let name = scheduled.activity_type.as_ref()?.name.as_str();
            activities
                .contains(&name)
                .then_some(scheduled.workflow_task_completed_event_id)
        }
        _ => None,
    });
    tasks.collect()
}

/// A compensation that fails for good does not stop the others. The query names it, and the workflow fails with the
/// error of the step, not with that of the compensation.
#[tokio::test]
async fn a_compensation_fails() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    let env = TestEnv::new().await?;
    let handle = start(&env, "a", json!({})).await?;
    let run_id = handle
        .describe(Default::default())
        .await?
        .run_id()
        .to_owned();
    // Somebody else has used its key.
    let key = format!("{run_id}:comp-add_client");
    let (subject, what) = ("another".to_owned(), "another".to_owned());
    ledger
        .record(Entry {
            key,
            subject,
            what,
            undoes: None,
        })
        .await?;
    env.work(|queue| worker_options(queue, ledger.clone()), async {
        let failed =
            "workflow failed: activity add_bank_account failed: the service is down (ServiceDown)";
        assert_eq!(end(&handle).await, Err(failed.to_owned()));
        assert_eq!(
            activity_types(&handle).await?,
            [ACCOUNT, UNDO_ACCOUNT].concat()
        );
        let expected = Undone {
            undone: owned(&[
                "disconnect_bank_accounts",
                "clear_postal_addresses",
                "close_account",
            ]),
            failed: owned(&["remove_client"]),
        };
        assert_eq!(compensations(&handle).await?, expected);
        let entries = ledger.entries("a").await?;
        let error = is_done(&entries, &ACCOUNT)
            .err()
            .context("whole")?
            .to_string();
        assert!(error.starts_with("add_client is not undone"), "{error}");
        Ok(())
    })
    .await
}

/// A workflow that is cancelled in the middle of a step waits until the step has ended, and undoes it too. The next step
/// does not start, and its compensation is not registered. The workflow ends CANCELED.
#[tokio::test]
async fn cancelled_in_the_middle_of_a_step() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    let gate = Gate::default();
    with_worker(
        |queue| gated(queue, &ledger, Some(&gate), None),
        async |env| {
            for parallel in [false, true] {
                let account = format!("a-{parallel}");
                let handle = start(
                    &env,
                    &account,
                    json!({"fail_at": "", "parallelCompensation": parallel}),
                )
                .await?;
                until_pending(&handle, |activity| {
                    let name = activity.activity_type.as_ref().map(|of| of.name.as_str());
                    name == Some("add_client") && activity.state() == PendingActivityState::Started
                })
                .await?;
                handle.cancel(Default::default()).await?;
                until(&handle, EventType::ActivityTaskCancelRequested).await?;
                gate.open.notify_one();
                let ended = handle.get_result(Default::default()).await;
                assert!(
                    matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
                    "{ended:?}"
                );
                assert_eq!(
                    activity_types(&handle).await?,
                    [&ACCOUNT[..3], &UNDO_ACCOUNT[1..]].concat()
                );
                assert!(!is_done(&ledger.entries(&account).await?, &ACCOUNT)?);
                assert_eq!(
                    sorted(compensations(&handle).await?.undone),
                    sorted(owned(&UNDO_ACCOUNT[1..]))
                );
                // The step had ended before its compensation was scheduled.
                let events = event_types(&handle).await?;
                let at = |event| {
                    events
                        .iter()
                        .enumerate()
                        .filter(move |(_, found)| **found == event)
                };
                let completed = at(EventType::ActivityTaskCompleted)
                    .nth(2)
                    .context("no end")?
                    .0;
                let scheduled = at(EventType::ActivityTaskScheduled)
                    .nth(3)
                    .context("no undo")?
                    .0;
                assert!(completed < scheduled, "{events:?}");
            }
            Ok(())
        },
    )
    .await
}

/// A cancellation does not stop the compensations, and a compensation that fails for now is attempted again. The workflow
/// fails with the error of its step, because it has failed before it was cancelled.
#[tokio::test]
async fn cancelled_while_it_compensates() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    let gate = Gate::default();
    with_worker(|queue| gated(queue, &ledger, None, Some(&gate)), async |env| {
        let handle = start(&env, "a", json!({})).await?;
        until_pending(&handle, |activity| activity.activity_type.as_ref().is_some_and(|t| t.name == "remove_client")).await?;
        handle.cancel(Default::default()).await?;
        until(&handle, EventType::WorkflowExecutionCancelRequested).await?;
        gate.open.notify_one();
        let failed = "workflow failed: activity add_bank_account failed: the service is down (ServiceDown)";
        assert_eq!(end(&handle).await, Err(failed.to_owned()));
        assert!(!is_done(&ledger.entries("a").await?, &ACCOUNT)?);
        assert_eq!(compensations(&handle).await?.undone, owned(&UNDO_ACCOUNT));
        let attempts = gate.attempts.load(Ordering::SeqCst);
        assert_eq!(attempts, 2);
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED, and nothing happens.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    let env = TestEnv::new().await?;
    let handle = start(&env, "a", json!({})).await?;
    env.ends_cancelled(&handle, |queue| worker_options(queue, ledger.clone()))
        .await?;
    assert_eq!(ledger.entries("a").await?, []);
    Ok(())
}

/// The first step fails for good, and before a worker knows, the workflow is cancelled. It ends CANCELED, after the
/// compensation, which leaves its mark although nothing has happened.
#[tokio::test]
async fn fails_and_ends_cancelled() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    let env = TestEnv::new().await?;
    let handle = start(&env, "a", json!({})).await?;
    let workflow_only = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let options = WorkerOptions::new(queue).register_workflow::<OpenAccountWorkflow>()?;
        Ok(options.build())
    };
    let options = |queue: &str| worker_options(queue, ledger.clone());
    operate::fails_and_ends_cancelled(&env, &handle, workflow_only, options).await?;
    assert_eq!(names(&ledger.entries("a").await?), ["close_account"]);
    Ok(())
}

/// An operator resets a saga that has undone its steps to a time before it failed. Its step has the same key as before,
/// so the ledger refuses it. Nothing is done again, and nothing is undone twice.
#[tokio::test]
async fn a_reset_does_nothing_again() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    with_worker(
        |queue| worker_options(queue, ledger.clone()),
        async |env| {
            let handle = start(&env, "a", json!({})).await?;
            assert!(end(&handle).await.is_err());
            let before = ledger.entries("a").await?;
            let step =
                events(&handle)
                    .await?
                    .into_iter()
                    .find_map(|event| match event.attributes {
                        Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled))
                            if scheduled
                                .activity_type
                                .as_ref()
                                .is_some_and(|t| t.name == "add_bank_account") =>
                        {
                            Some(scheduled)
                        }
                        _ => None,
                    });
            let mut client = env.client.clone();
            let request = ResetWorkflowExecutionRequest {
                namespace: client.namespace(),
                workflow_execution: Some(WorkflowExecution {
                    workflow_id: handle.info().workflow_id.clone(),
                    ..Default::default()
                }),
                workflow_task_finish_event_id: step
                    .context("no step")?
                    .workflow_task_completed_event_id,
                request_id: handle.info().workflow_id.clone(),
                ..Default::default()
            };
            client
                .reset_workflow_execution(request.into_request())
                .await?;
            let error = end(&handle).await.err().context("opened")?;
            let start = "workflow failed: activity add_bank_account failed: ";
            assert!(
                error.starts_with(start) && error.ends_with("must not be done any more (Undone)"),
                "{error}"
            );
            assert_eq!(ledger.entries("a").await?, before);
            assert!(!is_done(&before, &ACCOUNT)?);
            Ok(())
        },
    )
    .await
}

/// A request with bad input fails at once, the failure names the field, and nothing happens. A query needs no argument,
/// and ignores any that it gets.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    with_worker(|queue| worker_options(queue, ledger.clone()), async |env| {
        let mut incomplete = request("a", json!({}));
        if let Some(fields) = incomplete.as_object_mut() {
            fields.remove("clientEmail");
        }
        let cases = [
            (vec![], "the argument is missing"),
            (vec![json!("a")], "invalid type: string \"a\", expected struct OpenAccount"),
            (vec![incomplete], "missing field `clientEmail`"),
            (vec![request("", json!({}))], "`accountId`: the account id is empty"),
            (vec![request("a", json!({"accountId": 7}))], "`accountId`: invalid type: integer `7`, expected a string"),
            (
                vec![request("a", json!({"fail_at": "add_money"}))],
                "`fail_at`: unknown variant `add_money`, expected one of `create_account`, `add_address`, `add_client`, `add_bank_account`, ``",
            ),
            (
                vec![request("a", json!({"parallelCompensation": "yes"}))],
                "`parallelCompensation`: invalid type: string \"yes\", expected a boolean",
            ),
        ];
        for (arguments, reason) in cases {
            let handle: Handle = env.start_json("OpenAccountWorkflow", &arguments).await?;
            assert_eq!(bad_input(&handle).await?, reason);
            assert_eq!(event_types(&handle).await?.len(), 5);
            let untyped = env.client.get_workflow_handle::<UntypedWorkflow>(&handle.info().workflow_id);
            for arguments in [vec![], vec![json!(null)], vec![json!({"no": 1})]] {
                let query = UntypedQuery::new("compensations");
                let answer = untyped.query(query, testing::raw_json(&arguments), Default::default()).await?;
                let answer: Undone = answer.to_value(&PayloadConverter::default());
                assert_eq!(answer, Undone::default());
            }
        }
        Ok(())
    })
    .await
}
