//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::bail;
use futures::TryStreamExt;
use polled_service::PolledService;
use polling_periodic::{
    activities::{ComposeGreetingInput, GreetingActivities, REQUEST_TIMEOUT},
    worker_options,
    workflows::{GreetingWorkflow, PollGreetingWorkflow},
};
use serde_json::{Value, json};
use shared::describe;
use std::time::Duration;
use temporalio_client::{
    ActivityStartOptions, Client, WorkflowExecutionStatus, WorkflowFetchHistoryOptions,
    WorkflowHandle, errors::WorkflowGetResultError,
};
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType::{
        self, ActivityTaskCompleted, ChildWorkflowExecutionStarted,
        ChildWorkflowExecutionTerminated, TimerFired, TimerStarted, WorkflowExecutionTerminated,
    },
    history::v1::history_event::Attributes,
};
use testing::{TestEnv, bad_input, event_types, events, until, until_pending, with_worker};
use tokio::net::TcpListener;

async fn start(
    env: &TestEnv,
    arguments: &[Value],
) -> anyhow::Result<WorkflowHandle<Client, GreetingWorkflow>> {
    env.start_json("GreetingWorkflow", arguments).await
}

/// Returns a handle to the latest run of the child.
fn child(
    env: &TestEnv,
    parent: &WorkflowHandle<Client, GreetingWorkflow>,
) -> WorkflowHandle<Client, PollGreetingWorkflow> {
    let id = format!("{}-poll", parent.info().workflow_id);
    env.client.get_workflow_handle(id)
}

/// The child sends five requests in two runs. The second run has two polls and one wait. The parent sees one child
/// and its result.
#[tokio::test]
async fn greets_in_two_runs() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = start(&env, &[json!("World")]).await?;
            let greeting = handle.get_result(Default::default()).await?;
            assert_eq!(greeting, "Hello, World!");
            assert_eq!(event_types(&handle).await?.len(), 14);

            let child = child(&env, &handle);
            assert_eq!(service.requests(), 5);
            let ids = service.ids();
            let events = events(&child).await?;
            let count = |kind| events.iter().filter(|e| e.event_type() == kind).count();
            assert_eq!(count(ActivityTaskCompleted), 2);
            assert_eq!(count(TimerFired), 1);
            for event in events {
                match event.attributes {
                    Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => {
                        assert!(!started.continued_execution_run_id.is_empty());
                        // Both runs have the same id.
                        assert_eq!(ids, [started.first_execution_run_id]);
                    }
                    Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
                        let attempt = Duration::from_secs(2);
                        let start_to_close = attempt.try_into().ok();
                        assert_eq!(scheduled.start_to_close_timeout, start_to_close);
                        assert!(REQUEST_TIMEOUT < attempt);
                    }
                    Some(Attributes::TimerStartedEventAttributes(started)) => {
                        let second = Duration::from_secs(1).try_into().ok();
                        assert_eq!(started.start_to_fire_timeout, second);
                    }
                    _ => {}
                }
            }
            Ok(())
        },
    )
    .await
}

/// The second argument sets the wait between two polls.
#[tokio::test]
async fn the_second_argument_is_the_interval() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let options = json!({"poll_interval_seconds": 700});
            let handle = start(&env, &[json!("World"), options]).await?;
            until(&handle, ChildWorkflowExecutionStarted).await?;
            let child = child(&env, &handle);
            until(&child, TimerStarted).await?;
            let timer =
                events(&child)
                    .await?
                    .into_iter()
                    .find_map(|event| match event.attributes {
                        Some(Attributes::TimerStartedEventAttributes(started)) => {
                            started.start_to_fire_timeout
                        }
                        _ => None,
                    });
            assert_eq!(timer, Duration::from_secs(700).try_into().ok());
            handle.terminate(Default::default()).await?;
            Ok(())
        },
    )
    .await
}

/// When the parent is cancelled while the child waits, in its first run or its second, both end CANCELED.
#[tokio::test]
async fn cancelled_between_two_polls() -> anyhow::Result<()> {
    let service = PolledService::start_at("127.0.0.1:0".parse()?, u32::MAX).await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            for requests in [1, 4] {
                let before = service.requests();
                let handle = start(&env, &[json!("World")]).await?;
                let child = child(&env, &handle);
                service.until_requests(before + requests).await?;
                until(&child, TimerStarted).await?;
                handle.cancel(Default::default()).await?;
                let ended = handle.get_result(Default::default()).await;
                assert!(
                    matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
                    "{ended:?}"
                );
                let child = child.describe(Default::default()).await?;
                assert_eq!(child.status(), WorkflowExecutionStatus::Canceled);
            }
            Ok(())
        },
    )
    .await
}

/// When the parent is terminated, its child is terminated too, in its first run or its second.
#[tokio::test]
async fn terminated_with_its_child() -> anyhow::Result<()> {
    let service = PolledService::start_at("127.0.0.1:0".parse()?, u32::MAX).await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            for requests in [1, 4] {
                let before = service.requests();
                let handle = start(&env, &[json!("World")]).await?;
                let child = child(&env, &handle);
                service.until_requests(before + requests).await?;
                handle.terminate(Default::default()).await?;
                until(&child, WorkflowExecutionTerminated).await?;
            }
            Ok(())
        },
    )
    .await
}

/// Waits until the history has `count` events of this type.
async fn until_count(
    handle: &WorkflowHandle<Client, PollGreetingWorkflow>,
    event_type: EventType,
    count: u32,
) -> anyhow::Result<()> {
    let options = WorkflowFetchHistoryOptions::builder()
        .wait_new_event(true)
        .build();
    let mut history = handle.fetch_history(options);
    let mut seen = 0;
    while let Some(event) = history.try_next().await? {
        seen += u32::from(event.event_type() == event_type);
        if seen == count {
            return Ok(());
        }
    }
    bail!("the workflow ended too early")
}

/// If a cancellation arrives together with the end of the last wait, the child ends CANCELED. It does not continue as
/// new and ignore the cancellation.
#[tokio::test]
async fn continue_as_new_loses_no_cancellation() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let env = TestEnv::new().await?;
    let input = json!({"name": "World", "poll_interval_seconds": 1});
    let handle = env
        .start_json::<PollGreetingWorkflow>("PollGreetingWorkflow", &[input])
        .await?;
    let options = |queue: &str| worker_options(queue, service.url().clone());
    env.work(options, until_count(&handle, TimerStarted, 3))
        .await?;
    // The timer fires while no worker runs, so the next worker sees both at once.
    until_count(&handle, TimerFired, 3).await?;
    env.ends_cancelled(&handle, options).await
}

/// The parent ends CANCELED even if its child is terminated before a worker learns about the cancellation.
/// If the SDK cancelled the child by itself, the parent's workflow task would fail forever.
#[tokio::test]
async fn ends_cancelled_with_a_terminated_child() -> anyhow::Result<()> {
    let service = PolledService::start_at("127.0.0.1:0".parse()?, u32::MAX).await?;
    let env = TestEnv::new().await?;
    let handle = start(&env, &[json!("World")]).await?;
    let options = |queue: &str| worker_options(queue, service.url().clone());
    env.work(options, until(&handle, ChildWorkflowExecutionStarted))
        .await?;
    child(&env, &handle).terminate(Default::default()).await?;
    until(&handle, ChildWorkflowExecutionTerminated).await?;
    env.ends_cancelled(&handle, options).await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED, and no request is sent.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let env = TestEnv::new().await?;
    let handle = start(&env, &[json!("World")]).await?;
    let url = service.url().clone();
    env.ends_cancelled(&handle, |queue| worker_options(queue, url))
        .await?;
    assert_eq!(service.requests(), 0);
    Ok(())
}

/// If the service is down, the activity is retried, and the loop does not continue.
#[tokio::test]
async fn waits_for_a_service_that_is_down() -> anyhow::Result<()> {
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let url = format!("http://{address}/greetings").parse()?;
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = start(&env, &[json!("World")]).await?;
            until(&handle, ChildWorkflowExecutionStarted).await?;
            let child = child(&env, &handle);
            let failed = until_pending(&child, |activity| activity.last_failure.is_some());
            let failure = failed.await?.last_failure.unwrap_or_default();
            assert!(failure.message.ends_with("does not answer"), "{failure:?}");
            let service = PolledService::start_at(address, 1).await?;
            let greeting = handle.get_result(Default::default()).await?;
            assert_eq!(greeting, "Hello, World!");
            assert_eq!(service.requests(), 1);
            assert!(!event_types(&child).await?.contains(&TimerStarted));
            Ok(())
        },
    )
    .await
}

/// A request that the service refuses fails the child, and so the parent, whose failure says why.
#[tokio::test]
async fn fails_when_the_service_refuses() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = start(&env, &[json!("")]).await?;
            let error = handle.get_result(Default::default()).await;
            let reason = format!(
                "workflow failed: child workflow PollGreetingWorkflow {} failed: \
                 activity compose_greeting failed: \
                 {} answered 400 Bad Request (ServiceFailed)",
                child(&env, &handle).info().workflow_id,
                service.url()
            );
            assert_eq!(error.map_err(|error| describe(&error)), Err(reason));
            Ok(())
        },
    )
    .await
}

/// Two activities that run without a workflow are two pieces of work to the service, even if they have the
/// same activity id. Neither gets the answer of the other. Those that are given the same id are one.
#[tokio::test]
async fn standalone_activities_share_no_id() -> anyhow::Result<()> {
    let service = PolledService::start_at("127.0.0.1:0".parse()?, 2).await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let activity_id = env.start_options().workflow_id;
            for (id, answer) in [
                (None, None),
                (None, None),
                (Some("ours"), None),
                (Some("ours"), Some("Hello, World!".to_owned())),
            ] {
                let options = ActivityStartOptions::with_start_to_close_timeout(
                    &env.task_queue,
                    &activity_id,
                    Duration::from_secs(10),
                );
                let input = ComposeGreetingInput {
                    greeting: "Hello".to_owned(),
                    name: "World".to_owned(),
                    id: id.map(str::to_owned),
                };
                let compose = GreetingActivities::compose_greeting;
                let started = env.client.start_activity(compose, input, options.build());
                assert_eq!(started.await?.result().await?.0, answer);
            }
            assert_eq!(service.ids().len(), 3);
            Ok(())
        },
    )
    .await
}

/// No argument, too many arguments, a bad first or second argument, and bad input for the child fail the workflow at
/// once.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let world = || json!("World");
            let cases = [
                (vec![], "argument 1: the argument is missing"),
                (
                    vec![json!(["World"])],
                    "argument 1: invalid type: sequence, expected a string",
                ),
                (
                    vec![world(), json!({"poll_interval_seconds": 0})],
                    "argument 2: `poll_interval_seconds`: invalid value: integer `0`, \
                     expected a nonzero u32",
                ),
            ];
            for (arguments, reason) in cases {
                let handle = start(&env, &arguments).await?;
                assert_eq!(bad_input(&handle).await?, reason);
            }
            let input = json!({"name": "World", "poll_interval_seconds": 0});
            let handle = env
                .start_json::<PollGreetingWorkflow>("PollGreetingWorkflow", &[input])
                .await?;
            let reason = "`poll_interval_seconds`: invalid value: integer `0`, \
                          expected a nonzero u32";
            assert_eq!(bad_input(&handle).await?, reason);
            Ok(())
        },
    )
    .await
}

/// A parent whose child's id would be too long fails before it starts the child.
#[tokio::test]
async fn refuses_a_child_id_that_is_too_long() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let world = [json!("World")];
            env.checks_child_id::<GreetingWorkflow>("GreetingWorkflow", &world, "-poll")
                .await
        },
    )
    .await
}
