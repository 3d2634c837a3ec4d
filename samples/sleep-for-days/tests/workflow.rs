//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use anyhow::Context;
use serde_json::{Value, json};
use sleep_for_days::{worker_options, workflows::SleepForDaysWorkflow};
use std::time::Duration;
use temporalio_client::{
    Client, UntypedSignal, WorkflowHandle,
    errors::{WorkflowGetResultError, WorkflowInteractionError},
};
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType::{
        ActivityTaskScheduled, TimerCanceled, TimerFired, TimerStarted, WorkflowExecutionSignaled,
    },
    history::v1::history_event::Attributes,
};
use temporalio_sdk::WorkerOptions;
use testing::{
    TestEnv, activity_types, bad_input, event_types, events, eventually, forget_cache, operate,
    raw_json, until, with_worker,
};

type Handle = WorkflowHandle<Client, SleepForDaysWorkflow>;

async fn start(env: &TestEnv, arguments: &[Value]) -> anyhow::Result<Handle> {
    env.start_json("SleepForDaysWorkflow", arguments).await
}

async fn complete(handle: &Handle, arguments: &[Value]) -> Result<(), WorkflowInteractionError> {
    let complete = UntypedSignal::new("complete");
    handle
        .signal(complete, raw_json(arguments), Default::default())
        .await
}

async fn result(handle: &Handle) -> anyhow::Result<String> {
    Ok(handle.get_result(Default::default()).await?)
}

/// One e-mail goes out at once, and then one timer of 30 days runs. The signal cancels it, whatever its arguments are.
#[tokio::test]
async fn completed_in_the_middle_of_the_interval() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for arguments in [&[][..], &[json!(null)], &[json!("now"), json!(1)]] {
            let handle = start(&env, arguments.get(..0).unwrap_or_default()).await?;
            until(&handle, TimerStarted).await?;
            complete(&handle, arguments).await?;
            assert_eq!(result(&handle).await?, "done!");
            assert_eq!(activity_types(&handle).await?, ["send_email"]);
            assert!(event_types(&handle).await?.contains(&TimerCanceled));
            let mut messages = Vec::new();
            let mut limits = Vec::new();
            for event in events(&handle).await? {
                match event.attributes {
                    Some(Attributes::ActivityTaskScheduledEventAttributes(activity)) => {
                        limits.push(activity.start_to_close_timeout);
                        let input = activity.input.unwrap_or_default().payloads;
                        let input = input.into_iter().next().context("no argument")?;
                        messages.push(serde_json::from_slice::<Value>(&input.data)?);
                    }
                    Some(Attributes::TimerStartedEventAttributes(timer)) => {
                        limits.push(timer.start_to_fire_timeout);
                    }
                    _ => {}
                }
            }
            let message = "30 days until the next email";
            assert_eq!(messages, [json!({"email_msg": message})]);
            let seconds = |seconds| Duration::from_secs(seconds).try_into().ok();
            assert_eq!(limits, [seconds(10), seconds(2_592_000)]);
            let late = complete(&handle, &[]).await;
            assert!(
                matches!(late, Err(WorkflowInteractionError::NotFound(_))),
                "{late:?}"
            );
        }
        Ok(())
    })
    .await
}

/// No worker is needed while the workflow waits. The timer fires without one, and the next worker sends the next e-mail.
#[tokio::test]
async fn needs_no_worker_while_it_waits() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, &[json!({"seconds": 3})]).await?;
    env.work(worker_options, until(&handle, TimerStarted))
        .await?;
    until(&handle, TimerFired).await?;
    assert_eq!(activity_types(&handle).await?, ["send_email"]);
    forget_cache(&env.client, &handle.info().workflow_id).await?;
    env.work(worker_options, async {
        eventually("the second e-mail", async || {
            Ok((activity_types(&handle).await?.len() > 1).then_some(()))
        })
        .await?;
        complete(&handle, &[]).await?;
        assert_eq!(result(&handle).await?, "done!");
        Ok(())
    })
    .await
}

/// A signal that arrives before the first line of `run` is not lost. The workflow then sends no e-mail.
#[tokio::test]
async fn completed_before_it_begins() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, &[]).await?;
    complete(&handle, &[]).await?;
    env.work(worker_options, async {
        assert_eq!(result(&handle).await?, "done!");
        assert_eq!(activity_types(&handle).await?, Vec::<String>::new());
        Ok(())
    })
    .await
}

/// A signal that arrives while the e-mail is being sent is not lost. No timer is started for it.
#[tokio::test]
async fn completed_during_the_email() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, &[]).await?;
    let scheduled = until(&handle, ActivityTaskScheduled);
    env.work(workflow_only, scheduled).await?;
    complete(&handle, &[]).await?;
    until(&handle, WorkflowExecutionSignaled).await?;
    forget_cache(&env.client, &handle.info().workflow_id).await?;
    env.work(worker_options, async {
        assert_eq!(result(&handle).await?, "done!");
        assert_eq!(activity_types(&handle).await?, ["send_email"]);
        assert!(!event_types(&handle).await?.contains(&TimerStarted));
        Ok(())
    })
    .await
}

/// A worker that cannot send e-mails.
fn workflow_only(task_queue: &str) -> anyhow::Result<WorkerOptions> {
    let options = WorkerOptions::new(task_queue).register_workflow::<SleepForDaysWorkflow>()?;
    Ok(options.build())
}

/// A workflow that is cancelled while it waits ends CANCELED, and its timer is cancelled, too.
#[tokio::test]
async fn cancelled_while_it_waits() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = start(&env, &[]).await?;
        until(&handle, TimerStarted).await?;
        handle.cancel(Default::default()).await?;
        let ended = handle.get_result(Default::default()).await;
        assert!(
            matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
            "{ended:?}"
        );
        assert!(event_types(&handle).await?.contains(&TimerCanceled));
        Ok(())
    })
    .await
}

/// The cancellation and the end of the interval reach the worker together. The workflow ends CANCELED and sends no other
/// e-mail.
#[tokio::test]
async fn cancelled_when_the_timer_fires() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, &[json!({"seconds": 3})]).await?;
    env.work(worker_options, until(&handle, TimerStarted))
        .await?;
    handle.cancel(Default::default()).await?;
    until(&handle, TimerFired).await?;
    forget_cache(&env.client, &handle.info().workflow_id).await?;
    env.work(worker_options, async {
        let ended = handle.get_result(Default::default()).await;
        assert!(
            matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
            "{ended:?}"
        );
        assert_eq!(activity_types(&handle).await?, ["send_email"]);
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, &[]).await?;
    env.ends_cancelled(&handle, worker_options).await
}

/// The e-mail fails for good, and before a worker knows, the workflow is cancelled. It ends CANCELED.
#[tokio::test]
async fn fails_and_ends_cancelled() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, &[]).await?;
    operate::fails_and_ends_cancelled(&env, &handle, workflow_only, worker_options).await
}

/// Input that does not decode fails the workflow at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cases = [
            (json!({}), "missing field `seconds`"),
            (
                json!({"seconds": 0}),
                "`seconds`: invalid value: integer `0`, expected a nonzero u32",
            ),
            (
                json!({"seconds": "30 days"}),
                "`seconds`: invalid type: string \"30 days\", expected a nonzero u32",
            ),
            (
                json!(30),
                "invalid type: integer `30`, expected struct SleepOptions",
            ),
        ];
        for (argument, reason) in cases {
            let handle = start(&env, &[argument]).await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        Ok(())
    })
    .await
}
