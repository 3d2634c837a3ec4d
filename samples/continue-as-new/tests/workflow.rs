//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use anyhow::{bail, ensure};
use continue_as_new::{
    worker_options,
    workflows::{BATCH_ITEMS, LongRunningInput, LongRunningWorkflow, State},
};
use futures::future::{join, try_join, try_join3};
use serde_json::{Value, json};
use shared::histories;
use std::{collections::HashMap, time::Duration};
use temporalio_client::{
    Client, NamespacedClient, RetryPolicy, UntypedSignal, UntypedUpdate, UntypedWorkflow,
    WorkflowHandle, WorkflowStartOptions,
    errors::{
        WorkflowGetResultError, WorkflowInteractionError, WorkflowStartError, WorkflowUpdateError,
    },
    grpc::OperatorService,
    tonic::{Code, IntoRequest},
};
use temporalio_common::{
    MemoValues, Priority,
    protos::temporal::api::{
        common::v1::{Header, Payload},
        enums::v1::{
            EventType::{
                self, TimerFired, TimerStarted, WorkflowExecutionContinuedAsNew,
                WorkflowExecutionUpdateAccepted,
            },
            IndexedValueType,
        },
        history::v1::{HistoryEvent, history_event::Attributes},
        operatorservice::v1::AddSearchAttributesRequest,
    },
    search_attributes::{SearchAttributeKey, SearchAttributes},
};
use testing::{TestEnv, bad_input, event_types, raw_json, until, with_worker};

type Handle = WorkflowHandle<Client, LongRunningWorkflow>;

const TYPE: &str = "LongRunningWorkflow";

fn state(iteration: u64, processed_items: u64) -> State {
    State {
        iteration,
        processed_items,
    }
}

/// Starts at `state`. The first handle is bound to the first run, and the second reaches the current run.
async fn start(
    env: &TestEnv,
    state: State,
    max_iterations: u64,
    continue_after_events: Option<u32>,
) -> anyhow::Result<(Handle, Handle)> {
    let input = LongRunningInput {
        state: Some(state),
        max_iterations: Some(max_iterations),
        continue_after_events,
    };
    let options = env.start_options();
    let current = env.client.get_workflow_handle(options.workflow_id.clone());
    let started = env
        .client
        .start_workflow(LongRunningWorkflow::run, input.into(), options)
        .await?;
    let first = WorkflowHandle::new(env.client.clone(), started.info().clone());
    Ok((first, current))
}

async fn result(handle: &Handle) -> anyhow::Result<State> {
    Ok(handle.get_result(Default::default()).await?)
}

async fn progress(handle: &Handle) -> anyhow::Result<State> {
    Ok(handle
        .query(LongRunningWorkflow::progress, (), Default::default())
        .await?)
}

async fn add_items(handle: &Handle, items: u64) -> Result<(), WorkflowInteractionError> {
    handle
        .signal(
            LongRunningWorkflow::add_items,
            items.into(),
            Default::default(),
        )
        .await
}

async fn process_items(handle: &Handle, items: u64) -> Result<State, WorkflowUpdateError> {
    let update = LongRunningWorkflow::process_items;
    handle
        .execute_update(update, items, Default::default())
        .await
}

/// Sends a signal as a client in another language can.
async fn add_anything(handle: &Handle, arguments: &[Value]) -> anyhow::Result<()> {
    let signal = UntypedSignal::new("add_items");
    Ok(handle
        .signal(signal, raw_json(arguments), Default::default())
        .await?)
}

fn last(history: &[HistoryEvent]) -> Option<EventType> {
    history.last().map(HistoryEvent::event_type)
}

/// No run gets longer than the limit, and the state goes from one run to the next.
#[tokio::test]
async fn keeps_its_state_in_short_runs() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let (first, _) = start(&env, state(0, 0), 5, Some(10)).await?;
        assert_eq!(result(&first).await?, state(5, 50));
        let lengths: Vec<usize> = histories(&first).await?.iter().map(Vec::len).collect();
        // Two batches per run with five events each, and five more events. The third run has one batch.
        assert_eq!(lengths, [15, 15, 10]);
        Ok(())
    })
    .await
}

/// The server's own suggestion is enough, here because of 4 MB of history. Signals that do not decode are
/// ignored.
#[tokio::test]
async fn follows_the_servers_suggestion() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (first, current) = start(&env, state(0, 0), 2, None).await?;
    for _ in 0..3 {
        add_anything(&current, &[json!({"padding": "x".repeat(1_500_000)})]).await?;
    }
    env.work(worker_options, async {
        assert_eq!(result(&first).await?, state(2, 20));
        let histories = histories(&first).await?;
        assert_eq!(histories.len(), 2);
        assert_eq!(last(&histories[0]), Some(WorkflowExecutionContinuedAsNew));
        Ok(())
    })
    .await
}

/// Signals and updates without a pause, over several runs. Each one that the server accepts counts exactly
/// once, and each update returns a state that includes its own items.
#[tokio::test]
async fn loses_no_signal_and_no_update() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let (first, current) = start(&env, state(0, 0), 5, Some(1)).await?;
        // A different number each time, so that a lost one does not make up for one that counts twice.
        let signals = async {
            let (mut items, mut sum) = (1, 0);
            loop {
                match add_items(&current, items).await {
                    Ok(()) => sum += items,
                    Err(WorkflowInteractionError::NotFound(_)) => return Ok(sum),
                    Err(error) => return Err(error.into()),
                }
                items += 1;
            }
        };
        let updates = async {
            let (mut items, mut sum) = (1_000_000, 0);
            loop {
                match process_items(&current, items).await {
                    Ok(state) => {
                        sum += items;
                        // Signals and batches add less than a million.
                        assert_eq!(state.processed_items / 1_000_000, sum / 1_000_000);
                    }
                    Err(WorkflowUpdateError::NotFound(_)) => return Ok(sum),
                    // A signal arrived as the run ended, so the server rejected that workflow task and the
                    // update with it. It is not in the history, so the same items are sent again.
                    Err(WorkflowUpdateError::Rpc(status))
                        if status.code() == Code::FailedPrecondition =>
                    {
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
                items += 1_000_000;
            }
        };
        let (end, signals, updates) = try_join3(result(&first), signals, updates).await?;
        assert_eq!(end, state(5, 50 + signals + updates));
        assert!(updates > 0);
        // One after each batch.
        assert_eq!(histories(&first).await?.len(), 6);
        Ok(())
    })
    .await
}

/// A cancelled workflow lets its update end before it ends itself, CANCELED: the caller learns that the update was
/// cancelled, and not that the workflow is gone.
#[tokio::test]
async fn cancelled_during_an_update() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let (first, _) = start(&env, state(0, 0), 1000, None).await?;
        let update = LongRunningWorkflow::process_items;
        let updating = first.execute_update(update, 7, Default::default());
        let cancelling = async {
            until(&first, WorkflowExecutionUpdateAccepted).await?;
            first.cancel(Default::default()).await?;
            anyhow::Ok(())
        };
        let (updated, cancelled) = join(updating, cancelling).await;
        cancelled?;
        // On a busy machine the batch may end before the cancellation arrives.
        match updated {
            Ok(updated) => assert_eq!(updated.processed_items % BATCH_ITEMS, 7),
            Err(WorkflowUpdateError::Failed(failure)) => {
                assert!(failure.message.contains("ancelled"), "{failure:?}");
            }
            Err(error) => return Err(error.into()),
        }
        let ended = first.get_result(Default::default()).await;
        ensure!(
            matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
            "{ended:?}"
        );
        Ok(())
    })
    .await
}

/// Items that a signal adds during a batch wait for its end: `progress` does not change.
#[tokio::test]
async fn changes_nothing_during_a_batch() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        // Until the query is answered before the batch ends, which on a busy machine it may not be.
        loop {
            let (first, _) = start(&env, state(0, 0), 1000, None).await?;
            until(&first, TimerStarted).await?;
            add_items(&first, 7).await?;
            let seen = progress(&first).await?;
            let events = event_types(&first).await?;
            first.terminate(Default::default()).await?;
            if !events.contains(&TimerFired) {
                assert_eq!(seen, state(0, 0));
                return Ok(());
            }
        }
    })
    .await
}

/// A signal that a worker sees together with the end of the last batch of a run counts.
#[tokio::test]
async fn counts_a_signal_at_the_end_of_a_run() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (first, current) = start(&env, state(0, 0), 1, Some(1)).await?;
    env.work(worker_options, until(&first, TimerStarted))
        .await?;
    add_items(&current, 7).await?;
    until(&first, TimerFired).await?;
    env.work(worker_options, async {
        assert_eq!(result(&first).await?, state(1, 17));
        assert_eq!(histories(&first).await?.len(), 2);
        Ok(())
    })
    .await
}

/// A signal that arrives before the first line of `run` counts, even in a run with nothing left to do.
#[tokio::test]
async fn keeps_a_signal_from_before_the_start() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (first, current) = start(&env, state(5, 50), 5, None).await?;
    add_items(&current, 7).await?;
    env.work(worker_options, async {
        assert_eq!(result(&first).await?, state(5, 57));
        Ok(())
    })
    .await
}

/// Signals and updates that do not decode leave the workflow as it is, and too many items do not overflow.
/// The caller of the update learns about it.
#[tokio::test]
async fn ignores_signals_and_updates_that_do_not_decode() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (first, current) = start(&env, state(0, 0), 1, None).await?;
    for arguments in [
        vec![],
        vec![json!(-1)],
        vec![json!("ten")],
        vec![json!(1); 2],
    ] {
        add_anything(&current, &arguments).await?;
    }
    add_items(&current, u64::MAX).await?;
    add_items(&current, 1).await?;
    let updates = async {
        let update = UntypedUpdate::new("process_items");
        let ten = raw_json(&[json!("ten")]);
        let current = env
            .client
            .get_workflow_handle::<UntypedWorkflow>(&current.info().workflow_id);
        match current
            .execute_update(update, ten, Default::default())
            .await
        {
            Err(WorkflowUpdateError::Failed(failure)) => {
                ensure!(failure.message.contains("\"ten\""), "{failure:?}");
                Ok(())
            }
            other => bail!("{other:?}"),
        }
    };
    let working = env.work(worker_options, async {
        assert_eq!(result(&first).await?, state(1, u64::MAX));
        Ok(())
    });
    try_join(updates, working).await?;
    Ok(())
}

/// `progress` answers before the first batch, between two batches, and after the last one.
#[tokio::test]
async fn answers_queries_about_its_progress() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (first, current) = start(&env, state(3, 30), 5, None).await?;
    let working = env.work(worker_options, async {
        until(&first, TimerFired).await?;
        let between = progress(&current).await?;
        assert!((4..=5).contains(&between.iteration), "{between:?}");
        assert_eq!(result(&first).await?, state(5, 50));
        assert_eq!(progress(&current).await?, state(5, 50));
        Ok(())
    });
    // A query that is sent before there is a worker waits for one.
    let (before, ()) = try_join(progress(&current), working).await?;
    assert_eq!(before, state(3, 30));
    Ok(())
}

/// Each field of the input can be missing or null, and unknown fields are ignored.
#[tokio::test]
async fn missing_fields_have_defaults() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cases = [
            (json!({"state": null, "max_iterations": 1}), state(1, 10)),
            (
                json!({"state": {}, "max_iterations": 0, "new": 1}),
                state(0, 0),
            ),
            (json!({"state": {"iteration": 1000}}), state(1000, 0)),
            (
                json!({"state": {"iteration": 1000, "processed_items": 1}, "max_iterations": null}),
                state(1000, 1),
            ),
        ];
        for (input, expected) in cases {
            let handle = env.start_json(TYPE, &[input]).await?;
            assert_eq!(result(&handle).await?, expected);
        }
        // A thousand iterations would take too long.
        let handle: Handle = env.start_json(TYPE, &[json!({})]).await?;
        until(&handle, TimerStarted).await?;
        // Ten items per iteration, and no more iterations than timers: so it began at 0.
        let State {
            iteration,
            processed_items,
        } = progress(&handle).await?;
        assert_eq!(processed_items, 10 * iteration);
        let events = event_types(&handle).await?;
        let fired = events.iter().filter(|event| **event == TimerFired).count();
        assert!(iteration <= fired.try_into()?, "{iteration} of {fired}");
        handle.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}

/// Input that does not decode fails the workflow at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cases = [
            (
                vec![json!({"max_iterations": -1})],
                "`max_iterations`: invalid value: integer `-1`, expected u64",
            ),
            (
                vec![json!({"state": {"iteration": "one"}})],
                "`state.iteration`: invalid type: string \"one\", expected u64",
            ),
            (
                vec![json!({"continue_after_events": 0.5})],
                "`continue_after_events`: invalid type: floating point `0.5`, expected u32",
            ),
            (
                vec![json!(1000)],
                "invalid type: integer `1000`, expected struct LongRunningInput",
            ),
            (vec![], "the argument is missing"),
        ];
        for (arguments, reason) in cases {
            let handle: Handle = env.start_json(TYPE, &arguments).await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        Ok(())
    })
    .await
}

async fn assert_cancelled(handle: &Handle) -> anyhow::Result<()> {
    match handle.get_result(Default::default()).await {
        Err(WorkflowGetResultError::Cancelled { .. }) => Ok(()),
        other => anyhow::bail!("ended otherwise: {other:?}"),
    }
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (first, _) = start(&env, state(0, 0), 2, None).await?;
    env.ends_cancelled(&first, worker_options).await
}

/// The handle that started the workflow is bound to the first run: its signals and updates fail, and its
/// queries return the state of that run. Only its cancellation reaches the current run, here during a batch.
#[tokio::test]
async fn ends_cancelled_in_a_later_run() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let (first, current) = start(&env, state(0, 0), 1000, Some(1)).await?;
        until(&first, WorkflowExecutionContinuedAsNew).await?;
        add_items(&current, 7).await?;
        until(&current, TimerFired).await?;
        let refused = add_items(&first, 7).await;
        assert!(
            matches!(refused, Err(WorkflowInteractionError::NotFound(_))),
            "{refused:?}"
        );
        let refused = process_items(&first, 7).await;
        assert!(
            matches!(refused, Err(WorkflowUpdateError::NotFound(_))),
            "{refused:?}"
        );
        assert_eq!(progress(&first).await?, state(1, 10));
        assert!(progress(&current).await?.processed_items >= 27);
        first.cancel(Default::default()).await?;
        assert_cancelled(&first).await
    })
    .await
}

/// A workflow that is cancelled when the timer has fired after which it would continue as new ends CANCELED:
/// the next run would not know about the cancellation.
#[tokio::test]
async fn ends_cancelled_at_the_boundary() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (first, _) = start(&env, state(0, 0), 2, Some(1)).await?;
    env.work(worker_options, until(&first, TimerStarted))
        .await?;
    until(&first, TimerFired).await?;
    first.cancel(Default::default()).await?;
    env.work(worker_options, assert_cancelled(&first)).await?;
    assert_eq!(histories(&first).await?.len(), 1);
    Ok(())
}

/// A workflow that is cancelled just before its timer fires ends CANCELED. The worker learns about both in
/// one task.
#[tokio::test]
async fn ends_cancelled_before_a_timer_fires() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (first, _) = start(&env, state(0, 0), 2, None).await?;
    env.work(worker_options, until(&first, TimerStarted))
        .await?;
    first.cancel(Default::default()).await?;
    until(&first, TimerFired).await?;
    env.work(worker_options, assert_cancelled(&first)).await
}

const CUSTOMER: SearchAttributeKey<String> = SearchAttributeKey::keyword("ContinueAsNewCustomer");

/// Adds the search attribute to the namespace.
async fn add_search_attribute(client: &Client) -> anyhow::Result<()> {
    let keyword = IndexedValueType::Keyword.into();
    let request = AddSearchAttributesRequest {
        search_attributes: HashMap::from([(CUSTOMER.name().to_owned(), keyword)]),
        namespace: client.namespace(),
    };
    let mut client = client.clone();
    match client.add_search_attributes(request.into_request()).await {
        Err(status) if status.code() != Code::AlreadyExists => Err(status.into()),
        _ => Ok(()),
    }
}

/// Options that set everything that the README lists.
fn with_everything(env: &TestEnv) -> WorkflowStartOptions {
    let plain = env.start_options();
    let mut memo = MemoValues::new();
    memo.insert("note", "kept".to_owned());
    let header = HashMap::from([("tenant".to_owned(), Payload::default())]);
    WorkflowStartOptions::new(plain.task_queue, plain.workflow_id)
        .execution_timeout(Duration::from_secs(3600))
        .run_timeout(Duration::from_secs(1800))
        .task_timeout(Duration::from_secs(5))
        .memo(memo)
        .search_attributes(SearchAttributes::new(
            [CUSTOMER.value_set("Ada".to_owned())],
        ))
        .retry_policy(RetryPolicy::builder().maximum_attempts(3).build())
        .priority(Priority::builder().priority_key(1).build())
        .cron_schedule("@every 1s".to_owned())
        .header(Header { fields: header })
        .static_summary("summary".to_owned())
        .static_details("details".to_owned())
        .build()
}

/// The next run keeps and loses what the README says. A cron schedule ends with the run that continues as
/// new.
#[tokio::test]
async fn keeps_and_loses_what_the_readme_says() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    add_search_attribute(&env.client).await?;
    let input = LongRunningInput {
        state: None,
        max_iterations: Some(2),
        continue_after_events: Some(0),
    };
    let started = loop {
        let (input, options) = (input.clone().into(), with_everything(&env));
        let start = env
            .client
            .start_workflow(LongRunningWorkflow::run, input, options);
        match start.await {
            // The server may take a moment to learn about the search attribute.
            Err(WorkflowStartError::Rpc(status)) if status.code() == Code::InvalidArgument => {
                ensure!(status.message().contains(CUSTOMER.name()), "{status}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            started => break started?,
        }
    };
    let first = WorkflowHandle::new(env.client.clone(), started.info().clone());
    env.work(worker_options, async {
        assert_eq!(result(&first).await?, state(2, 20));
        Ok(())
    })
    .await?;

    let histories = histories(&first).await?;
    assert_eq!(histories.len(), 3);
    let [before, after] = [&histories[0], &histories[1]].map(|history| {
        let event = history[0].clone();
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(run)) = event.attributes
        else {
            panic!("{event:?}");
        };
        let keeps = [
            ("task queue", format!("{:?}", run.task_queue)),
            (
                "timeouts",
                format!(
                    "{:?} {:?} {:?}",
                    run.workflow_execution_timeout,
                    run.workflow_run_timeout,
                    run.workflow_task_timeout
                ),
            ),
            ("memo", format!("{:?}", run.memo)),
            ("search attributes", format!("{:?}", run.search_attributes)),
            ("retry policy", format!("{:?}", run.retry_policy)),
            ("priority", format!("{:?}", run.priority)),
        ];
        let loses = [
            ("cron schedule", !run.cron_schedule.is_empty()),
            (
                "headers",
                run.header.is_some_and(|header| !header.fields.is_empty()),
            ),
            ("static summary and details", event.user_metadata.is_some()),
        ];
        (keeps, loses)
    });
    assert_eq!(before.0, after.0);
    assert!(
        before.0.iter().all(|(_, value)| !value.contains("None")),
        "{before:?}"
    );
    assert!(before.1.iter().all(|(_, there)| *there), "{before:?}");
    assert!(after.1.iter().all(|(_, there)| !there), "{after:?}");

    let readme = include_str!("../README.md").split_whitespace();
    let readme = readme.collect::<Vec<_>>().join(" ");
    let keeps = before.0.iter().map(|(name, _)| name);
    for name in keeps.chain(before.1.iter().map(|(name, _)| name)) {
        assert!(readme.contains(name), "the README does not list the {name}");
    }
    Ok(())
}
