//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, anyhow};
use futures::future::try_join_all;
use resource_pool::{
    activities::{ResourceActivities, UseResource},
    worker_options,
    workflows::{AcquiredResource, Holder, POOL_ID, ResourcePoolWorkflow, ResourceUserWorkflow},
};
use serde_json::{Value, json};
use shared::{describe, histories};
use std::{collections::BTreeMap, time::Duration};
use temporalio_client::{
    Client, UntypedSignal, UntypedWorkflow, WorkflowExecutionStatus, WorkflowHandle,
    WorkflowIdConflictPolicy::TerminateExisting, WorkflowStartOptions,
    errors::WorkflowGetResultError,
};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::{
        enums::v1::EventType::{
            ActivityTaskCanceled, SignalExternalWorkflowExecutionInitiated,
            WorkflowExecutionSignaled, WorkflowTaskCompleted,
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

pub(crate) type Pool = WorkflowHandle<Client, ResourcePoolWorkflow>;
pub(crate) type User = WorkflowHandle<Client, ResourceUserWorkflow>;
pub(crate) type Untyped = WorkflowHandle<Client, UntypedWorkflow>;

/// The worker's options, with a use that takes this time.
fn options_with(
    task_queue: &str,
    use_time: Duration,
) -> Result<WorkerOptions, WorkflowRegistrationError> {
    let ledger = None;
    worker_options(task_queue, ResourceActivities { use_time, ledger })
}

/// The worker's options, with a use that takes no time.
fn options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    options_with(task_queue, Duration::from_millis(1))
}

/// The worker's options, with a use that never ends.
fn slow(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    options_with(task_queue, Duration::from_secs(3600))
}

/// Starts a pool with these resources.
pub(crate) async fn start_pool(env: &TestEnv, resources: &[&str]) -> anyhow::Result<Pool> {
    let resources = resources.iter().map(|name| (*name, json!(null)));
    let resources: BTreeMap<_, _> = resources.collect();
    let input = json!({"resources": resources, "waiters": [], "check_seconds": 1});
    env.start_json("ResourcePoolWorkflow", &[input]).await
}

/// Starts a user that a worker runs. The fields are added to its input.
pub(crate) async fn start_user(env: &TestEnv, pool: &Pool, fields: Value) -> anyhow::Result<User> {
    let mut input = json!({"resource_pool_workflow_id": id(pool)});
    for (name, value) in fields.as_object().into_iter().flatten() {
        input[name] = value.clone();
    }
    env.start_json("ResourceUserWorkflow", &[input]).await
}

/// Starts a user that no worker runs, so that the test can act for it.
pub(crate) async fn puppet(env: &TestEnv) -> anyhow::Result<Untyped> {
    let id = env.start_options().workflow_id;
    let options = WorkflowStartOptions::new(format!("{}-nobody", env.task_queue), id).build();
    let started = env
        .client
        .start_workflow(UntypedWorkflow::new("Puppet"), raw_json(&[]), options);
    Ok(started.await?)
}

async fn puppets<const N: usize>(env: &TestEnv) -> anyhow::Result<[Untyped; N]> {
    let started = try_join_all((0..N).map(|_| puppet(env))).await?;
    started.try_into().map_err(|_| anyhow!("another number"))
}

pub(crate) fn id<W: HasWorkflowDefinition>(handle: &WorkflowHandle<Client, W>) -> &str {
    &handle.info().workflow_id
}

/// Sends a signal as a client in another language can.
pub(crate) async fn send<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    signal: &str,
    arguments: &[Value],
) -> anyhow::Result<()> {
    let signal = UntypedSignal::new(signal);
    Ok(handle
        .signal(signal, raw_json(arguments), Default::default())
        .await?)
}

/// Asks for a resource.
pub(crate) async fn ask(pool: &Pool, workflow_id: &str) -> anyhow::Result<()> {
    send(
        pool,
        "acquire_resource",
        &[json!({"workflow_id": workflow_id})],
    )
    .await
}

/// Releases a resource by its key alone.
pub(crate) async fn release(pool: &Pool, acquired: &AcquiredResource) -> anyhow::Result<()> {
    let key = json!({"release_key": acquired.release_key});
    send(pool, "release_resource", &[key]).await
}

/// Returns the resources that the user has got, with the names of the signals.
async fn assigned(puppet: &Untyped) -> anyhow::Result<Vec<(String, AcquiredResource)>> {
    let mut assigned = Vec::new();
    for event in events(puppet).await? {
        if let Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) = event.attributes
            && signal.signal_name.starts_with("assign_resource")
        {
            let payload = signal.input.unwrap_or_default().payloads.remove(0);
            let acquired = serde_json::from_slice(&payload.data)?;
            assigned.push((signal.signal_name, acquired));
        }
    }
    Ok(assigned)
}

/// Waits until the user gets a resource, and returns it.
pub(crate) async fn acquired(puppet: &Untyped) -> anyhow::Result<AcquiredResource> {
    until(puppet, WorkflowExecutionSignaled).await?;
    let (_, acquired) = assigned(puppet).await?.pop().context("no resource")?;
    Ok(acquired)
}

/// Returns the workflow id of each resource's holder.
async fn holders(pool: &Pool) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let current = ResourcePoolWorkflow::get_current_holders;
    let holders = pool.query(current, ().into(), Default::default()).await?;
    let workflow_id = |holder: Option<Holder>| holder.map(|holder| holder.workflow_id);
    let holders = holders.into_iter();
    Ok(holders
        .map(|(name, holder)| (name, workflow_id(holder)))
        .collect())
}

fn held<const N: usize>(expected: [(&str, Option<&str>); N]) -> BTreeMap<String, Option<String>> {
    let owned = expected.map(|(name, holder)| (name.to_owned(), holder.map(str::to_owned)));
    owned.into()
}

/// Waits until the pool has these holders.
async fn until_held<const N: usize>(
    pool: &Pool,
    expected: [(&str, Option<&str>); N],
) -> anyhow::Result<()> {
    let expected = held(expected);
    eventually(format!("the holders {expected:?}"), async || {
        Ok((holders(pool).await? == expected).then_some(()))
    })
    .await
}

async fn done(user: &User) -> anyhow::Result<()> {
    Ok(user.get_result(Default::default()).await?)
}

async fn failed(user: &User) -> anyhow::Result<String> {
    let ended = user.get_result(Default::default()).await;
    Ok(describe(&ended.err().context("completed")?))
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

/// Cancels a pool whose resources have all come back, so that it ends.
async fn end(pool: &Pool) -> anyhow::Result<()> {
    pool.cancel(Default::default()).await?;
    ends_cancelled(pool).await
}

/// Returns the signals that a workflow has sent: their names, and the receivers' workflow ids.
async fn sent<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Vec<(String, String)>> {
    let sent = |event: HistoryEvent| match event.attributes {
        Some(Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(sent)) => {
            Some((sent.signal_name, sent.workflow_execution?.workflow_id))
        }
        _ => None,
    };
    Ok(events(handle).await?.into_iter().filter_map(sent).collect())
}

/// Returns the names of the signals that a user has sent to the pool.
async fn signals(user: &User) -> anyhow::Result<Vec<String>> {
    let sent = sent(user).await?.into_iter();
    Ok(sent.map(|(name, _)| name).collect())
}

/// Users get the resources in the order of their requests. With two resources, the third user waits until one is
/// released, and gets that one. A user has the activities and time limits of the README.
#[tokio::test]
async fn takes_turns() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let pool = start_pool(&env, &["resource_a", "resource_b"]).await?;
        let [first, second, third] = puppets(&env).await?;
        for puppet in [&first, &second, &third] {
            ask(&pool, id(puppet)).await?;
        }
        let a = acquired(&first).await?;
        let b = acquired(&second).await?;
        assert_eq!(
            (a.resource.as_str(), b.resource.as_str()),
            ("resource_a", "resource_b")
        );
        assert!(b.release_key > a.release_key, "{b:?} after {a:?}");
        let user = start_user(&env, &pool, json!({})).await?;
        until_held(
            &pool,
            [
                ("resource_a", Some(id(&first))),
                ("resource_b", Some(id(&second))),
            ],
        )
        .await?;

        release(&pool, &b).await?;
        let b = acquired(&third).await?;
        assert_eq!(b.resource, "resource_b");
        release(&pool, &a).await?;
        done(&user).await?;
        until_held(
            &pool,
            [("resource_a", None), ("resource_b", Some(id(&third)))],
        )
        .await?;
        release(&pool, &b).await?;
        until_held(&pool, [("resource_a", None), ("resource_b", None)]).await?;
        end(&pool).await?;

        assert_eq!(activity_types(&user).await?, ["use_resource"; 2]);
        assert_eq!(
            signals(&user).await?,
            ["acquire_resource", "release_resource"]
        );
        let mut scheduled = events(&user).await?.into_iter();
        let scheduled = scheduled.find_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => Some(scheduled),
            _ => None,
        });
        let scheduled = scheduled.context("no activity")?;
        let seconds = |seconds| Duration::from_secs(seconds).try_into().ok();
        assert_eq!(scheduled.start_to_close_timeout, seconds(10));
        assert_eq!(scheduled.heartbeat_timeout, seconds(3));
        Ok(())
    })
    .await
}

/// The pool with the published id sends the signal with the published name, and its users get their resources.
#[tokio::test]
async fn the_published_pool() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let options = WorkflowStartOptions::new(&env.task_queue, POOL_ID)
            // An earlier run of this test may have left one.
            .id_conflict_policy(TerminateExisting)
            .build();
        let input = raw_json(&[json!({"resources": {"resource_a": null}, "waiters": []})]);
        let published = UntypedWorkflow::new("ResourcePoolWorkflow");
        env.client.start_workflow(published, input, options).await?;
        let pool: Pool = env.client.get_workflow_handle(POOL_ID);
        let puppet = puppet(&env).await?;
        ask(&pool, id(&puppet)).await?;
        let a = acquired(&puppet).await?;
        assert_eq!(
            assigned(&puppet).await?[0].0,
            "assign_resource_resource_pool"
        );
        let user = start_user(&env, &pool, json!({"iteration_to_fail_after": null})).await?;
        release(&pool, &a).await?;
        done(&user).await?;
        until_held(&pool, [("resource_a", None)]).await?;
        end(&pool).await
    })
    .await
}

/// The pool skips users that do not exist, that have ended, or that are the pool itself.
#[tokio::test]
async fn skips_users_that_are_gone() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let pool = start_pool(&env, &["resource_a"]).await?;
    let [ended, alive] = puppets(&env).await?;
    ended.terminate(Default::default()).await?;
    for workflow_id in ["nobody", id(&ended), id(&pool), id(&alive)] {
        ask(&pool, workflow_id).await?;
    }
    env.work(options, async {
        let acquired = acquired(&alive).await?;
        release(&pool, &acquired).await?;
        end(&pool).await?;
        assert_eq!(assigned(&alive).await?.len(), 1);
        Ok(())
    })
    .await
}

/// A terminated holder does not keep its resource: as soon as a user waits, the pool notices that the holder is gone. A
/// holder that still runs keeps its resource, however long it takes.
#[tokio::test]
async fn takes_resources_back() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let pool = start_pool(&env, &["resource_a", "resource_b"]).await?;
        let [alive, gone, next] = puppets(&env).await?;
        ask(&pool, id(&alive)).await?;
        ask(&pool, id(&gone)).await?;
        acquired(&alive).await?;
        let lost = acquired(&gone).await?;
        gone.terminate(Default::default()).await?;
        ask(&pool, id(&next)).await?;
        let acquired = acquired(&next).await?;
        assert_eq!(acquired.resource, "resource_b");
        assert!(acquired.release_key > lost.release_key);
        let expected = held([
            ("resource_a", Some(id(&alive))),
            ("resource_b", Some(id(&next))),
        ]);
        assert_eq!(holders(&pool).await?, expected);
        pool.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}

/// A key that nobody holds has no effect: an old one, a guessed one, and one that was used already.
#[tokio::test]
async fn ignores_unknown_keys() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let pool = start_pool(&env, &["resource_a"]).await?;
        let [first, second] = puppets(&env).await?;
        ask(&pool, id(&first)).await?;
        ask(&pool, id(&second)).await?;
        let old = acquired(&first).await?;
        release(&pool, &old).await?;
        let current = acquired(&second).await?;
        release(&pool, &old).await?;
        for key in ["", "1", "1764000000000"] {
            send(
                &pool,
                "release_resource",
                &[json!({"release_key": key, "resource": "resource_a"})],
            )
            .await?;
        }
        // The query is answered after the signals that were sent before it.
        assert_eq!(
            holders(&pool).await?,
            held([("resource_a", Some(id(&second)))])
        );
        release(&pool, &current).await?;
        end(&pool).await
    })
    .await
}

/// A user that waits gets a resource that is added, and known resources are not added twice. A removed resource leaves
/// the pool at once if it is free, and otherwise when its holder releases it.
#[tokio::test]
async fn the_pool_changes() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let pool = start_pool(&env, &["resource_a", "resource_b"]).await?;
        let [first, second, third] = puppets(&env).await?;
        send(
            &pool,
            "remove_resources",
            &[json!(["resource_b", "unknown"])],
        )
        .await?;
        until_held(&pool, [("resource_a", None)]).await?;
        ask(&pool, id(&first)).await?;
        ask(&pool, id(&second)).await?;
        let a = acquired(&first).await?;
        send(
            &pool,
            "add_resources",
            &[json!(["resource_a", "resource_c"])],
        )
        .await?;
        let c = acquired(&second).await?;
        assert_eq!(c.resource, "resource_c");

        send(
            &pool,
            "remove_resources",
            &[json!(["resource_a", "resource_c"])],
        )
        .await?;
        send(&pool, "add_resources", &[json!(["resource_c"])]).await?;
        ask(&pool, id(&third)).await?;
        release(&pool, &a).await?;
        until_held(&pool, [("resource_c", Some(id(&second)))]).await?;
        assert_eq!(assigned(&third).await?, []);
        release(&pool, &c).await?;
        let c = acquired(&third).await?;
        assert_eq!(c.resource, "resource_c");
        release(&pool, &c).await?;
        until_held(&pool, [("resource_c", None)]).await?;
        end(&pool).await
    })
    .await
}

/// A cancelled pool assigns nothing any more. It ends when all resources have come back, also from a holder that was
/// terminated.
#[tokio::test]
async fn a_cancelled_pool_waits_for_its_users() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let pool = start_pool(&env, &["resource_a", "resource_b"]).await?;
        let [first, second, third] = puppets(&env).await?;
        for puppet in [&first, &second] {
            ask(&pool, id(puppet)).await?;
            acquired(puppet).await?;
        }
        pool.cancel(Default::default()).await?;
        ask(&pool, id(&third)).await?;
        release(&pool, &acquired(&first).await?).await?;
        until_held(
            &pool,
            [("resource_a", None), ("resource_b", Some(id(&second)))],
        )
        .await?;
        let description = pool.describe(Default::default()).await?;
        assert_eq!(description.status(), WorkflowExecutionStatus::Running);
        second.terminate(Default::default()).await?;
        ends_cancelled(&pool).await?;
        assert_eq!(assigned(&third).await?, []);
        Ok(())
    })
    .await
}

/// When the server suggests it, here because of 4 MB of history, the pool continues as new with its holders, the users
/// that wait, and the resources that must leave. Keys of the previous run release resources in the next one.
#[tokio::test]
async fn continues_as_new() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let pool = start_pool(&env, &["resource_a", "resource_b"]).await?;
        let puppets: [Untyped; 4] = puppets(&env).await?;
        for puppet in &puppets {
            ask(&pool, id(puppet)).await?;
        }
        let (a, b) = (acquired(&puppets[0]).await?, acquired(&puppets[1]).await?);
        send(&pool, "remove_resources", &[json!(["resource_a"])]).await?;
        let padding = json!({"padding": "x".repeat(1_500_000)});
        // The server counts the bytes of a signal when the next one arrives.
        for _ in 0..4 {
            send(&pool, "acquire_resource", std::slice::from_ref(&padding)).await?;
        }
        let input = eventually("the next run", async || {
            let started = events(&pool).await?.swap_remove(0);
            Ok(match started.attributes {
                Some(Attributes::WorkflowExecutionStartedEventAttributes(started))
                    if !started.continued_execution_run_id.is_empty() =>
                {
                    started.input
                }
                _ => None,
            })
        });
        let payload = input.await?.payloads.remove(0);
        let holder = |index: usize, key: Option<&String>| {
            json!({"workflow_id": id(&puppets[index]), "release_signal": key})
        };
        let expected = json!({
            "resources": {
                "resource_a": holder(0, Some(&a.release_key)),
                "resource_b": holder(1, Some(&b.release_key)),
            },
            "waiters": [holder(2, None), holder(3, None)],
            "leaving": ["resource_a"],
            "check_seconds": 1,
        });
        assert_eq!(serde_json::from_slice::<Value>(&payload.data)?, expected);
        release(&pool, &a).await?;
        release(&pool, &b).await?;
        for puppet in &puppets[2..] {
            let acquired = acquired(puppet).await?;
            assert_eq!(acquired.resource, "resource_b");
            release(&pool, &acquired).await?;
        }
        until_held(&pool, [("resource_b", None)]).await?;
        end(&pool).await
    })
    .await
}

/// A run that continues another one handles signals that arrive before the first line of `run`: a release of the
/// previous run, a request, which comes after those of the previous run, and a new resource.
#[tokio::test]
async fn signals_before_the_first_task() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let puppets: [Untyped; 3] = puppets(&env).await?;
    let holder = |index: usize, key: Option<&str>| json!({"workflow_id": id(&puppets[index]), "release_signal": key});
    let input = json!({
        "resources": {"resource_a": holder(0, Some("1764000000000"))},
        "waiters": [holder(1, None)],
    });
    let pool: Pool = env.start_json("ResourcePoolWorkflow", &[input]).await?;
    ask(&pool, id(&puppets[2])).await?;
    send(
        &pool,
        "add_resources",
        &[json!(["resource_a", "resource_b"])],
    )
    .await?;
    send(
        &pool,
        "release_resource",
        &[json!({"release_key": "1764000000000"})],
    )
    .await?;
    env.work(options, async {
        let expected = [
            ("resource_a", Some(id(&puppets[1]))),
            ("resource_b", Some(id(&puppets[2]))),
        ];
        until_held(&pool, expected).await?;
        assert_eq!(assigned(&puppets[0]).await?, []);
        pool.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}

/// A user that continues as new keeps its resource in the next run, and releases it at its end. It asks once and
/// releases once.
#[tokio::test]
async fn a_user_continues_as_new_with_its_resource() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let pool = start_pool(&env, &["resource_a"]).await?;
        let user = start_user(&env, &pool, json!({"should_continue_as_new": true})).await?;
        let mut info = user.info().clone();
        info.run_id = Some(user.describe(Default::default()).await?.run_id().to_owned());
        // Bound to the first run, as `histories` needs it.
        let first = User::new(env.client.clone(), info);
        done(&first).await?;
        until_held(&pool, [("resource_a", None)]).await?;
        end(&pool).await?;

        let runs = histories(&first).await?;
        assert_eq!(runs.len(), 2);
        let sent = |events: &[HistoryEvent]| {
            let sent = |event: &HistoryEvent| match &event.attributes {
                Some(Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(sent)) => {
                    Some(sent.signal_name.clone())
                }
                _ => None,
            };
            events.iter().filter_map(sent).collect::<Vec<_>>()
        };
        assert_eq!(sent(&runs[0]), ["acquire_resource"]);
        assert_eq!(sent(&runs[1]), ["release_resource"]);
        assert_eq!(activity_types(&first).await?, ["use_resource"; 2]);
        assert_eq!(activity_types(&user).await?, ["use_resource"; 2]);
        Ok(())
    })
    .await
}

/// A user that is cancelled while it waits leaves nothing: the pool skips it.
#[tokio::test]
async fn cancelled_while_it_waits() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let pool = start_pool(&env, &["resource_a"]).await?;
        let puppet = puppet(&env).await?;
        ask(&pool, id(&puppet)).await?;
        let acquired = acquired(&puppet).await?;
        let user = start_user(&env, &pool, json!({})).await?;
        until(&user, SignalExternalWorkflowExecutionInitiated).await?;
        user.cancel(Default::default()).await?;
        ends_cancelled(&user).await?;
        assert_eq!(signals(&user).await?, ["acquire_resource"]);
        release(&pool, &acquired).await?;
        until_held(&pool, [("resource_a", None)]).await?;
        end(&pool).await
    })
    .await
}

/// A user that is cancelled while it uses a resource releases it, but only when its activity has stopped.
#[tokio::test]
async fn cancelled_while_it_uses_the_resource() -> anyhow::Result<()> {
    with_worker(slow, async |env| {
        let pool = start_pool(&env, &["resource_a"]).await?;
        let user = start_user(&env, &pool, json!({"should_continue_as_new": true})).await?;
        until_pending(&user, |activity| activity.last_heartbeat_time.is_some()).await?;
        user.cancel(Default::default()).await?;
        ends_cancelled(&user).await?;
        until_held(&pool, [("resource_a", None)]).await?;
        end(&pool).await?;
        let events = event_types(&user).await?;
        let stopped = events
            .iter()
            .position(|event| *event == ActivityTaskCanceled);
        let released = |event: &_| *event == SignalExternalWorkflowExecutionInitiated;
        assert!(events.iter().rposition(released) > stopped, "{events:?}");
        assert!(stopped.is_some(), "{events:?}");
        assert_eq!(
            signals(&user).await?,
            ["acquire_resource", "release_resource"]
        );
        Ok(())
    })
    .await
}

/// A user that is cancelled in the moment in which it gets a resource releases it.
#[tokio::test]
async fn cancelled_as_a_resource_is_assigned() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let pool = start_pool(&env, &["resource_a"]).await?;
    let user = start_user(&env, &pool, json!({})).await?;
    let acquired = json!({"resource": "resource_a", "release_key": "1764000000000"});
    send(&user, "assign_resource", &[acquired]).await?;
    env.ends_cancelled(&user, options).await?;
    let signals = signals(&user).await?;
    assert_eq!(signals.last().map(String::as_str), Some("release_resource"));
    pool.terminate(Default::default()).await?;
    Ok(())
}

/// A resource that is broken.
pub struct BrokenResource;

#[activities]
impl BrokenResource {
    #[activity(name = "use_resource")]
    pub async fn use_resource(
        _ctx: ActivityContext,
        _input: UseResource,
    ) -> Result<(), ActivityError> {
        Err(ApplicationFailure::non_retryable(anyhow!("the resource is broken")).into())
    }
}

/// A user that fails releases its resource: on purpose after one of its two iterations, and because of its activity.
#[tokio::test]
async fn a_failing_user_releases_its_resource() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let pool = start_pool(&env, &["resource_a"]).await?;
        for (iteration, uses) in [("first", 1), ("second", 2)] {
            let fields =
                json!({"iteration_to_fail_after": iteration, "should_continue_as_new": true});
            let user = start_user(&env, &pool, fields).await?;
            let expected = format!(
                "workflow failed: fails after the {iteration} iteration (FailWorkflowException)"
            );
            assert_eq!(failed(&user).await?, expected);
            assert_eq!(activity_types(&user).await?.len(), uses);
            until_held(&pool, [("resource_a", None)]).await?;
        }
        end(&pool).await
    })
    .await?;
    let broken = |task_queue: &str| -> anyhow::Result<WorkerOptions> {
        let mut options = options(task_queue)?;
        options.register_activities(BrokenResource);
        Ok(options)
    };
    with_worker(broken, async |env| {
        let pool = start_pool(&env, &["resource_a"]).await?;
        let user = start_user(&env, &pool, json!({})).await?;
        let expected = "workflow failed: activity use_resource failed: the resource is broken";
        assert_eq!(failed(&user).await?, expected);
        until_held(&pool, [("resource_a", None)]).await?;
        end(&pool).await
    })
    .await
}

/// A user without a pool fails at once. A user that gets no resource in time fails, too, and the pool skips it later.
#[tokio::test]
async fn waits_no_longer_than_it_wants() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let pool = start_pool(&env, &["resource_a"]).await?;
        let puppet = puppet(&env).await?;
        ask(&pool, id(&puppet)).await?;
        let acquired = acquired(&puppet).await?;
        let user = start_user(&env, &pool, json!({"max_wait_seconds": 1})).await?;
        let expected = format!(
            "workflow failed: the pool {} has assigned no resource within 1s (NoResource)",
            id(&pool)
        );
        assert_eq!(failed(&user).await?, expected);
        release(&pool, &acquired).await?;
        until_held(&pool, [("resource_a", None)]).await?;
        end(&pool).await?;

        let user = start_user(&env, &pool, json!({})).await?;
        let expected = format!(
            "workflow failed: cannot ask the pool {} for a resource: ",
            id(&pool)
        );
        let error = failed(&user).await?;
        assert!(error.starts_with(&expected), "{error}");
        Ok(())
    })
    .await
}

/// A user with a time limit of its own is refused, because it could not release its resource when it times out.
#[tokio::test]
async fn refuses_timeouts() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let hour = Duration::from_secs(3600);
        for (what, run, execution) in [
            ("a run timeout", Some(hour), None),
            ("an execution timeout", None, Some(hour)),
        ] {
            let id = env.start_options().workflow_id;
            let options = WorkflowStartOptions::new(&env.task_queue, &id)
                .maybe_run_timeout(run)
                .maybe_execution_timeout(execution)
                .build();
            let user = UntypedWorkflow::new("ResourceUserWorkflow");
            let input = raw_json(&[json!({"resource_pool_workflow_id": "pool"})]);
            env.client.start_workflow(user, input, options).await?;
            let user: User = env.client.get_workflow_handle(id);
            let expected = format!(
                "the workflow has {what}: start it without one, because a user that times out does not release its \
                 resource"
            );
            assert_eq!(bad_input(&user).await?, expected);
            assert_eq!(signals(&user).await?, [""; 0]);
        }
        Ok(())
    })
    .await
}

/// Bad signals are logged and ignored, and the workflows go on.
#[tokio::test]
async fn survives_any_signal() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let pool = start_pool(&env, &["resource_a"]).await?;
    let user = start_user(&env, &pool, json!({})).await?;
    let puppet = puppet(&env).await?;
    let bad = [
        vec![],
        vec![json!(null)],
        vec![json!("puppet")],
        vec![json!([1])],
        vec![json!(["", "x".repeat(256), "a\u{0}b"])],
        vec![json!({"workflow_id": ""})],
        vec![json!({"workflow_id": "x".repeat(256)})],
        vec![json!({"workflow_id": 1, "release_key": 1, "resource": "resource_a"})],
        vec![json!({"release_key": null, "resource": 1})],
    ];
    for arguments in &bad {
        for signal in [
            "acquire_resource",
            "release_resource",
            "add_resources",
            "remove_resources",
        ] {
            send(&pool, signal, arguments).await?;
        }
        for signal in [
            "assign_resource",
            "assign_resource_resource_pool",
            "are_you_there",
        ] {
            send(&user, signal, arguments).await?;
        }
    }
    ask(&pool, id(&puppet)).await?;
    env.work(options, async {
        let acquired = acquired(&puppet).await?;
        assert_eq!(
            holders(&pool).await?,
            held([("resource_a", Some(id(&puppet)))])
        );
        until(&user, WorkflowTaskCompleted).await?;
        release(&pool, &acquired).await?;
        done(&user).await?;
        until_held(&pool, [("resource_a", None)]).await?;
        end(&pool).await
    })
    .await
}

/// Bad input fails the workflow, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let long = "x".repeat(256);
        let waiter = json!({"workflow_id": "user", "release_signal": null});
        let many: BTreeMap<String, Value> = (0..501).map(|n| (n.to_string(), json!(null))).collect();
        let pools = [
            (json!({}), "missing field `resources`"),
            (
                json!({"resources": {"": null}}),
                "`resources`: the name of a resource is empty: leave it out, or give it a value",
            ),
            (
                json!({"resources": {"a": {"workflow_id": "user", "release_signal": long}}}),
                "`resources`: a release signal has 256 bytes, and at most 255 fit: choose a shorter one",
            ),
            (json!({"resources": many}), "`resources`: 501 resources, and at most 500 fit into one pool"),
            (
                json!({"resources": {}, "waiters": [{"workflow_id": ""}]}),
                "`waiters[0].workflow_id`: the workflow id is empty: leave it out, or give it a value",
            ),
            (
                json!({"resources": {}, "waiters": vec![waiter; 1001]}),
                "`waiters`: 1001 items, and at most 1000 fit into one workflow's history",
            ),
            (
                json!({"resources": {}, "check_seconds": 0}),
                "`check_seconds`: invalid value: integer `0`, expected a nonzero u32",
            ),
        ];
        for (input, reason) in pools {
            let pool: Pool = env.start_json("ResourcePoolWorkflow", &[input]).await?;
            assert_eq!(bad_input(&pool).await?, reason);
        }
        let users = [
            (json!({}), "missing field `resource_pool_workflow_id`"),
            (
                json!({"resource_pool_workflow_id": ""}),
                "`resource_pool_workflow_id`: the workflow id is empty: leave it out, or give it a value",
            ),
            (
                json!({"resource_pool_workflow_id": "pool", "iteration_to_fail_after": "third"}),
                "`iteration_to_fail_after`: unknown variant `third`, expected `first` or `second`",
            ),
            (
                json!({"resource_pool_workflow_id": "pool", "already_acquired_resource": {"resource": "a"}}),
                "`already_acquired_resource`: missing field `release_key`",
            ),
        ];
        for (input, reason) in users {
            let user: User = env.start_json("ResourceUserWorkflow", &[input]).await?;
            assert_eq!(bad_input(&user).await?, reason);
        }
        let arguments = [json!({"resource_pool_workflow_id": "pool"})];
        let user: User = env
            .start_json_as(id_of(256, "x"), "ResourceUserWorkflow", &arguments)
            .await?;
        let reason = "the workflow id has 256 bytes, and at most 255 fit: choose a shorter one";
        assert_eq!(bad_input(&user).await?, reason);
        Ok(())
    })
    .await
}

/// Workflows that are cancelled before a worker has seen them end as CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let pool = start_pool(&env, &["resource_a"]).await?;
    let user = start_user(&env, &pool, json!({})).await?;
    env.ends_cancelled(&user, options).await?;
    env.ends_cancelled(&pool, options).await
}
