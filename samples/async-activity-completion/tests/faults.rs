//! Kills the worker and the service while an activity waits.

use crate::service::{Service, links, open};
use async_activity_completion::{greeting::GreetingWorkflow, workflows::SampleExpenseWorkflow};
use reqwest::StatusCode;
use serde_json::{Value, json};
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType::ActivityTaskCompleted, history::v1::history_event::Attributes,
};
use testing::{
    TestEnv, address, event_types, events, eventually, faults::WorkerProcess, forget_cache,
    until_pending, within,
};

const WORKER: &str = env!("CARGO_BIN_EXE_async-activity-completion-worker");

fn worker(env: &TestEnv, service: &Service) -> anyhow::Result<WorkerProcess> {
    WorkerProcess::start(WORKER, address()?, &env.task_queue, &service.worker_flags())
}

/// Two expenses wait for a decision when the worker and the service are killed. A new process of the service still
/// knows the tokens: it completes one activity when the link is opened, and the other one at once, because its
/// decision was stored before the kill. No worker runs meanwhile. Then a new worker goes on. No attempt is lost.
#[tokio::test]
async fn the_token_survives_everybody() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let mut service = Service::start(&[]).await?;
    let start = async || {
        let id = json!(env.start_options().workflow_id);
        env.start_json::<SampleExpenseWorkflow>("SampleExpenseWorkflow", &[id])
            .await
    };
    let mut first = worker(&env, &service)?;
    let decided = start().await?;
    let decided_links = links(&service, &decided).await?;
    // As if the process had been killed between storing the decision and completing the activity.
    let record = service.record("expenses")?;
    let undecided = start().await?;
    let undecided_links = links(&service, &undecided).await?;
    assert_ne!(decided_links.approve, undecided_links.approve);
    first.kill().await?;
    service.kill().await?;
    for handle in [&decided, &undecided] {
        // The next workflow task would wait ten seconds for the worker that had the workflow in its cache.
        forget_cache(&env.client, &handle.info().workflow_id).await?;
    }
    let mut expense: Value = serde_json::from_slice(&std::fs::read(&record)?)?;
    assert_eq!(expense["status"], "CREATED");
    expense["status"] = "REJECTED".into();
    std::fs::write(&record, expense.to_string())?;

    service.restart().await?;
    let (status, text) = open(&undecided_links.approve).await?;
    assert_eq!(status, StatusCode::OK, "{text}");
    for handle in [&decided, &undecided] {
        // The first activity that has completed created the expense.
        eventually("the second completion", async || {
            let types = event_types(handle).await?;
            let completed = types
                .iter()
                .filter(|r#type| **r#type == ActivityTaskCompleted);
            Ok((completed.count() == 2).then_some(()))
        })
        .await?;
    }

    let second = worker(&env, &service)?;
    for (handle, expected) in [(&decided, ""), (&undecided, "COMPLETED")] {
        let result = async { Ok(handle.get_result(Default::default()).await?) };
        assert_eq!(within("the result", result).await?, expected);
        for event in events(handle).await? {
            if let Some(Attributes::ActivityTaskStartedEventAttributes(started)) = event.attributes
            {
                assert_eq!(started.attempt, 1);
            }
        }
    }
    drop(second);
    Ok(())
}

/// The service is killed while it works. The server misses the heartbeat and starts another attempt, which has
/// another token. The new process of the service completes that one, and finds out that nobody waits for the old one.
#[tokio::test]
async fn another_attempt_has_another_token() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let mut service = Service::start(&["--work-seconds", "1"]).await?;
    let _worker = worker(&env, &service)?;
    let handle = env
        .client
        .start_workflow(GreetingWorkflow::run, "World".into(), env.start_options())
        .await?;
    until_pending(&handle, |activity| activity.heartbeat_details.is_some()).await?;
    service.kill().await?;
    let old = service.record("greetings")?;
    let waiting: Value = serde_json::from_slice(&std::fs::read(&old)?)?;
    let old_token = waiting["task_token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    until_pending(&handle, |activity| activity.attempt >= 2).await?;
    service.restart().await?;
    let result = async { Ok(handle.get_result(Default::default()).await?) };
    assert_eq!(within("the greeting", result).await?, "Hello, World!");
    let started = events(&handle)
        .await?
        .into_iter()
        .find_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started),
            _ => None,
        });
    assert!(started.is_some_and(|started| started.attempt >= 2));
    assert!(!old_token.is_empty());
    eventually("an empty store", async || {
        Ok(service.record("greetings").err())
    })
    .await?;
    Ok(())
}
