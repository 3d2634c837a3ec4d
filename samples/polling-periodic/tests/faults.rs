//! Kills the real worker binary between two polls.

#![cfg(unix)]

use polled_service::PolledService;
use polling_periodic::workflows::{GreetingWorkflow, PollGreetingWorkflow};
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType::TimerStarted, history::v1::history_event::Attributes,
};
use testing::{TestEnv, address, events, faults::WorkerProcess, forget_cache, until, within};

const WORKER: &str = env!("CARGO_BIN_EXE_polling-periodic-worker");

fn worker(env: &TestEnv, service: &PolledService) -> anyhow::Result<WorkerProcess> {
    let service = ["--service-url", service.url().as_str()];
    WorkerProcess::start(WORKER, address()?, &env.task_queue, &service)
}

/// The timer runs on the server, and the next worker continues the loop from the history. No request is lost or sent
/// again: there are five in total.
#[tokio::test]
async fn another_worker_continues_to_poll() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let service = PolledService::start().await?;
    let handle = env
        .client
        .start_workflow(
            GreetingWorkflow::run,
            ("World".to_owned(), None).into(),
            env.start_options(),
        )
        .await?;
    let parent_id = handle.info().workflow_id.clone();
    let child_id = format!("{parent_id}-poll");
    let child = env
        .client
        .get_workflow_handle::<PollGreetingWorkflow>(&child_id);
    let mut first = worker(&env, &service)?;
    // The fourth request is the first of the child's second run, which then waits with a timer.
    service.until_requests(4).await?;
    until(&child, TimerStarted).await?;
    first.kill().await?;
    // Each workflow would wait ten seconds for the worker that had it in its cache.
    for workflow_id in [&parent_id, &child_id] {
        forget_cache(&env.client, workflow_id).await?;
    }

    let second = worker(&env, &service)?;
    let greeting = async { Ok(handle.get_result(Default::default()).await?) };
    let greeting = within("the greeting", greeting).await?;
    assert_eq!(greeting, "Hello, World!");
    assert_eq!(service.requests(), 5);
    assert_eq!(service.ids().len(), 1);
    // The second run has sent two of them, each in a first attempt.
    let attempts = events(&child)
        .await?
        .into_iter()
        .filter_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started.attempt),
            _ => None,
        });
    assert_eq!(attempts.collect::<Vec<_>>(), [1, 1]);
    drop(second);
    Ok(())
}
