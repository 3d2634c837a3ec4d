//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, anyhow};
use futures::future::try_join_all;
use mutex::{
    worker_options,
    workflows::{Lease, LockRequest, LockWorkflow, OneAtATimeWorkflow, lock_id},
};
use serde_json::{Value, json};
use shared::describe;
use std::{num::NonZeroU32, time::Duration};
use temporalio_client::{
    Client, UntypedSignal, UntypedWorkflow, WorkflowExecutionStatus, WorkflowHandle,
    WorkflowStartOptions, errors::WorkflowGetResultError,
};
use temporalio_common::{
    HasWorkflowDefinition,
    data_converters::MultiArgs2,
    protos::temporal::api::{
        enums::v1::EventType::{
            ActivityTaskCanceled, SignalExternalWorkflowExecutionInitiated,
            WorkflowExecutionSignaled,
        },
        history::v1::{HistoryEvent, history_event::Attributes},
    },
};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions, WorkflowRegistrationError,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, event_types, events, eventually, id_of, raw_json, until,
    until_pending, with_worker,
};

pub(crate) type Lock = WorkflowHandle<Client, LockWorkflow>;
pub(crate) type Requester = WorkflowHandle<Client, OneAtATimeWorkflow>;
pub(crate) type Untyped = WorkflowHandle<Client, UntypedWorkflow>;

/// A lease that outlasts every test.
const LONG: u32 = 600_000;

/// The worker's options, without a ledger.
fn options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    worker_options(task_queue, None)
}

/// Returns a new resource, and its lock, which has not been started.
pub(crate) fn resource(env: &TestEnv) -> (String, Lock) {
    let id = env.start_options().workflow_id;
    let lock = env.client.get_workflow_handle(lock_id(&id));
    (id, lock)
}

/// Starts a requester that a worker runs.
async fn start(env: &TestEnv, arguments: &[Value]) -> anyhow::Result<Requester> {
    env.start_json("oneAtATimeWorkflow", arguments).await
}

/// Starts a requester that no worker runs, so that the test can act for it.
pub(crate) async fn puppet(env: &TestEnv) -> anyhow::Result<Untyped> {
    let id = env.start_options().workflow_id;
    let options = WorkflowStartOptions::new(format!("{}-nobody", env.task_queue), id).build();
    let started = env
        .client
        .start_workflow(UntypedWorkflow::new("Puppet"), raw_json(&[]), options);
    Ok(started.await?)
}

/// Asks for the lock, as the activity does.
async fn ask(env: &TestEnv, lock: &Lock, initiator_id: &str, lease_ms: u32) -> anyhow::Result<()> {
    let request = LockRequest {
        initiator_id: initiator_id.to_owned(),
        timeout_ms: NonZeroU32::new(lease_ms).context("no time")?,
    };
    let id = lock.info().workflow_id.clone();
    let options = WorkflowStartOptions::new(&env.task_queue, id).build();
    let (run, requested) = (LockWorkflow::run, LockWorkflow::lock_requested);
    env.client
        .signal_with_start_workflow(run, (None, None).into(), requested, request.into(), options)
        .await?;
    Ok(())
}

pub(crate) async fn ask_for(
    env: &TestEnv,
    lock: &Lock,
    puppet: &Untyped,
    ms: u32,
) -> anyhow::Result<()> {
    ask(env, lock, &puppet.info().workflow_id, ms).await
}

/// Sends a signal as a client in another language can.
async fn send<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    signal: &str,
    arguments: &[Value],
) -> anyhow::Result<()> {
    let signal = UntypedSignal::new(signal);
    Ok(handle
        .signal(signal, raw_json(arguments), Default::default())
        .await?)
}

pub(crate) async fn release(lock: &Lock, lease: &Lease) -> anyhow::Result<()> {
    send(lock, "release-lock", &[json!({"token": lease.token})]).await
}

/// Returns the leases that a requester has got.
async fn leases(puppet: &Untyped) -> anyhow::Result<Vec<Lease>> {
    let lease = |event: HistoryEvent| match event.attributes {
        Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) => {
            assert_eq!(signal.signal_name, "lock-acquired");
            let payload = signal.input.unwrap_or_default().payloads.remove(0);
            Some(serde_json::from_slice(&payload.data))
        }
        _ => None,
    };
    Ok(events(puppet)
        .await?
        .into_iter()
        .filter_map(lease)
        .collect::<Result<_, _>>()?)
}

/// Waits until the requester gets the lock, and returns the lease.
pub(crate) async fn granted(puppet: &Untyped) -> anyhow::Result<Lease> {
    until(puppet, WorkflowExecutionSignaled).await?;
    leases(puppet).await?.pop().context("no lease")
}

async fn holder(lock: &Lock) -> anyhow::Result<Option<String>> {
    let current = LockWorkflow::current_workflow_id;
    Ok(lock.query(current, ().into(), Default::default()).await?)
}

/// Waits until this requester holds the lock.
async fn held_by<W: HasWorkflowDefinition>(
    lock: &Lock,
    requester: &WorkflowHandle<Client, W>,
) -> anyhow::Result<()> {
    let id = &requester.info().workflow_id;
    eventually(format!("a lease of {id}"), async || {
        Ok((holder(lock).await?.as_ref() == Some(id)).then_some(()))
    })
    .await
}

async fn done<W: HasWorkflowDefinition>(handle: &WorkflowHandle<Client, W>) -> anyhow::Result<()> {
    handle.get_result(Default::default()).await?;
    Ok(())
}

async fn ends_cancelled<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<()> {
    match handle.get_result(Default::default()).await {
        Err(WorkflowGetResultError::Cancelled { .. }) => Ok(()),
        Err(other) => Err(other.into()),
        Ok(_) => Err(anyhow!("completed")),
    }
}

/// A signal that a workflow sends: its name, and the receiver's workflow id.
fn sent(event: &HistoryEvent) -> Option<(String, String)> {
    match &event.attributes {
        Some(Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(sent)) => {
            let receiver = sent.workflow_execution.clone().unwrap_or_default();
            Some((sent.signal_name.clone(), receiver.workflow_id))
        }
        _ => None,
    }
}

/// Returns what has happened at a lock, in order: `asked`, `released`, or the workflow id of the requester that the
/// lock has granted a lease to.
async fn turns(lock: &Lock) -> anyhow::Result<Vec<String>> {
    let turn = |event: HistoryEvent| match &event.attributes {
        Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) => {
            let asked = signal.signal_name == "lock-requested";
            Some(if asked { "asked" } else { "released" }.to_owned())
        }
        _ => sent(&event).map(|(_, receiver)| receiver),
    };
    Ok(events(lock).await?.into_iter().filter_map(turn).collect())
}

/// Waits until the lock has got this many requests.
async fn asked(lock: &Lock, times: usize) -> anyhow::Result<()> {
    eventually(format!("{times} requests"), async || {
        let turns = turns(lock).await?;
        let asked = turns.iter().filter(|turn| *turn == "asked").count();
        Ok((asked >= times).then_some(()))
    })
    .await
}

/// Several workflows get the lock one after the other, in the order of their requests, and the lock ends when all have
/// had their turn. The server stops the use of the resource at the end of the lease, and learns from heartbeats if the
/// worker dies.
#[tokio::test]
async fn takes_turns() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let (resource_id, lock) = resource(&env);
        let first = puppet(&env).await?;
        ask_for(&env, &lock, &first, LONG).await?;
        let lease = granted(&first).await?;
        let mut requesters = Vec::new();
        for number in 0..3 {
            let arguments = [json!(resource_id), json!(20), json!(60_000)];
            requesters.push(start(&env, &arguments).await?);
            asked(&lock, number + 2).await?;
        }
        assert_eq!(
            holder(&lock).await?.as_ref(),
            Some(&first.info().workflow_id)
        );
        release(&lock, &lease).await?;
        try_join_all(requesters.iter().map(done)).await?;
        done(&lock).await?;

        let mut expected = vec![first.info().workflow_id.clone()];
        for requester in &requesters {
            expected.extend(["released".to_owned(), requester.info().workflow_id.clone()]);
        }
        expected.push("released".to_owned());
        let mut turns = turns(&lock).await?;
        turns.retain(|turn| turn != "asked");
        assert_eq!(turns, expected);
        assert_eq!(holder(&lock).await?, None);

        let activities = [
            "signalWithStartLockWorkflow",
            "notifyLocked",
            "useAPIThatCantBeCalledInParallel",
            "notifyUnlocked",
        ];
        assert_eq!(activity_types(&requesters[0]).await?, activities);
        let scheduled = |event: HistoryEvent| match event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => Some(scheduled),
            _ => None,
        };
        let mut scheduled = events(&requesters[0])
            .await?
            .into_iter()
            .filter_map(scheduled);
        let used = scheduled.nth(2).context("not used")?;
        assert_eq!(
            used.heartbeat_timeout,
            Duration::from_secs(3).try_into().ok()
        );
        let limit: Duration = used
            .schedule_to_close_timeout
            .context("no limit")?
            .try_into()?;
        assert!(
            limit > Duration::ZERO && limit <= Duration::from_secs(60),
            "{limit:?}"
        );
        Ok(())
    })
    .await
}

/// The lock skips requesters that do not exist, that have ended, or that are the lock itself, and lives on.
#[tokio::test]
async fn skips_requesters_that_are_gone() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (resource_id, lock) = resource(&env);
    let (ended, alive) = (puppet(&env).await?, puppet(&env).await?);
    ended.terminate(Default::default()).await?;
    ask(&env, &lock, "nobody", LONG).await?;
    ask_for(&env, &lock, &ended, LONG).await?;
    ask(&env, &lock, &lock_id(&resource_id), LONG).await?;
    ask_for(&env, &lock, &alive, LONG).await?;
    env.work(options, async {
        let lease = granted(&alive).await?;
        release(&lock, &lease).await?;
        done(&lock).await?;
        assert_eq!(leases(&alive).await?.len(), 1);
        Ok(())
    })
    .await
}

/// A holder that never releases the lock loses it at the end of its lease. When it releases the lock after all, or
/// somebody guesses a token, the next holder keeps the lock. A requester that has asked twice gets it once.
#[tokio::test]
async fn a_holder_that_never_releases() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let (_, lock) = resource(&env);
        let (first, second) = (puppet(&env).await?, puppet(&env).await?);
        ask_for(&env, &lock, &first, 1000).await?;
        let lost = granted(&first).await?;
        ask_for(&env, &lock, &second, LONG).await?;
        ask_for(&env, &lock, &second, LONG).await?;
        let lease = granted(&second).await?;
        let token: u64 = lease.token.parse()?;
        assert!(token >= lost.expires_at_ms, "{lease:?} after {lost:?}");
        assert_eq!(lease.release_signal_name, "release-lock");

        release(&lock, &lost).await?;
        send(&lock, "release-lock", &[json!({"token": "1"})]).await?;
        ask_for(&env, &lock, &second, LONG).await?;
        // The query is answered after the signals that were sent before it.
        held_by(&lock, &second).await?;
        release(&lock, &lease).await?;
        done(&lock).await?;
        assert_eq!(leases(&second).await?.len(), 1);
        Ok(())
    })
    .await
}

/// A holder that releases the lock and asks for it at once gets it again, with a larger token.
#[tokio::test]
async fn asks_again_after_its_release() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let (_, lock) = resource(&env);
        let puppet = puppet(&env).await?;
        ask_for(&env, &lock, &puppet, LONG).await?;
        let first = granted(&puppet).await?;
        release(&lock, &first).await?;
        ask_for(&env, &lock, &puppet, LONG).await?;
        let second = eventually("the second lease", async || {
            Ok(leases(&puppet).await?.into_iter().nth(1))
        });
        let second = second.await?;
        assert!(second.token > first.token, "{second:?} after {first:?}");
        release(&lock, &second).await?;
        done(&lock).await
    })
    .await
}

/// A requester whose lock has been terminated asks again, which starts another lock.
#[tokio::test]
async fn asks_another_lock() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let (resource_id, lock) = resource(&env);
        let puppet = puppet(&env).await?;
        ask_for(&env, &lock, &puppet, LONG).await?;
        granted(&puppet).await?;
        let arguments = [json!(resource_id), json!(0), json!(60_000), json!(1000)];
        let requester = start(&env, &arguments).await?;
        asked(&lock, 2).await?;
        lock.terminate(Default::default()).await?;
        done(&requester).await?;
        let asked = activity_types(&requester).await?;
        let asked = asked
            .iter()
            .filter(|name| *name == "signalWithStartLockWorkflow");
        assert!(asked.count() >= 2);
        Ok(())
    })
    .await
}

/// A cancelled lock still waits for its holder, and grants no further lease.
#[tokio::test]
async fn a_cancelled_lock_waits_for_its_holder() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let (_, lock) = resource(&env);
        let (first, second) = (puppet(&env).await?, puppet(&env).await?);
        ask_for(&env, &lock, &first, LONG).await?;
        let lease = granted(&first).await?;
        ask_for(&env, &lock, &second, LONG).await?;
        lock.cancel(Default::default()).await?;
        // Answered after the cancellation.
        held_by(&lock, &first).await?;
        let description = lock.describe(Default::default()).await?;
        assert_eq!(description.status(), WorkflowExecutionStatus::Running);
        release(&lock, &lease).await?;
        ends_cancelled(&lock).await?;
        assert_eq!(leases(&second).await?, []);
        Ok(())
    })
    .await
}

/// When the server suggests it, here because of 4 MB of history, the lock continues as new with its holder and the
/// requests that wait. The holder releases the lock in the next run, and the next requester gets it.
#[tokio::test]
async fn continues_as_new() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let (_, lock) = resource(&env);
        let puppets = try_join_all((0..3).map(|_| puppet(&env))).await?;
        for puppet in &puppets {
            ask_for(&env, &lock, puppet, LONG).await?;
        }
        let lease = granted(&puppets[0]).await?;
        let padding = json!({"padding": "x".repeat(1_500_000)});
        // The server counts the bytes of a signal when the next one arrives.
        for _ in 0..4 {
            send(&lock, "lock-requested", std::slice::from_ref(&padding)).await?;
        }
        let input = eventually("the next run", async || {
            let started = events(&lock).await?.swap_remove(0);
            Ok(match started.attributes {
                Some(Attributes::WorkflowExecutionStartedEventAttributes(started))
                    if !started.continued_execution_run_id.is_empty() =>
                {
                    started.input
                }
                _ => None,
            })
        });
        let input = input.await?.payloads.into_iter();
        let input: Vec<Value> = input
            .map(|payload| serde_json::from_slice(&payload.data))
            .collect::<Result<_, _>>()?;
        let id = |index: usize| &puppets[index].info().workflow_id;
        let request = |index| json!({"initiatorId": id(index), "timeoutMs": LONG});
        assert_eq!(
            input,
            [
                json!([request(1), request(2)]),
                json!({"initiatorId": id(0), "lease": lease})
            ]
        );
        held_by(&lock, &puppets[0]).await?;
        release(&lock, &lease).await?;
        for puppet in &puppets[1..] {
            release(&lock, &granted(puppet).await?).await?;
        }
        done(&lock).await
    })
    .await
}

/// A run that continues another one handles signals that arrive before the first line of `run`: the release of the
/// holder from the previous run, and requests, which come after those of the previous run.
#[tokio::test]
async fn signals_before_the_first_task() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (_, lock) = resource(&env);
    let puppets = try_join_all((0..3).map(|_| puppet(&env))).await?;
    let id = |index: usize| &puppets[index].info().workflow_id;
    let lease = Lease {
        release_signal_name: "release-lock".to_owned(),
        token: "1764000000000".to_owned(),
        // In a long time. A lease without a sensible end must not block the lock.
        expires_at_ms: u64::MAX,
    };
    let waiters = json!([{"initiatorId": id(1), "timeoutMs": LONG}]);
    let holder = json!({"initiatorId": id(0), "lease": lease});
    let lock_id = lock.info().workflow_id.clone();
    let arguments = [waiters, holder];
    env.start_json_as::<LockWorkflow>(lock_id, "lockWorkflow", &arguments)
        .await?;
    release(&lock, &lease).await?;
    ask_for(&env, &lock, &puppets[2], LONG).await?;
    ask_for(&env, &lock, &puppets[1], LONG).await?;
    env.work(options, async {
        for puppet in &puppets[1..] {
            release(&lock, &granted(puppet).await?).await?;
        }
        done(&lock).await?;
        let turns: Vec<String> = events(&lock)
            .await?
            .iter()
            .filter_map(sent)
            .map(|(_, to)| to)
            .collect();
        assert_eq!(turns, [id(1).clone(), id(2).clone()]);
        Ok(())
    })
    .await
}

/// Returns the names of the signals that a requester has sent to the lock.
async fn signals(requester: &Requester) -> anyhow::Result<Vec<String>> {
    let sent = events(requester)
        .await?
        .iter()
        .filter_map(sent)
        .collect::<Vec<_>>();
    Ok(sent.into_iter().map(|(name, _)| name).collect())
}

/// A requester that is cancelled while it waits leaves nothing: the lock skips it.
#[tokio::test]
async fn cancelled_while_it_waits() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let (resource_id, lock) = resource(&env);
        let puppet = puppet(&env).await?;
        ask_for(&env, &lock, &puppet, LONG).await?;
        let lease = granted(&puppet).await?;
        let requester = start(&env, &[json!(resource_id)]).await?;
        asked(&lock, 2).await?;
        requester.cancel(Default::default()).await?;
        ends_cancelled(&requester).await?;
        assert_eq!(signals(&requester).await?, [""; 0]);
        release(&lock, &lease).await?;
        done(&lock).await
    })
    .await
}

/// A requester that is cancelled while it uses the resource releases the lock, but only when its activity has stopped.
#[tokio::test]
async fn cancelled_while_it_uses_the_resource() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let (resource_id, lock) = resource(&env);
        let arguments = [json!(resource_id), json!(LONG), json!(LONG)];
        let requester = start(&env, &arguments).await?;
        until_pending(&requester, |activity| {
            activity.last_heartbeat_time.is_some()
        })
        .await?;
        requester.cancel(Default::default()).await?;
        ends_cancelled(&requester).await?;
        done(&lock).await?;
        let events = event_types(&requester).await?;
        let at = |event| events.iter().position(|other| *other == event);
        let stopped = at(ActivityTaskCanceled).context("not cancelled")?;
        assert!(
            at(SignalExternalWorkflowExecutionInitiated) > Some(stopped),
            "{events:?}"
        );
        assert_eq!(signals(&requester).await?, ["release-lock"]);
        Ok(())
    })
    .await
}

/// A requester that is cancelled in the moment in which it gets the lock releases it.
#[tokio::test]
async fn cancelled_as_the_lock_is_granted() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (resource_id, _) = resource(&env);
    let requester = start(&env, &[json!(resource_id)]).await?;
    let lease = json!({"releaseSignalName": "release-lock", "token": "1764000000000", "expiresAtMs": u64::MAX});
    send(&requester, "lock-acquired", &[lease]).await?;
    env.ends_cancelled(&requester, options).await?;
    assert_eq!(signals(&requester).await?, ["release-lock"]);
    Ok(())
}

/// A requester does not use a lease that is over when it learns about it. It asks for another one.
#[tokio::test]
async fn asks_for_a_new_lease() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (resource_id, lock) = resource(&env);
    let requester = start(&env, &[json!(resource_id), json!(0), json!(LONG)]).await?;
    let lease = json!({"releaseSignalName": "release-lock", "token": "1", "expiresAtMs": 1});
    send(&requester, "lock-acquired", &[lease]).await?;
    env.work(options, async {
        done(&requester).await?;
        done(&lock).await
    })
    .await
}

/// An API that fails for good.
pub struct BrokenApi;

#[activities]
impl BrokenApi {
    #[activity(name = "useAPIThatCantBeCalledInParallel")]
    pub async fn use_api(
        _ctx: ActivityContext,
        _arguments: MultiArgs2<u32, String>,
    ) -> Result<(), ActivityError> {
        Err(ApplicationFailure::non_retryable(anyhow!("the API is broken")).into())
    }
}

/// A requester that fails releases the lock.
#[tokio::test]
async fn a_failing_requester_releases_the_lock() -> anyhow::Result<()> {
    let broken = |task_queue: &str| -> anyhow::Result<WorkerOptions> {
        let mut options = options(task_queue)?;
        options.register_activities(BrokenApi);
        Ok(options)
    };
    with_worker(broken, async |env| {
        let (resource_id, lock) = resource(&env);
        let requester = start(&env, &[json!(resource_id), json!(0), json!(LONG)]).await?;
        let error = done(&requester).await.expect_err("the API is broken");
        let expected =
            "workflow failed: activity useAPIThatCantBeCalledInParallel failed: the API is broken";
        assert_eq!(describe(&*error), expected);
        done(&lock).await
    })
    .await
}

/// A requester that needs more time than its lease fails and releases the lock.
#[tokio::test]
async fn work_ends_with_the_lease() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let (resource_id, lock) = resource(&env);
        let slow = start(&env, &[json!(resource_id), json!(LONG), json!(1000)]).await?;
        let error = done(&slow).await.expect_err("the lease is over");
        let error = describe(&*error);
        // On a slow machine, the lease may be over before the activity begins.
        let expected = ["the lease is over", "ScheduleToClose timeout"];
        assert!(
            expected.iter().any(|reason| error.contains(reason)),
            "{error}"
        );
        assert_eq!(signals(&slow).await?, ["release-lock"]);
        done(&lock).await
    })
    .await
}

/// Bad requests, releases and leases are logged and ignored, and the workflows go on.
#[tokio::test]
async fn survives_any_signal() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (resource_id, lock) = resource(&env);
    let puppet = puppet(&env).await?;
    let id = &puppet.info().workflow_id;
    let bad = [
        vec![],
        vec![json!(null)],
        vec![json!("puppet")],
        vec![json!({"initiatorId": id})],
        vec![json!({"initiatorId": id, "timeoutMs": 0})],
        vec![json!({"initiatorId": id, "timeoutMs": -1})],
        vec![json!({"initiatorId": id, "timeoutMs": 5_000_000_000_u64})],
        vec![json!({"initiatorId": "", "timeoutMs": 1000})],
        vec![json!({"initiatorId": "x".repeat(256), "timeoutMs": 1000})],
        vec![json!({"initiatorId": "a\u{0}b", "timeoutMs": 1000})],
        vec![json!({"token": 1})],
        vec![json!({"token": null})],
    ];
    let requester = start(&env, &[json!(resource_id), json!(0), json!(LONG)]).await?;
    ask_for(&env, &lock, &puppet, LONG).await?;
    for arguments in &bad {
        send(&requester, "lock-acquired", arguments).await?;
        send(&lock, "lock-requested", arguments).await?;
        send(&lock, "release-lock", arguments).await?;
    }
    env.work(options, async {
        let lease = granted(&puppet).await?;
        asked(&lock, bad.len() + 2).await?;
        release(&lock, &lease).await?;
        done(&requester).await?;
        done(&lock).await
    })
    .await
}

/// Bad input fails the workflow, and the failure names the argument.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let number = "invalid value: integer `0`, expected a nonzero u32";
        let cases = [
            (vec![], "argument 1: the argument is missing".to_owned()),
            (vec![json!(1)], "argument 1: invalid type: integer `1`, expected a string".to_owned()),
            (vec![json!("")], "the resource id is empty: leave it out, or give it a value".to_owned()),
            (
                vec![json!("x".repeat(250))],
                "the resource id has 250 bytes, and at most 249 fit: choose a shorter one".to_owned(),
            ),
            (
                vec![json!("printer"), json!(-1)],
                "argument 2: invalid value: integer `-1`, expected u32".to_owned(),
            ),
            (vec![json!("printer"), json!(1), json!(0)], format!("argument 3: {number}")),
            (vec![json!("printer"), json!(1), json!(1), json!(0)], format!("argument 4: {number}")),
        ];
        for (arguments, reason) in cases {
            assert_eq!(bad_input(&start(&env, &arguments).await?).await?, reason);
        }
        let id = id_of(256, "x");
        let arguments = [json!("printer")];
        let requester: Requester = env
            .start_json_as(id, "oneAtATimeWorkflow", &arguments)
            .await?;
        let reason = "the workflow id has 256 bytes, and at most 255 fit: choose a shorter one";
        assert_eq!(bad_input(&requester).await?, reason);

        let waiters = json!([{"initiatorId": "", "timeoutMs": 1}]);
        let lock: Lock = env.start_json("lockWorkflow", &[waiters]).await?;
        let reason = "argument 1: `[0].initiatorId`: the workflow id is empty: leave it out, or give it a value";
        assert_eq!(bad_input(&lock).await?, reason);
        Ok(())
    })
    .await
}

/// Workflows that are cancelled before a worker has seen them end as CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (resource_id, lock) = resource(&env);
    let requester = start(&env, &[json!(resource_id)]).await?;
    env.ends_cancelled(&requester, options).await?;
    ask(&env, &lock, "nobody", LONG).await?;
    env.ends_cancelled(&lock, options).await
}
