//! Kills the real worker binary between two polls.

#![cfg(unix)]

use polled_service::PolledService;
use polling_frequent::workflows::GreetingWorkflow;
use std::net::Ipv4Addr;
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use testing::{
    TestEnv, address, events,
    faults::{WorkerProcess, handed_over},
    forget_cache, until_pending, within,
};

const WORKER: &str = env!("CARGO_BIN_EXE_polling-frequent-worker");

fn worker(env: &TestEnv, service: &PolledService) -> anyhow::Result<WorkerProcess> {
    let service = ["--service-url", service.url().as_str()];
    WorkerProcess::start(WORKER, address()?, &env.task_queue, &service)
}

/// The server notices the dead worker because no heartbeat arrives, and another worker continues to poll. The service
/// receives five requests in total, as without the failure.
#[tokio::test]
async fn another_worker_continues_to_poll() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let service = PolledService::start().await?;
    let handle = env
        .client
        .start_workflow(GreetingWorkflow::run, "World".into(), env.start_options())
        .await?;
    let workflow_id = handle.info().workflow_id.clone();
    let mut first = worker(&env, &service)?;
    service.until_requests(3).await?;
    first.kill().await?;
    let second = worker(&env, &service)?;

    until_pending(&handle, |activity| activity.attempt == 2).await?;
    // The result would wait ten seconds for the worker that had the workflow in its cache.
    forget_cache(&env.client, &workflow_id).await?;

    let greeting = async { Ok(handle.get_result(Default::default()).await?) };
    let greeting = within("the greeting", greeting).await?;
    assert_eq!(greeting, "Hello, World!");
    assert_eq!(service.requests(), 5);
    assert_eq!(service.ids().len(), 1);
    let last_failure =
        events(&handle)
            .await?
            .into_iter()
            .find_map(|event| match event.attributes {
                Some(Attributes::ActivityTaskStartedEventAttributes(started)) => {
                    started.last_failure
                }
                _ => None,
            });
    let last_failure = last_failure.map(|failure| failure.message);
    assert_eq!(last_failure.as_deref(), Some("activity Heartbeat timeout"));
    drop(second);
    Ok(())
}

/// On SIGTERM the worker cancels the polling activity after the grace period, reports that, and ends. Another worker
/// continues to poll until the service answers.
#[tokio::test]
async fn a_worker_shuts_down_while_it_polls() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    // Not ready before the grace period ends.
    let service = PolledService::start_at((Ipv4Addr::LOCALHOST, 0).into(), 12).await?;
    let handle = env
        .client
        .start_workflow(GreetingWorkflow::run, "World".into(), env.start_options())
        .await?;
    let workers = [worker(&env, &service)?, worker(&env, &service)?];
    let _second = handed_over(&handle, workers).await?;
    let greeting = async { Ok(handle.get_result(Default::default()).await?) };
    let greeting = within("the greeting", greeting).await?;
    assert_eq!(greeting, "Hello, World!");
    Ok(())
}

/// The worker dies before the activity has learned about the cancellation. The activity has no further attempt, so it
/// fails, but the workflow ends CANCELED.
#[tokio::test]
async fn a_worker_dies_during_a_cancellation() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let service = PolledService::start_at("127.0.0.1:0".parse()?, u32::MAX).await?;
    let handle = env
        .client
        .start_workflow(GreetingWorkflow::run, "World".into(), env.start_options())
        .await?;
    let workflow_id = handle.info().workflow_id.clone();
    let mut first = worker(&env, &service)?;
    until_pending(&handle, |activity| activity.last_heartbeat_time.is_some()).await?;
    first.kill().await?;
    forget_cache(&env.client, &workflow_id).await?;
    handle.cancel(Default::default()).await?;
    let _second = worker(&env, &service)?;

    let ended = async { Ok(handle.get_result(Default::default()).await) };
    let ended = within("the cancelled workflow", ended).await?;
    assert!(
        matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
        "{ended:?}"
    );
    Ok(())
}
