//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use polled_service::PolledService;
use polling_frequent::{
    activities::{ComposeGreetingInput, GreetingActivities, POLL_INTERVAL, REQUEST_TIMEOUT},
    worker_options,
    workflows::GreetingWorkflow,
};
use serde_json::json;
use shared::describe;
use std::time::Duration;
use temporalio_client::{
    ActivityStartOptions, Client, WorkflowHandle,
    errors::{ActivityResultError, WorkflowGetResultError},
};
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType::{ActivityTaskCancelRequested, ActivityTaskCanceled},
    history::v1::history_event::Attributes,
};
use testing::{TestEnv, bad_input, event_types, events, until_pending, with_worker};
use tokio::net::TcpListener;

async fn start(
    env: &TestEnv,
    name: &str,
) -> anyhow::Result<WorkflowHandle<Client, GreetingWorkflow>> {
    env.start_json("GreetingWorkflow", &[json!(name)]).await
}

/// The activity has both timeouts, and sends five requests in one attempt. The history has eleven events.
#[tokio::test]
async fn greets_in_one_attempt() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = start(&env, "World").await?;
            let greeting = handle.get_result(Default::default()).await?;
            assert_eq!(greeting, "Hello, World!");
            assert_eq!(service.requests(), 5);
            let events = events(&handle).await?;
            assert_eq!(events.len(), 11);
            for event in events {
                match event.attributes {
                    Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
                        let seconds = |seconds| Duration::from_secs(seconds).try_into().ok();
                        assert_eq!(scheduled.start_to_close_timeout, seconds(60));
                        assert_eq!(scheduled.heartbeat_timeout, seconds(2));
                        assert!(REQUEST_TIMEOUT + POLL_INTERVAL < Duration::from_secs(2));
                    }
                    Some(Attributes::ActivityTaskStartedEventAttributes(started)) => {
                        assert_eq!(started.attempt, 1);
                    }
                    _ => {}
                }
            }
            Ok(())
        },
    )
    .await
}

/// When cancelled between two polls, the activity stops, and then the workflow ends CANCELED.
#[tokio::test]
async fn cancelled_between_two_polls() -> anyhow::Result<()> {
    let service = PolledService::start_at("127.0.0.1:0".parse()?, u32::MAX).await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = start(&env, "World").await?;
            until_pending(&handle, |activity| activity.last_heartbeat_time.is_some()).await?;
            handle.cancel(Default::default()).await?;
            let ended = handle.get_result(Default::default()).await;
            assert!(
                matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
                "{ended:?}"
            );
            let events = event_types(&handle).await?;
            assert!(events.contains(&ActivityTaskCancelRequested), "{events:?}");
            assert!(events.contains(&ActivityTaskCanceled), "{events:?}");
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
    let handle = start(&env, "World").await?;
    let url = service.url().clone();
    env.ends_cancelled(&handle, |queue| worker_options(queue, url))
        .await?;
    assert_eq!(service.requests(), 0);
    Ok(())
}

/// If the service is down, the attempt fails. When the service is up, another attempt succeeds.
#[tokio::test]
async fn waits_for_a_service_that_is_down() -> anyhow::Result<()> {
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let url = format!("http://{address}/greetings").parse()?;
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = start(&env, "World").await?;
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

/// A service that accepts a request and does not answer fails the attempt, before the server takes the worker
/// for dead because of the missing heartbeat.
#[tokio::test]
async fn a_service_that_hangs_is_no_dead_worker() -> anyhow::Result<()> {
    let mute = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/greetings", mute.local_addr()?).parse()?;
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = start(&env, "World").await?;
            let failed = until_pending(&handle, |activity| activity.last_failure.is_some());
            let failure = failed.await?.last_failure.unwrap_or_default();
            assert!(failure.message.ends_with("does not answer"), "{failure:?}");
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
            let handle = start(&env, "").await?;
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

/// A cancelled activity without a workflow ends as cancelled.
#[tokio::test]
async fn a_standalone_activity_can_be_cancelled() -> anyhow::Result<()> {
    let service = PolledService::start_at("127.0.0.1:0".parse()?, u32::MAX).await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let activity_id = env.start_options().workflow_id;
            let minute = Duration::from_secs(60);
            let options = ActivityStartOptions::with_start_to_close_timeout(
                &env.task_queue,
                activity_id,
                minute,
            )
            .heartbeat_timeout(Duration::from_secs(2))
            .build();
            let input = ComposeGreetingInput {
                greeting: "Hello".to_owned(),
                name: "World".to_owned(),
            };
            let compose = GreetingActivities::compose_greeting;
            let activity = env.client.start_activity(compose, input, options).await?;
            service.until_requests(1).await?;
            activity.cancel(Default::default()).await?;
            let ended = activity.result().await;
            assert!(
                matches!(ended, Err(ActivityResultError::Cancelled { .. })),
                "{ended:?}"
            );
            Ok(())
        },
    )
    .await
}

/// Input that is not a string fails the workflow at once.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    let service = PolledService::start().await?;
    let url = service.url().clone();
    with_worker(
        |queue| worker_options(queue, url),
        async |env| {
            let handle = env
                .start_json::<GreetingWorkflow>("GreetingWorkflow", &[json!({"name": "World"})])
                .await?;
            let reason = "invalid type: map, expected a string";
            assert_eq!(bad_input(&handle).await?, reason);
            Ok(())
        },
    )
    .await
}
