//! Timeouts and retries of local activities: three faults of the SDK, and how this sample avoids them.

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

/// Input of [`RetryOnce`], in milliseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Plan {
    start_to_close: Option<u64>,
    schedule_to_close: Option<u64>,
    timer_backoff_threshold: Option<u64>,
    /// Duration of the first attempt, which fails.
    first_attempt: u64,
    /// Wait before the second attempt.
    wait: u64,
    /// Duration of the second attempt, which is the last.
    second_attempt: u64,
}

/// Runs a local activity that fails once.
#[workflow]
#[derive(Default)]
struct RetryOnce;

#[workflow_methods]
impl RetryOnce {
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

/// Slow activities. Some are mocks of the sample's activities, under the same names.
#[derive(Clone, Default)]
pub struct SlowActivities {
    /// Whether a second attempt was cancelled.
    cancelled: Arc<AtomicBool>,
    /// Time limits of each attempt: since it was scheduled, and since it started.
    limits: Arc<Mutex<Vec<(Duration, Duration)>>>,
}

impl SlowActivities {
    /// Fails the first attempt after `first`. Returns the number of a later attempt after `later`.
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
            // An attempt may start after its deadline: see `a_schedule_to_close_timeout_is_lost_in_the_wait`.
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
        .register_workflow::<RetryOnce>()?
        .register_workflow::<LocalActivityWorkflow>()?
        .register_workflow::<LocalRetryWorkflow>()?
        .register_activities(activities)
        .build())
}

/// Outcome of [`RetryOnce`].
struct Outcome {
    /// Number of the attempt that succeeded, or the reason why none did.
    result: Result<u32, String>,
    /// Failures that [`chain`] found in the error, if there is an error.
    causes: Vec<String>,
    /// Whether the second attempt was cancelled.
    cancelled: bool,
    /// Number of the workflow's timers that fired.
    timers: usize,
}

/// Returns the failure of a workflow and its causes, one line each.
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

async fn run_plan(plan: Plan) -> anyhow::Result<Outcome> {
    let activities = SlowActivities::default();
    let mut outcome = None;
    let slow = activities.clone();
    with_worker(
        |task_queue| options(task_queue, slow),
        async |env| {
            let handle = env
                .client
                .start_workflow(RetryOnce::run, plan.into(), env.start_options())
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
    outcome.context("the test did not run")
}

/// Returns a plan in which the first attempt fails after 2 s, before its timeout of 3 s, and the second attempt
/// takes 1.5 s.
fn start_to_close() -> Plan {
    Plan {
        start_to_close: Some(3000),
        first_attempt: 2000,
        wait: 100,
        second_attempt: 1500,
        ..Default::default()
    }
}

/// The first fault: if the worker itself waits before a retry, the start-to-close timer of the failed attempt
/// keeps running, and cancels the next attempt long before its own time is up. When the SDK stops that timer,
/// this test fails, and the sample no longer needs its workaround.
#[tokio::test]
async fn a_failed_attempts_timer_cancels_the_next_attempt() -> anyhow::Result<()> {
    let outcome = run_plan(start_to_close()).await?;
    assert_eq!(outcome.timers, 0);
    assert!(outcome.cancelled);
    assert_eq!(
        outcome.result,
        Err("workflow failed: activity slow failed: Activity timed out".to_owned())
    );
    Ok(())
}

/// The workaround: if a timer of the workflow waits before each retry, every attempt has its full time.
#[tokio::test]
async fn with_timers_each_attempt_has_its_own_time() -> anyhow::Result<()> {
    let outcome = run_plan(Plan {
        timer_backoff_threshold: Some(0),
        ..start_to_close()
    })
    .await?;
    assert_eq!(outcome.timers, 1);
    assert!(!outcome.cancelled);
    assert_eq!(outcome.result, Ok(2));
    Ok(())
}

/// Returns a plan with a timeout (2 s) that is shorter than the first attempt and the wait after it (3 s).
fn schedule_to_close() -> Plan {
    Plan {
        schedule_to_close: Some(2000),
        first_attempt: 1000,
        wait: 2000,
        second_attempt: 100,
        ..Default::default()
    }
}

/// The second fault: a schedule-to-close timeout that runs out while the worker itself waits is lost. When the
/// SDK respects it, this test fails, and the README no longer needs the warning.
#[tokio::test]
async fn a_schedule_to_close_timeout_is_lost_in_the_wait() -> anyhow::Result<()> {
    let outcome = run_plan(schedule_to_close()).await?;
    assert_eq!(outcome.timers, 0);
    assert_eq!(outcome.result, Ok(2));
    Ok(())
}

/// With timers of the workflow the timeout works. But it shows the third fault: if a local activity runs out of
/// time, the failure of its last attempt is lost. When the SDK keeps that failure, this test fails, and the
/// workflows no longer need to limit their attempts.
#[tokio::test]
async fn with_timers_a_schedule_to_close_timeout_works() -> anyhow::Result<()> {
    let outcome = run_plan(Plan {
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

/// The sample's retries inside the worker: a failed attempt of 1.4 s does not shorten the next attempt, which
/// succeeds after 1.5 s. All attempts together may take a minute.
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

/// The sample's start-to-close timeout of two seconds: a second attempt that starts 1.1 s after the first one
/// also has two seconds, and succeeds after 1.2 s.
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
