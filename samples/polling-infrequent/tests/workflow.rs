//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use polled_service::PolledService;
use polling_infrequent::{
    activities::{ComposeGreetingInput, GreetingActivities, REQUEST_TIMEOUT},
    worker_options,
    workflows::GreetingWorkflow,
};
use serde_json::{Value, json};
use shared::describe;
use std::time::Duration;
use temporalio_client::{
    ActivityStartOptions, Client, WorkflowHandle, errors::WorkflowGetResultError,
};
use temporalio_common::{
    RetryPolicy,
    protos::temporal::api::{
        enums::v1::{ApplicationErrorCategory::Benign, EventType::ActivityTaskScheduled},
        failure::v1::{Failure, failure::FailureInfo},
        history::v1::{
            ActivityTaskScheduledEventAttributes, ActivityTaskStartedEventAttributes,
            history_event::Attributes,
        },
    },
};
use testing::{TestEnv, bad_input, events, until, until_pending, with_worker};
use tokio::net::TcpListener;

async fn start(
    env: &TestEnv,
    arguments: &[Value],
) -> anyhow::Result<WorkflowHandle<Client, GreetingWorkflow>> {
    env.start_json("GreetingWorkflow", arguments).await
}

fn every_second() -> [Value; 2] {
    [json!("World"), json!({"poll_interval_seconds": 1})]
}

/// Returns the event that scheduled the activity.
async fn scheduled(
    handle: &WorkflowHandle<Client, GreetingWorkflow>,
) -> anyhow::Result<ActivityTaskScheduledEventAttributes> {
    let scheduled = events(handle)
        .await?
        .into_iter()
        .find_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => Some(scheduled),
            _ => None,
        });
    Ok(scheduled.unwrap_or_default())
}

fn is_not_yet(failure: &Failure) -> bool {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => {
            info.r#type == "NotYet" && info.category() == Benign && !info.non_retryable
        }
        _ => false,
    }
}

/// Five attempts send one request each. The history has eleven events, and only the last attempt is among them.
#[tokio::test]
async fn the_fifth_attempt_succeeds() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = start(&env, &every_second()).await?;
            let greeting = handle.get_result(Default::default()).await?;
            assert_eq!(greeting, "Hello, World!");
            assert_eq!(service.requests(), 5);
            let events = events(&handle).await?;
            assert_eq!(events.len(), 11);
            let attempts: Vec<ActivityTaskStartedEventAttributes> = events
                .into_iter()
                .filter_map(|event| match event.attributes {
                    Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started),
                    _ => None,
                })
                .collect();
            assert_eq!(attempts.len(), 1);
            assert_eq!(attempts[0].attempt, 5);
            assert!(attempts[0].last_failure.as_ref().is_some_and(is_not_yet));
            Ok(())
        },
    )
    .await
}

/// The second argument sets the wait between two attempts, which is sixty seconds by default. The wait never changes,
/// and the number of attempts has no limit.
#[tokio::test]
async fn the_second_argument_is_the_interval() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let with = |seconds: u32| json!({"poll_interval_seconds": seconds});
            let cases = [
                (vec![json!("World")], 60),
                (vec![json!("World"), json!(null)], 60),
                (vec![json!("World"), with(7)], 7),
                (vec![json!("World"), with(1_000_000_000)], 1_000_000_000),
            ];
            for (arguments, seconds) in cases {
                let handle = start(&env, &arguments).await?;
                until(&handle, ActivityTaskScheduled).await?;
                let scheduled = scheduled(&handle).await?;
                let policy = RetryPolicy::from(scheduled.retry_policy.unwrap_or_default());
                assert_eq!(policy.initial_interval(), Duration::from_secs(seconds));
                assert_eq!(policy.backoff_coefficient(), 1.0);
                assert_eq!(policy.maximum_attempts(), 0);
                let start_to_close = Duration::from_secs(2).try_into().ok();
                assert_eq!(scheduled.start_to_close_timeout, start_to_close);
                assert!(REQUEST_TIMEOUT < Duration::from_secs(2));
                handle.terminate(Default::default()).await?;
            }
            Ok(())
        },
    )
    .await
}

/// When cancelled between two attempts, the workflow ends CANCELED without another attempt.
#[tokio::test]
async fn cancelled_between_two_attempts() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = start(&env, &[json!("World")]).await?;
            let failed = until_pending(&handle, |activity| activity.attempt == 2).await?;
            assert!(failed.last_failure.as_ref().is_some_and(is_not_yet));
            handle.cancel(Default::default()).await?;
            let ended = handle.get_result(Default::default()).await;
            assert!(
                matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
                "{ended:?}"
            );
            assert_eq!(service.requests(), 1);
            Ok(())
        },
    )
    .await
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

/// If the service is down, the attempt fails, as with "not yet" but with another reason. When the service is up, the
/// next attempt succeeds.
#[tokio::test]
async fn waits_for_a_service_that_is_down() -> anyhow::Result<()> {
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let url = format!("http://{address}/greetings").parse()?;
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = start(&env, &every_second()).await?;
            let failed = until_pending(&handle, |activity| activity.last_failure.is_some());
            let failure = failed.await?.last_failure.unwrap_or_default();
            assert!(failure.message.ends_with("does not answer"), "{failure:?}");
            let service = PolledService::start_at(address, 1).await?;
            let greeting = handle.get_result(Default::default()).await?;
            assert_eq!(greeting, "Hello, World!");
            assert_eq!(service.requests(), 1);
            Ok(())
        },
    )
    .await
}

/// A request that the service refuses fails the workflow at once, and the failure says where and why.
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
                "workflow failed: activity compose_greeting failed: \
                 {} answered 400 Bad Request (ServiceFailed)",
                service.url()
            );
            assert_eq!(error.map_err(|error| describe(&error)), Err(reason));
            Ok(())
        },
    )
    .await
}

/// Two activities that run without a workflow are two pieces of work to the service, even if they have the
/// same activity id. Neither gets the answer of the other.
#[tokio::test]
async fn standalone_activities_share_no_id() -> anyhow::Result<()> {
    let service = PolledService::start_at("127.0.0.1:0".parse()?, 2).await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let activity_id = env.start_options().workflow_id;
            for requests in [2, 4] {
                let options = ActivityStartOptions::with_start_to_close_timeout(
                    &env.task_queue,
                    &activity_id,
                    Duration::from_secs(10),
                );
                let input = ComposeGreetingInput {
                    greeting: "Hello".to_owned(),
                    name: "World".to_owned(),
                };
                let compose = GreetingActivities::compose_greeting;
                let started = env.client.start_activity(compose, input, options.build());
                assert_eq!(started.await?.result().await?, "Hello, World!");
                assert_eq!(service.requests(), requests);
            }
            assert_eq!(service.ids().len(), 2);
            Ok(())
        },
    )
    .await
}

/// No argument, too many arguments, and a bad first or second argument fail the workflow at once.
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
                    vec![json!(null)],
                    "argument 1: invalid type: null, expected a string",
                ),
                (
                    vec![json!(["World"])],
                    "argument 1: invalid type: sequence, expected a string",
                ),
                (
                    vec![world(), json!({})],
                    "argument 2: missing field `poll_interval_seconds`",
                ),
                (
                    vec![world(), json!({"poll_interval_seconds": 0})],
                    "argument 2: `poll_interval_seconds`: invalid value: integer `0`, \
                     expected a nonzero u32",
                ),
                (
                    vec![world(), json!({"poll_interval_seconds": "soon"})],
                    "argument 2: `poll_interval_seconds`: invalid type: string \"soon\", \
                     expected a nonzero u32",
                ),
            ];
            for (arguments, reason) in cases {
                let handle = start(&env, &arguments).await?;
                assert_eq!(bad_input(&handle).await?, reason);
            }
            Ok(())
        },
    )
    .await
}
