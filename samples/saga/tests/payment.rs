//! Runs `InterBankPaymentWorkflow` on a real server. The tests play the switch.

use crate::{
    whole::{PAYMENT, is_done, new_ledger},
    workflow::Gate,
};
use anyhow::ensure;
use saga::{
    activities::{PaymentActivities, transfer_of},
    ledger::{Entry, Ledger, LedgerError, Status},
    payment::{Answer, InterBankPaymentWorkflow, PaymentStep, Transfer},
    payment_options, worker_options,
};
use serde_json::{Value, json};
use shared::describe;
use std::sync::Arc;
use temporalio_client::{
    Client, UntypedSignal, WorkflowHandle,
    errors::{WorkflowGetResultError, WorkflowStartError},
};
use temporalio_common::protos::temporal::api::{
    enums::v1::{
        EventType::{self, TimerStarted},
        PendingActivityState,
    },
    history::v1::history_event::Attributes,
};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, event_types, events, operate, raw_json, until,
    until_pending, with_worker,
};

type Handle = WorkflowHandle<Client, InterBankPaymentWorkflow>;

fn payment(payment_id: &str, more: Value) -> Value {
    let mut payment = json!({
        "payment_id": payment_id,
        "source_account": "a",
        "destination_account": "b",
        "amount": 100,
        "currency": "EUR",
    });
    if let (Some(payment), Some(more)) = (payment.as_object_mut(), more.as_object()) {
        payment.extend(more.clone());
    }
    payment
}

/// Starts a payment whose number is the workflow id.
async fn start(env: &TestEnv, more: Value) -> anyhow::Result<(Handle, String)> {
    let id = env.start_options().workflow_id;
    let input = payment(&id, more);
    let handle = env
        .start_json_as(id.clone(), "InterBankPaymentWorkflow", &[input])
        .await?;
    Ok((handle, id))
}

/// Confirms a transfer as a client in another language does.
async fn confirm(handle: &Handle, tx_id: &str, status: &str) -> anyhow::Result<()> {
    let confirmation = json!({"tx_id": tx_id, "status": status, "reason": "because"});
    signal(handle, &[confirmation]).await
}

async fn signal(handle: &Handle, arguments: &[Value]) -> anyhow::Result<()> {
    let signal = UntypedSignal::new("switch_confirmed");
    Ok(handle
        .signal(signal, raw_json(arguments), Default::default())
        .await?)
}

/// How the workflow ended: its result, or its error in one line.
async fn end(handle: &Handle) -> Result<String, String> {
    let ended = handle.get_result(Default::default()).await;
    ended.map_err(|error| describe(&error))
}

/// Checks that the payment is whole, and returns whether the money has moved.
async fn has_moved(ledger: &Ledger, id: &str) -> anyhow::Result<bool> {
    let done = is_done(&ledger.entries(id).await?, &PAYMENT)?;
    let status = ledger.ask(transfer_of(id)).await?;
    ensure!(
        done == (status == Status::Success),
        "done: {done}, and the switch says {status:?}"
    );
    Ok(done)
}

/// The idempotency keys without the id of the payment.
fn keys(entries: &[Entry], id: &str) -> Vec<String> {
    let key = |entry: &Entry| entry.key.replace(id, "P");
    entries.iter().map(key).collect()
}

/// A switch that answers in another way than the ledger's.
pub struct OddSwitch {
    real: Ledger,
    odd: Odd,
}

/// What is odd.
#[derive(Clone, Copy, PartialEq)]
enum Odd {
    /// It loses its answer to a transfer that it has received.
    LosesItsAnswer,
    /// It cannot be reached.
    Unreachable,
    /// It moves the money after the question, before the cancellation.
    AnswersTooEarly,
}

#[activities]
impl OddSwitch {
    #[activity(name = "submit_to_switch")]
    pub async fn submit_to_switch(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: PaymentStep,
    ) -> Result<(), ActivityError> {
        if self.odd != Odd::Unreachable {
            let tx_id = transfer_of(&step.payment.payment_id);
            let what = ctx.info().activity_type.clone();
            let (key, subject) = (step.idempotency_key, step.payment.payment_id);
            let entry = Entry {
                key,
                subject,
                what,
                undoes: None,
            };
            let submitted = self.real.submit(entry, tx_id, Status::Success).await;
            submitted.map_err(anyhow::Error::from)?;
        }
        if self.odd != Odd::AnswersTooEarly {
            // Not retried, so that the test need not wait ten seconds.
            let failure = ApplicationFailure::builder("connection lost").non_retryable(true);
            return Err(failure.build().into());
        }
        Ok(())
    }

    #[activity(name = "ask_switch")]
    pub async fn ask_switch(
        self: Arc<Self>,
        _ctx: ActivityContext,
        transfer: Transfer,
    ) -> Result<Answer, ActivityError> {
        if self.odd == Odd::AnswersTooEarly {
            return Ok(Answer {
                status: Status::Pending,
            });
        }
        let status = self
            .real
            .ask(transfer.tx_id)
            .await
            .map_err(anyhow::Error::from)?;
        Ok(Answer { status })
    }
}

fn odd(queue: &str, ledger: &Ledger, odd: Odd) -> anyhow::Result<WorkerOptions> {
    let real = ledger.clone();
    Ok(WorkerOptions::new(queue)
        .register_workflow::<InterBankPaymentWorkflow>()?
        .register_activities(PaymentActivities {
            ledger: real.clone(),
        })
        // Of two activities with the same name, the later one counts.
        .register_activities(OddSwitch { real, odd })
        .build())
}

/// A confirmed payment moves the money once. Each step has the key and the time limit of the README. The server refuses
/// to start it again, while it runs and after its end.
#[tokio::test]
async fn pays() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    with_worker(
        |queue| worker_options(queue, ledger.clone()),
        async |env| {
            let id = env.start_options().workflow_id;
            let input: saga::payment::Payment = serde_json::from_value(payment(&id, json!({})))?;
            let start = async || {
                let options = payment_options(&env.task_queue, &id);
                env.client
                    .start_workflow(InterBankPaymentWorkflow::run, input.clone().into(), options)
                    .await
            };
            start().await?;
            let handle = env
                .client
                .get_workflow_handle::<InterBankPaymentWorkflow>(&id);
            until(&handle, TimerStarted).await?;
            assert!(matches!(
                start().await,
                Err(WorkflowStartError::AlreadyStarted { .. })
            ));
            confirm(&handle, &transfer_of(&id), "SUCCESS").await?;
            assert_eq!(end(&handle).await, Ok(transfer_of(&id)));
            assert!(matches!(
                start().await,
                Err(WorkflowStartError::AlreadyStarted { .. })
            ));

            assert!(has_moved(&ledger, &id).await?);
            let entries = ledger.entries(&id).await?;
            assert_eq!(
                keys(&entries, &id),
                ["P:reserve", "tx-P:submit", "tx-P:debit"]
            );
            assert_eq!(activity_types(&handle).await?, PAYMENT);
            let mut limits = Vec::new();
            for event in events(&handle).await? {
                match event.attributes {
                    Some(Attributes::ActivityTaskScheduledEventAttributes(step)) => {
                        let attempt = step.start_to_close_timeout.unwrap_or_default().seconds;
                        limits.push((
                            attempt,
                            step.schedule_to_close_timeout.unwrap_or_default().seconds,
                        ));
                    }
                    Some(Attributes::TimerStartedEventAttributes(timer)) => {
                        limits.push((timer.start_to_fire_timeout.unwrap_or_default().seconds, 0));
                    }
                    _ => {}
                }
            }
            assert_eq!(limits, [(10, 0), (10, 10), (60, 0), (15, 0)]);
            assert!(
                event_types(&handle)
                    .await?
                    .contains(&EventType::TimerCanceled)
            );
            Ok(())
        },
    )
    .await
}

/// If the switch refuses the transfer, or does not answer in time, the payment is undone in reverse order. If only the
/// confirmation is lost, the payment is made, because the workflow asks the switch.
#[tokio::test]
async fn asks_the_switch() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    with_worker(
        |queue| worker_options(queue, ledger.clone()),
        async |env| {
            let (slow, slow_id) = start(
                &env,
                json!({"destination_account": "slow", "sla_seconds": 1}),
            )
            .await?;
            let (lost, lost_id) = start(&env, json!({"sla_seconds": 1})).await?;
            let (refused, refused_id) =
                start(&env, json!({"destination_account": "closed"})).await?;
            confirm(&refused, &transfer_of(&refused_id), "FAILURE").await?;

            let undone = [
                "P:reserve",
                "tx-P:submit",
                "tx-P:comp-submit",
                "tx-P:comp-reserve",
            ];
            let compensations = ["ask_switch", "cancel_with_switch", "unblock_and_cancel"];
            let failed =
                "workflow failed: the switch refused the transfer: because (SwitchRefused)";
            assert_eq!(end(&refused).await, Err(failed.to_owned()));
            let failed =
                "workflow failed: the switch did not confirm the transfer within 1s (NotConfirmed)";
            assert_eq!(end(&slow).await, Err(failed.to_owned()));
            for (handle, id) in [(refused, refused_id), (slow, slow_id)] {
                assert!(!has_moved(&ledger, &id).await?);
                assert_eq!(keys(&ledger.entries(&id).await?, &id), undone);
                assert_eq!(
                    activity_types(&handle).await?,
                    [&PAYMENT[..2], &compensations].concat()
                );
            }
            assert_eq!(end(&lost).await, Ok(transfer_of(&lost_id)));
            assert!(has_moved(&ledger, &lost_id).await?);
            assert_eq!(
                activity_types(&lost).await?,
                [&PAYMENT[..2], &["ask_switch"], &PAYMENT[2..]].concat()
            );
            Ok(())
        },
    )
    .await
}

/// If nobody knows whether the transfer has reached the switch, the workflow asks. The money moves, or a late attempt at
/// the transfer is refused. If the money moves after the question, the cancellation finds that out.
#[tokio::test]
async fn an_unclear_transfer() -> anyhow::Result<()> {
    for (case, moves) in [
        (Odd::LosesItsAnswer, true),
        (Odd::Unreachable, false),
        (Odd::AnswersTooEarly, true),
    ] {
        let (_directory, ledger) = new_ledger()?;
        with_worker(
            |queue| odd(queue, &ledger, case),
            async |env| {
                let (handle, id) = start(&env, json!({"sla_seconds": 1})).await?;
                let expected = match moves {
                    true => Ok(transfer_of(&id)),
                    false => Err(
                        "workflow failed: activity submit_to_switch failed: connection lost"
                            .to_owned(),
                    ),
                };
                assert_eq!(end(&handle).await, expected);
                assert_eq!(has_moved(&ledger, &id).await?, moves);
                let key = format!("{}:submit", transfer_of(&id));
                let late = Entry {
                    key,
                    subject: id.clone(),
                    what: "submit_to_switch".to_owned(),
                    undoes: None,
                };
                let late = ledger.submit(late, transfer_of(&id), Status::Success).await;
                assert_eq!(
                    matches!(late, Err(LedgerError::Undone(_))),
                    !moves,
                    "{late:?}"
                );
                assert_eq!(has_moved(&ledger, &id).await?, moves);
                Ok(())
            },
        )
        .await?;
    }
    Ok(())
}

/// An amount that is not available fails the payment. The workflow does not rely on that nothing has happened.
#[tokio::test]
async fn refuses_the_amount() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    with_worker(
        |queue| worker_options(queue, ledger.clone()),
        async |env| {
            let (handle, id) = start(&env, json!({"amount": 1_000_001})).await?;
            let failed = "workflow failed: activity reserve_and_block failed: \
                      the account has 1000000, and 1000001 are not available (InsufficientFunds)";
            assert_eq!(end(&handle).await, Err(failed.to_owned()));
            assert_eq!(
                activity_types(&handle).await?,
                ["reserve_and_block", "unblock_and_cancel"]
            );
            assert_eq!(
                keys(&ledger.entries(&id).await?, &id),
                ["P:comp-reserve-unknown"]
            );
            assert!(!has_moved(&ledger, &id).await?);
            Ok(())
        },
    )
    .await
}

/// A payment that is cancelled while it waits is undone, and ends CANCELED, unless the money has moved.
#[tokio::test]
async fn cancelled_while_it_waits() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    with_worker(
        |queue| worker_options(queue, ledger.clone()),
        async |env| {
            let (undone, undone_id) = start(&env, json!({"destination_account": "slow"})).await?;
            let (made, made_id) = start(&env, json!({})).await?;
            for handle in [&undone, &made] {
                until(handle, TimerStarted).await?;
                handle.cancel(Default::default()).await?;
            }
            let ended = undone.get_result(Default::default()).await;
            assert!(
                matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
                "{ended:?}"
            );
            assert!(!has_moved(&ledger, &undone_id).await?);
            assert_eq!(end(&made).await, Ok(transfer_of(&made_id)));
            assert!(has_moved(&ledger, &made_id).await?);
            Ok(())
        },
    )
    .await
}

/// A bank that blocks the amount, and says so when a test lets it.
pub struct SlowBank {
    real: Ledger,
    gate: Gate,
}

#[activities]
impl SlowBank {
    #[activity(name = "reserve_and_block")]
    pub async fn reserve_and_block(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: PaymentStep,
    ) -> Result<Transfer, ActivityError> {
        let (key, subject) = (step.idempotency_key, step.payment.payment_id);
        let tx_id = transfer_of(&subject);
        let what = ctx.info().activity_type.clone();
        let entry = Entry {
            key,
            subject,
            what,
            undoes: None,
        };
        self.real.record(entry).await.map_err(anyhow::Error::from)?;
        self.gate.pass().await;
        Ok(Transfer { tx_id })
    }
}

/// A payment that is cancelled while it blocks the amount waits for that, releases the amount, and does not talk to the
/// switch.
#[tokio::test]
async fn cancelled_while_it_reserves() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    let gate = Gate::default();
    let options = |queue: &str| -> anyhow::Result<WorkerOptions> {
        Ok(WorkerOptions::new(queue)
            .register_workflow::<InterBankPaymentWorkflow>()?
            .register_activities(PaymentActivities {
                ledger: ledger.clone(),
            })
            // Of two activities with the same name, the later one counts.
            .register_activities(SlowBank {
                real: ledger.clone(),
                gate: gate.clone(),
            })
            .build())
    };
    with_worker(options, async |env| {
        let (handle, id) = start(&env, json!({})).await?;
        until_pending(&handle, |activity| {
            activity.state() == PendingActivityState::Started
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
        assert!(!has_moved(&ledger, &id).await?);
        let keys = keys(&ledger.entries(&id).await?, &id);
        assert_eq!(keys, ["P:reserve", "tx-P:comp-reserve"]);
        assert_eq!(
            activity_types(&handle).await?,
            ["reserve_and_block", "unblock_and_cancel"]
        );
        Ok(())
    })
    .await
}

/// A confirmation may arrive before `run` begins. Confirmations of other transfers and bad ones are ignored, and only the
/// first one counts.
#[tokio::test]
async fn confirmations() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    let env = TestEnv::new().await?;
    let (handle, id) = start(&env, json!({})).await?;
    let tx_id = transfer_of(&id);
    for bad in [
        vec![],
        vec![json!(null)],
        vec![json!("SUCCESS")],
        vec![json!({"tx_id": tx_id, "status": "MAYBE", "reason": ""})],
        vec![json!({"tx_id": 1, "status": "SUCCESS", "reason": ""})],
        vec![json!({"padding": "x".repeat(1_900_000)})],
    ] {
        signal(&handle, &bad).await?;
    }
    confirm(&handle, "tx-another", "FAILURE").await?;
    confirm(&handle, &tx_id, "SUCCESS").await?;
    confirm(&handle, &tx_id, "FAILURE").await?;
    env.work(|queue| worker_options(queue, ledger.clone()), async {
        assert_eq!(end(&handle).await, Ok(tx_id.clone()));
        assert!(has_moved(&ledger, &id).await?);
        assert_eq!(activity_types(&handle).await?, PAYMENT);
        Ok(())
    })
    .await
}

/// A payment that is cancelled before a worker has seen it ends CANCELED, and nothing happens.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    let env = TestEnv::new().await?;
    let (handle, id) = start(&env, json!({})).await?;
    env.ends_cancelled(&handle, |queue| worker_options(queue, ledger.clone()))
        .await?;
    assert_eq!(ledger.entries(&id).await?, []);
    Ok(())
}

/// The reservation fails for good, and before a worker knows, the payment is cancelled. It ends CANCELED.
#[tokio::test]
async fn fails_and_ends_cancelled() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    let env = TestEnv::new().await?;
    let (handle, id) = start(&env, json!({})).await?;
    let workflow_only = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let options = WorkerOptions::new(queue).register_workflow::<InterBankPaymentWorkflow>()?;
        Ok(options.build())
    };
    let options = |queue: &str| worker_options(queue, ledger.clone());
    operate::fails_and_ends_cancelled(&env, &handle, workflow_only, options).await?;
    assert!(!has_moved(&ledger, &id).await?);
    Ok(())
}

/// A payment with bad input fails at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    let (_directory, ledger) = new_ledger()?;
    with_worker(
        |queue| worker_options(queue, ledger.clone()),
        async |env| {
            let cases = [
                (vec![], "the argument is missing"),
                (
                    vec![json!({"payment_id": "p"})],
                    "missing field `source_account`",
                ),
                (
                    vec![payment("", json!({}))],
                    "`payment_id`: the payment id is empty",
                ),
                (
                    vec![payment(&"p".repeat(201), json!({}))],
                    "`payment_id`: the payment id has 201 bytes, more than the limit of 200",
                ),
                (
                    vec![payment("p", json!({"amount": 0}))],
                    "`amount`: invalid value: integer `0`, expected a nonzero u64",
                ),
                (
                    vec![payment("p", json!({"amount": -5}))],
                    "`amount`: invalid value: integer `-5`, expected a nonzero u64",
                ),
                (
                    vec![payment("p", json!({"amount": 0.5}))],
                    "`amount`: invalid type: floating point `0.5`, expected a nonzero u64",
                ),
                (
                    vec![payment("p", json!({"sla_seconds": 0}))],
                    "`sla_seconds`: invalid value: integer `0`, expected a nonzero u32",
                ),
            ];
            for (arguments, reason) in cases {
                let handle: Handle = env
                    .start_json("InterBankPaymentWorkflow", &arguments)
                    .await?;
                assert_eq!(bad_input(&handle).await?, reason);
            }
            Ok(())
        },
    )
    .await
}
