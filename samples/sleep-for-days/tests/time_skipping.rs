//! Real intervals, on a server that skips the time in which the workflow only waits.

use anyhow::ensure;
use serde_json::json;
use shared::histories;
use sleep_for_days::{worker_options, workflows::SleepForDaysWorkflow};
use temporalio_client::{Client, WorkflowHandle};
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType::{ActivityTaskScheduled, TimerFired, TimerStarted},
    history::v1::HistoryEvent,
};
use testing::{
    TestEnv, activity_types, elapsed, event_types, eventually, skip_time, with_time_skipping,
};

type Handle = WorkflowHandle<Client, SleepForDaysWorkflow>;

const DAY: u64 = 24 * 60 * 60;

async fn complete(handle: &Handle) -> anyhow::Result<String> {
    let complete = SleepForDaysWorkflow::complete;
    let signal = handle.signal(complete, ().into(), Default::default());
    signal.await?;
    Ok(handle.get_result(Default::default()).await?)
}

/// Three times 30 days pass, with an e-mail at their beginning and at the end of each. The fourth time is completed by
/// the signal.
#[tokio::test]
async fn months_pass() -> anyhow::Result<()> {
    with_time_skipping(worker_options, async |env| {
        let handle: Handle = env.start_json("SleepForDaysWorkflow", &[]).await?;
        skip_time(&handle, 3).await?;
        eventually("the fourth timer", async || {
            let events = event_types(&handle).await?;
            let started = events.iter().filter(|event| **event == TimerStarted);
            Ok((started.count() == 4).then_some(()))
        })
        .await?;
        assert_eq!(complete(&handle).await?, "done!");
        assert_eq!(activity_types(&handle).await?, ["send_email"; 4]);
        assert_eq!(elapsed(&handle).await?.as_secs() / DAY, 90);
        continues_as_new(&env).await
    })
    .await
}

/// When the server suggests it, the workflow continues as new, with the same interval. No e-mail is lost or sent twice,
/// and the signal reaches the last run.
async fn continues_as_new(env: &TestEnv) -> anyhow::Result<()> {
    let id = env.start_options().workflow_id;
    let first = env.client.start_workflow(
        SleepForDaysWorkflow::run,
        serde_json::from_value(json!({"seconds": 7 * DAY}))
            .map(Some)?
            .into(),
        temporalio_client::WorkflowStartOptions::new(env.task_queue.clone(), id.clone()).build(),
    );
    let first = first.await?;
    let last: Handle = env.client.get_workflow_handle(id);
    skip_time(&last, 10).await?;
    let count = |runs: &[Vec<HistoryEvent>], event_type| {
        let events = runs.iter().flatten();
        events
            .filter(|event| event.event_type() == event_type)
            .count()
    };
    eventually("the eleventh timer", async || {
        Ok((count(&histories(&first).await?, TimerStarted) == 11).then_some(()))
    })
    .await?;
    assert_eq!(complete(&last).await?, "done!");
    let runs = histories(&first).await?;
    ensure!(runs.len() > 1, "it did not continue as new");
    assert_eq!(count(&runs, TimerFired), 10);
    assert_eq!(count(&runs, ActivityTaskScheduled), 11);
    let time = |event: Option<&HistoryEvent>| event.and_then(|event| event.event_time);
    let begin = time(runs.first().and_then(|run| run.first()));
    let end = time(runs.last().and_then(|run| run.last()));
    let seconds = end.unwrap_or_default().seconds - begin.unwrap_or_default().seconds;
    assert_eq!(seconds.unsigned_abs() / DAY, 70);
    Ok(())
}
