//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use temporalio_client::{
    Client, UntypedSignal, UntypedWorkflow, WorkflowHandle, errors::WorkflowGetResultError,
};
use temporalio_common::{
    data_converters::RawValue,
    protos::temporal::api::{
        enums::v1::EventType::{TimerCanceled, TimerFired, TimerStarted, WorkflowTaskCompleted},
        history::v1::history_event::Attributes,
    },
};
use testing::{
    TestEnv, bad_input, event_types, events, eventually, forget_cache, raw_json, until, with_worker,
};
use updatable_timer::{worker_options, workflows::UpdatableTimerWorkflow};

type Handle = WorkflowHandle<Client, UpdatableTimerWorkflow>;

/// The time in so many seconds, as seconds since 1970. Counts from the last whole second, because the client reads a
/// number with many digits only approximately.
fn in_seconds(seconds: f64) -> anyhow::Result<f64> {
    Ok(now()?.floor() + seconds)
}

fn now() -> anyhow::Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

async fn start(env: &TestEnv, wake_up_time: f64) -> anyhow::Result<Handle> {
    env.start_json("Workflow", &[json!(wake_up_time)]).await
}

async fn update(handle: &Handle, arguments: &[Value]) -> anyhow::Result<()> {
    let update = UntypedSignal::new("update_wake_up_time");
    let signal = handle.signal(update, raw_json(arguments), Default::default());
    Ok(signal.await?)
}

/// The wake-up time, as the query returns it.
async fn wake_up_time(handle: &Handle) -> anyhow::Result<Value> {
    let query = UpdatableTimerWorkflow::get_wake_up_time;
    let time = handle.query(query, ().into(), Default::default()).await?;
    Ok(json!(time))
}

/// Waits until the workflow has started this number of timers, and returns their lengths.
async fn timers(handle: &Handle, count: usize) -> anyhow::Result<Vec<Duration>> {
    eventually("the timers", async || {
        let mut timers = Vec::new();
        for event in events(handle).await? {
            if let Some(Attributes::TimerStartedEventAttributes(timer)) = event.attributes {
                let length = timer.start_to_fire_timeout.unwrap_or_default();
                timers.push(Duration::try_from(length)?);
            }
        }
        Ok((timers.len() >= count).then_some(timers))
    })
    .await
}

async fn ends_cancelled(handle: &Handle) -> anyhow::Result<()> {
    let ended = handle.get_result(Default::default()).await;
    assert!(
        matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
        "{ended:?}"
    );
    Ok(())
}

/// Each change cancels the timer and starts another one, a longer or a shorter one, and the last one fires. The query
/// returns the exact time, also after the end.
#[tokio::test]
async fn wakes_up_at_the_last_time() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let day = in_seconds(86_400.25)?;
        let handle = start(&env, day).await?;
        timers(&handle, 1).await?;
        assert_eq!(wake_up_time(&handle).await?, json!(day));
        let week = in_seconds(604_800.0)?;
        update(&handle, &[json!(week)]).await?;
        timers(&handle, 2).await?;
        assert_eq!(wake_up_time(&handle).await?, json!(week));
        let soon = in_seconds(2.5)?;
        update(&handle, &[json!(soon)]).await?;
        handle.get_result(Default::default()).await?;
        assert!(now()? >= soon);
        assert_eq!(wake_up_time(&handle).await?, json!(soon));

        let timers = timers(&handle, 2).await?;
        let expected = [86_400.25, 604_800.0, 2.5].map(Duration::from_secs_f64);
        for (timer, expected) in timers.iter().zip(expected) {
            // The rest of the time, when the worker has got the message.
            let late = expected.checked_sub(*timer).unwrap_or(Duration::MAX);
            assert!(late < Duration::from_secs(60), "{timer:?}, {expected:?}");
        }
        let events = event_types(&handle).await?;
        let count = |event| events.iter().filter(|other| **other == event).count();
        // Unless the last time has come before the worker got the message.
        assert_eq!(count(TimerStarted), timers.len());
        assert_eq!(count(TimerCanceled) + count(TimerFired), timers.len());
        Ok(())
    })
    .await
}

/// A time that has come needs no timer, whether the input or a signal sets it.
#[tokio::test]
async fn wakes_up_at_once() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for past in [in_seconds(-0.25)?, 1.5, 0.0, -62_135_596_800.0] {
            let handle = start(&env, past).await?;
            handle.get_result(Default::default()).await?;
            assert_eq!(timers(&handle, 0).await?, []);

            let handle = start(&env, in_seconds(600.0)?).await?;
            until(&handle, TimerStarted).await?;
            update(&handle, &[json!(past)]).await?;
            handle.get_result(Default::default()).await?;
            assert_eq!(timers(&handle, 0).await?.len(), 1);
            assert!(event_types(&handle).await?.contains(&TimerCanceled));
        }
        Ok(())
    })
    .await
}

/// A signal that arrives before the first line of `run` counts, although `run` gets another time.
#[tokio::test]
async fn updated_before_it_begins() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, in_seconds(600.0)?).await?;
    let later = in_seconds(6000.0)?;
    update(&handle, &[json!(in_seconds(60.0)?)]).await?;
    update(&handle, &[json!(later)]).await?;
    env.work(worker_options, async {
        let timers = timers(&handle, 1).await?;
        assert!(timers[0] > Duration::from_secs(5000), "{timers:?}");
        assert_eq!(wake_up_time(&handle).await?, json!(later));
        // The same time again needs no other timer.
        update(&handle, &[json!(later)]).await?;
        update(&handle, &[json!(0)]).await?;
        handle.get_result(Default::default()).await?;
        assert_eq!(
            event_types(&handle)
                .await?
                .iter()
                .filter(|event| **event == TimerStarted)
                .count(),
            1
        );
        Ok(())
    })
    .await
}

/// A later time and the end of the timer reach the worker together. The later time counts.
#[tokio::test]
async fn updated_when_the_timer_fires() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, in_seconds(4.0)?).await?;
    env.work(worker_options, async {
        until(&handle, WorkflowTaskCompleted).await
    })
    .await?;
    let later = in_seconds(600.0)?;
    update(&handle, &[json!(later)]).await?;
    until(&handle, TimerFired).await?;
    forget_cache(&env.client, &handle.info().workflow_id).await?;
    env.work(worker_options, async {
        timers(&handle, 2).await?;
        assert_eq!(wake_up_time(&handle).await?, json!(later));
        handle.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}

/// The next worker rebuilds the wake-up time from the history.
#[tokio::test]
async fn the_next_worker_knows_the_time() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, in_seconds(600.0)?).await?;
    let later = in_seconds(6000.0)?;
    env.work(worker_options, async {
        timers(&handle, 1).await?;
        update(&handle, &[json!(later)]).await?;
        timers(&handle, 2).await?;
        Ok(())
    })
    .await?;
    forget_cache(&env.client, &handle.info().workflow_id).await?;
    env.work(worker_options, async {
        assert_eq!(wake_up_time(&handle).await?, json!(later));
        update(&handle, &[json!(0)]).await?;
        handle.get_result(Default::default()).await?;
        Ok(())
    })
    .await
}

/// A cancelled workflow ends CANCELED and its timer is cancelled, also if the timer fires before a worker learns about
/// the cancellation, and if no worker has seen the workflow before.
#[tokio::test]
async fn cancelled() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let waiting = start(&env, in_seconds(600.0)?).await?;
    env.work(worker_options, async {
        until(&waiting, TimerStarted).await?;
        waiting.cancel(Default::default()).await?;
        ends_cancelled(&waiting).await?;
        assert!(event_types(&waiting).await?.contains(&TimerCanceled));
        Ok(())
    })
    .await?;
    // For a worker of its own, which stops long before the timer fires.
    let fires = start(&env, in_seconds(4.0)?).await?;
    env.work(worker_options, until(&fires, WorkflowTaskCompleted))
        .await?;
    fires.cancel(Default::default()).await?;
    until(&fires, TimerFired).await?;
    forget_cache(&env.client, &fires.info().workflow_id).await?;
    let new = start(&env, in_seconds(600.0)?).await?;
    new.cancel(Default::default()).await?;
    env.work(worker_options, async {
        ends_cancelled(&fires).await?;
        ends_cancelled(&new).await
    })
    .await
}

/// Arguments that are no time, and why.
fn bad_times() -> Vec<(Vec<Value>, &'static str)> {
    vec![
        (vec![], "wake_up_time: the argument is missing"),
        (
            vec![json!(null)],
            "wake_up_time: invalid type: null, expected f64",
        ),
        (
            vec![json!("tomorrow")],
            "wake_up_time: invalid type: string \"tomorrow\", expected f64",
        ),
        (
            vec![json!({"wake_up_time": 1})],
            "wake_up_time: invalid type: map, expected f64",
        ),
        (
            vec![json!(1_764_000_000_000_u64)],
            "wake_up_time: 1764000000000.0 is not in the years 1 to 9999; send seconds since 1970, not milliseconds",
        ),
        (
            vec![json!(1e300)],
            "wake_up_time: 1e300 is not in the years 1 to 9999; send seconds since 1970, not milliseconds",
        ),
        (
            vec![json!(-62_135_596_801_i64)],
            "wake_up_time: -62135596801.0 is not in the years 1 to 9999; send seconds since 1970, not milliseconds",
        ),
    ]
}

/// A wake-up time that is no time fails the workflow at once, and the failure names it.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for (arguments, expected) in bad_times() {
            let handle: Handle = env.start_json("Workflow", &arguments).await?;
            let reason = bad_input(&handle).await?;
            assert_eq!(reason, expected);
            assert_eq!(wake_up_time(&handle).await?, json!(null));
        }
        let workflow = UntypedWorkflow::new("Workflow");
        let infinite = env
            .client
            .start_workflow(workflow, infinity(), env.start_options());
        let reason = bad_input(&infinite.await?).await?;
        assert_eq!(reason, "not JSON: expected value at line 1 column 1");
        Ok(())
    })
    .await
}

/// What Python sends for `float("inf")`. It is not JSON.
fn infinity() -> RawValue {
    let mut infinity = raw_json(&[json!(null)]);
    for payload in &mut infinity.payloads {
        payload.data = b"Infinity".to_vec();
    }
    infinity
}

/// A signal whose argument is no time is ignored.
#[tokio::test]
async fn ignores_bad_signals() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let day = in_seconds(86_400.0)?;
        let handle = start(&env, day).await?;
        for (arguments, _) in bad_times() {
            update(&handle, &arguments).await?;
        }
        let signal = UntypedSignal::new("update_wake_up_time");
        let signal = handle.signal(signal, infinity(), Default::default());
        signal.await?;
        assert_eq!(wake_up_time(&handle).await?, json!(day));
        update(&handle, &[json!(0), json!("more")]).await?;
        handle.get_result(Default::default()).await?;
        assert_eq!(timers(&handle, 0).await?.len(), 1);
        Ok(())
    })
    .await
}
