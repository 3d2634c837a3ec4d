//! Real intervals, on a server that skips the time in which the workflow only waits.

use anyhow::ensure;
use serde_json::json;
use shared::histories;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use temporalio_client::{Client, UntypedSignal, WorkflowHandle};
use testing::{TestEnv, elapsed, raw_json, skip_time, with_time_skipping};
use updatable_timer::{
    worker_options,
    workflows::{UpdatableTimerWorkflow, WakeUpTime},
};

type Handle = WorkflowHandle<Client, UpdatableTimerWorkflow>;

const DAY: u64 = 24 * 60 * 60;

/// The time in so many days, in whole seconds since 1970.
fn in_days(days: u64) -> anyhow::Result<f64> {
    let time = SystemTime::now() + Duration::from_secs(days * DAY);
    Ok(time.duration_since(UNIX_EPOCH)?.as_secs_f64().floor())
}

async fn update(handle: &Handle, time: f64) -> anyhow::Result<()> {
    let update = UntypedSignal::new("update_wake_up_time");
    let signal = handle.signal(update, raw_json(&[json!(time)]), Default::default());
    Ok(signal.await?)
}

/// A workflow wakes up on the day that the last signal has set, 90 days from now, by the clock of the workflow.
#[tokio::test]
async fn months_pass() -> anyhow::Result<()> {
    with_time_skipping(worker_options, async |env| {
        let handle: Handle = env.start_json("Workflow", &[json!(in_days(30)?)]).await?;
        update(&handle, in_days(60)?).await?;
        update(&handle, in_days(90)?).await?;
        skip_time(&handle, 1).await?;
        handle.get_result(Default::default()).await?;
        let hours = elapsed(&handle).await?.as_secs() / 3600;
        ensure!((90 * 24 - 2..=90 * 24).contains(&hours), "{hours} hours");
        continues_as_new(&env).await
    })
    .await
}

/// After many signals the workflow continues as new. The last signal counts, whichever run it has reached.
async fn continues_as_new(env: &TestEnv) -> anyhow::Result<()> {
    let options = env.start_options();
    let last: Handle = env.client.get_workflow_handle(&options.workflow_id);
    let begin = WakeUpTime::from(SystemTime::now() + Duration::from_secs(DAY));
    let run = UpdatableTimerWorkflow::run;
    let first = env
        .client
        .start_workflow(run, begin.into(), options)
        .await?;
    let mut time = in_days(30)?;
    while histories(&first).await?.len() == 1 {
        time += 0.25;
        update(&last, time).await?;
    }
    let query = UpdatableTimerWorkflow::get_wake_up_time;
    let current = last.query(query, ().into(), Default::default()).await?;
    assert_eq!(json!(current), json!(time));
    skip_time(&last, 1).await?;
    last.get_result(Default::default()).await?;
    Ok(())
}
