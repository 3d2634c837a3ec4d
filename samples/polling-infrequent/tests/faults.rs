//! Kills the real worker binary between two polls.

#![cfg(unix)]

use polled_service::PolledService;
use polling_infrequent::workflows::{GreetingWorkflow, PollOptions};
use std::num::NonZeroU32;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use testing::{
    TestEnv, address, events, faults::WorkerProcess, forget_cache, until_pending, within,
};

const WORKER: &str = env!("CARGO_BIN_EXE_polling-infrequent-worker");

fn worker(env: &TestEnv, service: &PolledService) -> anyhow::Result<WorkerProcess> {
    let service = ["--service-url", service.url().as_str()];
    WorkerProcess::start(WORKER, address()?, &env.task_queue, &service)
}

/// Between two attempts the workflow needs no worker. When a worker dies then, no request is lost or sent again:
/// there are five in total.
#[tokio::test]
async fn needs_no_worker_between_attempts() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let service = PolledService::start().await?;
    let poll_options = PollOptions {
        poll_interval_seconds: NonZeroU32::MIN,
    };
    let handle = env
        .client
        .start_workflow(
            GreetingWorkflow::run,
            ("World".to_owned(), Some(poll_options)).into(),
            env.start_options(),
        )
        .await?;
    let workflow_id = handle.info().workflow_id.clone();
    let mut first = worker(&env, &service)?;
    // Two attempts have failed, and the server waits before the third.
    until_pending(&handle, |activity| activity.attempt == 3).await?;
    first.kill().await?;
    // The result would wait ten seconds for the worker that had the workflow in its cache.
    forget_cache(&env.client, &workflow_id).await?;

    let second = worker(&env, &service)?;
    let greeting = async { Ok(handle.get_result(Default::default()).await?) };
    let greeting = within("the greeting", greeting).await?;
    assert_eq!(greeting, "Hello, World!");
    assert_eq!(service.requests(), 5);
    assert_eq!(service.ids().len(), 1);
    // There were five attempts, so each has sent one request.
    let attempt = events(&handle)
        .await?
        .into_iter()
        .find_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started.attempt),
            _ => None,
        });
    assert_eq!(attempt, Some(5));
    drop(second);
    Ok(())
}
