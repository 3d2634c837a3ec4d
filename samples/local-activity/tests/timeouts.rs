//! Timeouts and retries of local activities: three traps of the SDK, and how the sample avoids them.

use anyhow::Context;
use local_activity::{
    activities::ComposeGreetingInput,
    workflows::{LocalActivityWorkflow, LocalRetryWorkflow},
};
use serde::{Deserialize, Serialize};
use shared::{Input, describe};
use std::{
    iter::successors,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_common::{
    RetryPolicy, error::IncomingError, protos::temporal::api::enums::v1::EventType::TimerFired,
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, LocalActivityOptions, WorkerOptions, WorkflowContext,
    WorkflowRegistrationError, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{event_types, with_worker};
use tokio::time::sleep;

/// What [`Retries`] does, in milliseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Plan {
    start_to_close: Option<u64>,
    schedule_to_close: Option<u64>,
    timer_backoff_threshold: Option<u64>,
    /// How long the first attempt takes, which fails.
    first_attempt: u64,
    /// The wait before the second attempt.
    wait: u64,
    /// How long the second attempt takes, which is the last.
    second_attempt: u64,
}

/// Runs a local activity that fails once.
#[workflow]
#[derive(Default)]
struct Retries;

#[workflow_methods]
impl Retries {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, plan: Input<Plan>) -> WorkflowResult<u32> {
        let plan = plan.decode(ctx)?;
        let retry_policy = RetryPolicy::builder()
            .initial_interval(Duration::from_millis(plan.wait))
            .maximum_attempts(2)
            .build();
        let millis = |millis: Option<u64>| millis.map(Duration::from_millis);
        let options = LocalActivityOptions::builder()
            .maybe_start_to_close_timeout(millis(plan.start_to_close))
            .maybe_schedule_to_close_timeout(millis(plan.schedule_to_close))
            .maybe_timer_backoff_threshold(millis(plan.timer_backoff_threshold))
            .retry_policy(retry_policy)
            .build();
        Ok(ctx
            .execute_local_activity(SlowActivities::slow, plan, options)
            .await?)
    }
}

/// Activities that take their time. Some stand in for those of the sample, under the same names.
#[derive(Clone, Default)]
pub struct SlowActivities {
    /// Whether a second attempt was cancelled.
    cancelled: Arc<AtomicBool>,
    /// How long each attempt may take: from its schedule on, and from its start on.
    limits: Arc<Mutex<Vec<(Duration, Duration)>>>,
}

impl SlowActivities {
    /// Fails the first attempt after `first`; returns the number of any other after `later`.
    async fn attempt(
        &self,
        ctx: &ActivityContext,
        first: Duration,
        later: Duration,
    ) -> Result<u32, ActivityError> {
        let info = ctx.info();
        let attempt = info.attempt;
        if let (Some(scheduled), Some(started), Some(deadline)) =
            (info.scheduled_time, info.started_time, info.deadline)
        {
            let since_scheduled = deadline.duration_since(scheduled)?;
            // An attempt may start after its deadline: see the schedule-to-close timeout below.
            let since_started = deadline.duration_since(started).unwrap_or_default();
            let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
            limits.push((since_scheduled, since_started));
        }
        if attempt == 1 {
            sleep(first).await;
            return Err(ApplicationFailure::new("the first attempt fails").into());
        }
        tokio::select! {
            biased;
            _ = ctx.cancelled() => {
                self.cancelled.store(true, Relaxed);
                Err(ActivityError::cancelled())
            }
            () = sleep(later) => Ok(attempt),
        }
    }
}

#[activities]
impl SlowActivities {
    #[activity(name = "slow")]
    pub async fn slow(
        self: Arc<Self>,
        ctx: ActivityContext,
        plan: Plan,
    ) -> Result<u32, ActivityError> {
        let first = Duration::from_millis(plan.first_attempt);
        let second = Duration::from_millis(plan.second_attempt);
        self.attempt(&ctx, first, second).await
    }

    #[activity(name = "fail_at_first")]
    pub async fn fail_at_first(
        self: Arc<Self>,
        ctx: ActivityContext,
        _failures: u32,
    ) -> Result<u32, ActivityError> {
        let (first, later) = (Duration::from_millis(1400), Duration::from_millis(1500));
        self.attempt(&ctx, first, later).await
    }

    #[activity(name = "compose_greeting")]
    pub async fn compose_greeting(
        self: Arc<Self>,
        ctx: ActivityContext,
        _input: ComposeGreetingInput,
    ) -> Result<String, ActivityError> {
        let (first, later) = (Duration::from_millis(100), Duration::from_millis(1200));
        let attempt = self.attempt(&ctx, first, later).await?;
        Ok(format!("attempt {attempt}"))
    }

    #[activity(name = "validate_input")]
    pub async fn validate_input(
        _ctx: ActivityContext,
        text: String,
    ) -> Result<bool, ActivityError> {
        Ok(!text.is_empty())
    }
}

fn options(
    task_queue: &str,
    activities: SlowActivities,
) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<Retries>()?
        .register_workflow::<LocalActivityWorkflow>()?
        .register_workflow::<LocalRetryWorkflow>()?
        .register_activities(activities)
        .build())
}

/// How [`Retries`] went.
struct Outcome {
    /// The number of the attempt that succeeded, or why none did.
    result: Result<u32, String>,
    /// What [`chain`] makes of the error, if there is one.
    causes: Vec<String>,
    /// Whether the second attempt was cancelled.
    cancelled: bool,
    /// How many timers of the workflow fired.
    timers: usize,
}

/// The failure of a workflow and its causes, a line each.
fn chain(error: &WorkflowGetResultError) -> Vec<String> {
    let WorkflowGetResultError::Failed(failure) = error else {
        return vec![format!("{error:?}")];
    };
    let causes = successors(Some(&**failure), |failure| failure.cause());
    causes
        .map(|failure| {
            let message = &failure.failure().message;
            match failure {
                IncomingError::Activity(activity) => {
                    format!("{message} ({:?})", activity.retry_state())
                }
                IncomingError::Timeout(timeout) => {
                    format!("{message} ({:?})", timeout.timeout_type())
                }
                _ => message.clone(),
            }
        })
        .collect()
}

async fn carry_out(plan: Plan) -> anyhow::Result<Outcome> {
    let activities = SlowActivities::default();
    let mut outcome = None;
    let slow = activities.clone();
    with_worker(
        |task_queue| options(task_queue, slow),
        async |env| {
            let handle = env
                .client
                .start_workflow(Retries::run, plan.into(), env.start_options())
                .await?;
            let result = handle.get_result(Default::default()).await;
            let events = event_types(&handle).await?;
            outcome = Some(Outcome {
                causes: result.as_ref().err().map(chain).unwrap_or_default(),
                result: result.map_err(|error| describe(&error)),
                cancelled: activities.cancelled.load(Relaxed),
                timers: events.iter().filter(|kind| **kind == TimerFired).count(),
            });
            Ok(())
        },
    )
    .await?;
    outcome.context("the test has not run")
}

/// A failed attempt (2 s) whose timeout (3 s) has not run out, then one that would take 1.5 s.
fn start_to_close() -> Plan {
    Plan {
        start_to_close: Some(3000),
        first_attempt: 2000,
        wait: 100,
        second_attempt: 1500,
        ..Default::default()
    }
}

/// The trap: when the worker itself waits before a retry, the start-to-close timer of the failed
/// attempt runs on and cancels the next attempt, long before that one's own time is up. Once the SDK
/// stops that timer, this test fails, and the sample needs no way around it any more.
#[tokio::test]
async fn a_failed_attempts_timer_cancels_the_next_attempt() -> anyhow::Result<()> {
    let outcome = carry_out(start_to_close()).await?;
    assert_eq!(outcome.timers, 0);
    assert!(outcome.cancelled);
    assert_eq!(
        outcome.result,
        Err("workflow failed: activity slow failed: Activity timed out".to_owned())
    );
    Ok(())
}

/// The way around it: when a timer of the workflow waits before each retry, every attempt has the
/// whole of its time.
#[tokio::test]
async fn with_timers_each_attempt_has_its_own_time() -> anyhow::Result<()> {
    let outcome = carry_out(Plan {
        timer_backoff_threshold: Some(0),
        ..start_to_close()
    })
    .await?;
    assert_eq!(outcome.timers, 1);
    assert!(!outcome.cancelled);
    assert_eq!(outcome.result, Ok(2));
    Ok(())
}

/// Less time (2 s) than the first attempt and the wait after it take (3 s).
fn schedule_to_close() -> Plan {
    Plan {
        schedule_to_close: Some(2000),
        first_attempt: 1000,
        wait: 2000,
        second_attempt: 100,
        ..Default::default()
    }
}

/// Another trap: a schedule-to-close timeout that runs out while the worker itself waits is lost. Once
/// the SDK heeds it, this test fails, and the README need not warn any more.
#[tokio::test]
async fn a_schedule_to_close_timeout_is_lost_in_the_wait() -> anyhow::Result<()> {
    let outcome = carry_out(schedule_to_close()).await?;
    assert_eq!(outcome.timers, 0);
    assert_eq!(outcome.result, Ok(2));
    Ok(())
}

/// With timers of the workflow the timeout holds. But it is the third trap: of a local activity that runs
/// out of time, the failure of its last attempt is lost. Once the SDK keeps that failure, this test fails,
/// and the workflows need not limit their attempts any more.
#[tokio::test]
async fn with_timers_a_schedule_to_close_timeout_holds() -> anyhow::Result<()> {
    let outcome = carry_out(Plan {
        timer_backoff_threshold: Some(0),
        ..schedule_to_close()
    })
    .await?;
    assert_eq!(
        outcome.result,
        Err("workflow failed: activity slow failed: Activity timed out".to_owned())
    );
    assert_eq!(
        outcome.causes,
        [
            "Local Activity timed out (CancelRequested)",
            "Activity timed out (ScheduleToClose)"
        ]
    );
    Ok(())
}

/// The sample's retries inside the worker: a failed attempt of 1.4 s does not shorten the next one,
/// which succeeds after 1.5 s. All attempts together may take a minute.
#[tokio::test]
async fn local_retry_workflow_cancels_no_attempt() -> anyhow::Result<()> {
    let activities = SlowActivities::default();
    let slow = activities.clone();
    with_worker(
        |task_queue| options(task_queue, slow),
        async |env| {
            let handle = env
                .client
                .start_workflow(LocalRetryWorkflow::run, 1.into(), env.start_options())
                .await?;
            assert_eq!(handle.get_result(Default::default()).await?, 2);
            let limits = activities.limits.lock().expect("not poisoned");
            assert_eq!(limits[0].0, Duration::from_secs(60));
            Ok(())
        },
    )
    .await
}

/// The sample's start-to-close timeout of two seconds: a second attempt that begins 1.1 s after the
/// first has two seconds too, and succeeds after 1.2 s.
#[tokio::test]
async fn local_activity_workflow_cancels_no_attempt() -> anyhow::Result<()> {
    let activities = SlowActivities::default();
    let slow = activities.clone();
    with_worker(
        |task_queue| options(task_queue, slow),
        async |env| {
            let handle = env
                .client
                .start_workflow(
                    LocalActivityWorkflow::run,
                    "World".into(),
                    env.start_options(),
                )
                .await?;
            assert_eq!(handle.get_result(Default::default()).await?, "attempt 2");
            let limits = activities.limits.lock().expect("not poisoned");
            let limits: Vec<_> = limits
                .iter()
                .map(|(_, since_started)| *since_started)
                .collect();
            assert_eq!(limits, [Duration::from_secs(2); 2]);
            Ok(())
        },
    )
    .await
}
