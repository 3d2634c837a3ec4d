//! Runs the workflows on a real server, with the `worker_options` of the worker binary or with mocks of the activities.

use anyhow::Context;
use futures::future::{try_join, try_join_all, try_join3};
use serde_json::{Value, json};
use shared::describe;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowHandle, WorkflowStartOptions, errors::WorkflowGetResultError,
};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::{
        enums::v1::EventType::{
            self, ActivityTaskCancelRequested, ActivityTaskCanceled, ActivityTaskCompleted,
            ActivityTaskScheduled, TimerCanceled, TimerFired, TimerStarted,
            WorkflowExecutionCanceled, WorkflowExecutionFailed,
        },
        history::v1::history_event::Attributes,
    },
};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions, WorkflowRegistrationError,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, event_types, events, raw_json, until, with_worker,
};
use timers::{
    activities::OrderActivities,
    worker_options,
    workflows::{
        ActivityDeadlineWorkflow, CancellationScopeResult, CancellationScopeWorkflow,
        ProcessOrderWorkflow, ProgressWorkflow, SampleTimerWorkflow, WorkflowDeadlineWorkflow,
    },
};
use tokio::time::sleep;

type Handle<W> = WorkflowHandle<Client, W>;

/// A time that no test reaches, in milliseconds.
const LONG: u64 = 600_000;

/// A time that passes during a test, in milliseconds.
const SHORT: u64 = 300;

/// A time that passes after the first worker has stopped, in milliseconds.
const LATER: u64 = 3000;

/// Work of this many milliseconds is done at once.
const DONE: u64 = 1;

/// Work of this many milliseconds fails at once.
const FAILS: u64 = 2;

/// Work of this many milliseconds is done when it should be cancelled.
const DEAF: u64 = 3;

/// The worker's options, with the real activities.
pub fn options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    worker_options(task_queue, OrderActivities::default())
}

/// Activities that need no time, unless a test wants that.
#[derive(Clone, Default)]
pub struct MockActivities {
    /// Whether an order waits for its e-mail.
    slow: bool,
    order_fails: bool,
    email_fails: bool,
    /// The workflows with an e-mail.
    sent: Arc<Mutex<Vec<Option<String>>>>,
}

#[activities]
impl MockActivities {
    #[activity(name = "processOrder")]
    pub async fn process_order(self: Arc<Self>, ctx: ActivityContext) -> Result<(), ActivityError> {
        while self.slow && !self.sent().contains(&ctx.info().workflow_id) {
            beat(&ctx).await?;
        }
        match self.order_fails {
            true => Err(failure("no such article")),
            false => Ok(()),
        }
    }

    #[activity(name = "sendNotificationEmail")]
    pub async fn send_notification_email(
        self: Arc<Self>,
        ctx: ActivityContext,
    ) -> Result<(), ActivityError> {
        self.sent().push(ctx.info().workflow_id.clone());
        match self.email_fails {
            true => Err(failure("no such address")),
            false => Ok(()),
        }
    }

    #[activity(name = "do_work")]
    pub async fn do_work(ctx: ActivityContext, milliseconds: u64) -> Result<(), ActivityError> {
        match milliseconds {
            DONE => Ok(()),
            FAILS => Err(failure("no such work")),
            _ => loop {
                match beat(&ctx).await {
                    Err(_) if milliseconds == DEAF => return Ok(()),
                    beat => beat?,
                }
            },
        }
    }

    #[activity(name = "clean_up")]
    pub async fn clean_up(_ctx: ActivityContext) -> Result<(), ActivityError> {
        Ok(())
    }
}

/// Sends a heartbeat. An error if the activity must stop.
async fn beat(ctx: &ActivityContext) -> Result<(), ActivityError> {
    ctx.record_heartbeat(()).await?;
    sleep(Duration::from_millis(20)).await;
    match ctx.is_cancelled() {
        true => Err(ActivityError::cancelled()),
        false => Ok(()),
    }
}

fn failure(message: &'static str) -> ActivityError {
    let failure = ApplicationFailure::builder(message).type_name("Unknown".to_owned());
    failure.non_retryable(true).build().into()
}

impl MockActivities {
    fn sent(&self) -> MutexGuard<'_, Vec<Option<String>>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker's options with these activities.
    fn options(&self, task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
        Ok(WorkerOptions::new(task_queue)
            .graceful_shutdown_period(Duration::ZERO)
            // Heartbeats are not held back, so that a cancellation arrives at once.
            .max_heartbeat_throttle_interval(Duration::from_millis(50))
            .register_workflow::<ProcessOrderWorkflow>()?
            .register_workflow::<SampleTimerWorkflow>()?
            .register_workflow::<ActivityDeadlineWorkflow>()?
            .register_workflow::<CancellationScopeWorkflow>()?
            .register_workflow::<WorkflowDeadlineWorkflow>()?
            .register_activities(self.clone())
            .build())
    }
}

async fn process_order(
    env: &TestEnv,
    email_ms: u64,
) -> anyhow::Result<Handle<ProcessOrderWorkflow>> {
    let input = json!({"orderProcessingMS": LONG, "sendDelayedEmailTimeoutMS": email_ms});
    env.start_json("processOrderWorkflow", &[input]).await
}

async fn activity_deadline(
    env: &TestEnv,
    work_ms: u64,
    deadline_ms: u64,
) -> anyhow::Result<Handle<ActivityDeadlineWorkflow>> {
    let input = json!({"work_ms": work_ms, "deadline_ms": deadline_ms});
    env.start_json("ActivityDeadlineWorkflow", &[input]).await
}

async fn scope(
    env: &TestEnv,
    work_ms: &[u64],
    deadline_ms: u64,
) -> anyhow::Result<Handle<CancellationScopeWorkflow>> {
    let input = json!({"work_ms": work_ms, "deadline_ms": deadline_ms});
    env.start_json("CancellationScopeWorkflow", &[input]).await
}

async fn workflow_deadline(
    env: &TestEnv,
    step_ms: u64,
    deadline_ms: u64,
) -> anyhow::Result<Handle<WorkflowDeadlineWorkflow>> {
    let input = json!({"steps": 2, "step_ms": step_ms, "deadline_ms": deadline_ms});
    env.start_json("WorkflowDeadlineWorkflow", &[input]).await
}

/// Returns the reason for which the workflow failed.
async fn reason<W: HasWorkflowDefinition>(handle: &Handle<W>) -> anyhow::Result<String> {
    let error = handle.get_result(Default::default()).await.err();
    Ok(describe(&error.context("the workflow completed")?))
}

/// Checks that a workflow ends as CANCELED.
async fn ends_cancelled<W: HasWorkflowDefinition>(handle: &Handle<W>) -> anyhow::Result<()> {
    let ended = handle.get_result(Default::default()).await.err();
    let ended = ended.context("the workflow completed")?;
    assert!(
        matches!(ended, WorkflowGetResultError::Cancelled { .. }),
        "{ended:?}"
    );
    Ok(())
}

/// Checks that the history has these events in this order, and other events between them.
async fn has_in_order<W: HasWorkflowDefinition>(
    handle: &Handle<W>,
    expected: &[EventType],
) -> anyhow::Result<()> {
    let history = event_types(handle).await?;
    let mut events = history.iter();
    for event in expected {
        assert!(events.any(|other| other == event), "{event:?}: {history:?}");
    }
    Ok(())
}

async fn has<W: HasWorkflowDefinition>(
    handle: &Handle<W>,
    event: EventType,
) -> anyhow::Result<bool> {
    Ok(event_types(handle).await?.contains(&event))
}

/// An order that is done before the timer fires needs no e-mail, and the timer is cancelled.
#[tokio::test]
async fn a_fast_order_needs_no_email() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let input = json!({"orderProcessingMS": 100, "sendDelayedEmailTimeoutMS": LONG});
        let handle: Handle<ProcessOrderWorkflow> =
            env.start_json("processOrderWorkflow", &[input]).await?;
        assert_eq!(
            handle.get_result(Default::default()).await?,
            "Order completed!"
        );
        assert_eq!(activity_types(&handle).await?, ["processOrder"]);
        has_in_order(&handle, &[TimerStarted, TimerCanceled]).await?;
        assert!(!has(&handle, TimerFired).await?);
        Ok(())
    })
    .await
}

/// While an order is slow, the timer fires and one e-mail is sent. The order is not cancelled, and the workflow waits for
/// it, whether the e-mail could be sent or not. Nanoseconds are nanoseconds.
#[tokio::test]
async fn a_slow_order_sends_one_email() -> anyhow::Result<()> {
    let slow = MockActivities {
        slow: true,
        ..Default::default()
    };
    let down = MockActivities {
        email_fails: true,
        ..slow.clone()
    };
    let with = async |activities: MockActivities| {
        with_worker(
            |queue| activities.options(queue),
            async |env| {
                let nanoseconds = json!(SHORT * 1_000_000);
                let order = process_order(&env, SHORT).await?;
                let sample: Handle<SampleTimerWorkflow> = env
                    .start_json("SampleTimerWorkflow", &[nanoseconds])
                    .await?;
                let result = order.get_result(Default::default()).await?;
                assert_eq!(result, "Order completed!");
                sample.get_result(Default::default()).await?;
                check_slow(&order, LONG).await?;
                check_slow(&sample, 10_000).await
            },
        )
        .await
    };
    try_join(with(slow), with(down)).await?;
    Ok(())
}

/// Checks the history of a slow order, and its limits.
async fn check_slow<W: HasWorkflowDefinition>(
    handle: &Handle<W>,
    limit_ms: u64,
) -> anyhow::Result<()> {
    let expected = ["processOrder", "sendNotificationEmail"];
    assert_eq!(activity_types(handle).await?, expected);
    has_in_order(handle, &[TimerStarted, TimerFired]).await?;
    assert!(!has(handle, ActivityTaskCancelRequested).await?);
    let mut limits = Vec::new();
    for event in events(handle).await? {
        match event.attributes {
            Some(Attributes::TimerStartedEventAttributes(timer)) => {
                assert_eq!(
                    timer.start_to_fire_timeout,
                    Duration::from_millis(SHORT).try_into().ok()
                );
            }
            Some(Attributes::ActivityTaskScheduledEventAttributes(activity)) => {
                let attempts = activity.retry_policy.unwrap_or_default().maximum_attempts;
                limits.push((activity.start_to_close_timeout, attempts));
            }
            _ => {}
        }
    }
    let limit = |ms, attempts| (Duration::from_millis(ms).try_into().ok(), attempts);
    assert_eq!(limits, [limit(limit_ms, 0), limit(300_000, 3)]);
    Ok(())
}

/// A failed order fails the workflow, before the e-mail or after it.
#[tokio::test]
async fn a_failed_order_fails_the_workflow() -> anyhow::Result<()> {
    let with = async |slow| {
        let activities = MockActivities {
            slow,
            order_fails: true,
            ..Default::default()
        };
        with_worker(
            |queue| activities.options(queue),
            async |env| {
                let patience = if slow { SHORT } else { LONG };
                let handle = process_order(&env, patience).await?;
                let reason = reason(&handle).await?;
                assert!(reason.ends_with("no such article (Unknown)"), "{reason}");
                let emails = activity_types(&handle).await?.len() - 1;
                assert_eq!(emails, usize::from(slow));
                assert_eq!(has(&handle, TimerCanceled).await?, !slow);
                Ok(())
            },
        )
        .await
    };
    try_join(with(false), with(true)).await?;
    Ok(())
}

/// At the deadline the activity is cancelled, and the workflow waits for its end and goes on. Work that is done in time,
/// or although it was cancelled, counts.
#[tokio::test]
async fn an_activity_has_a_deadline() -> anyhow::Result<()> {
    let activities = MockActivities::default();
    with_worker(
        |queue| activities.options(queue),
        async |env| {
            let late = activity_deadline(&env, LONG, SHORT).await?;
            let deaf = activity_deadline(&env, DEAF, SHORT).await?;
            let done = activity_deadline(&env, DONE, LONG).await?;
            let failed = activity_deadline(&env, FAILS, LONG).await?;
            assert_eq!(done.get_result(Default::default()).await?, "done");
            has_in_order(&done, &[TimerStarted, TimerCanceled]).await?;
            let reason = reason(&failed).await?;
            assert!(reason.ends_with("no such work (Unknown)"), "{reason}");
            assert!(has(&failed, TimerCanceled).await?);
            assert_eq!(
                late.get_result(Default::default()).await?,
                "stopped at the deadline"
            );
            let expected = [
                TimerFired,
                ActivityTaskCancelRequested,
                ActivityTaskCanceled,
            ];
            has_in_order(&late, &expected).await?;
            let result = deaf.get_result(Default::default()).await?;
            // On a busy machine, the deadline may come before the activity has begun.
            let done = has(&deaf, ActivityTaskCompleted).await?;
            assert_eq!(result == "done", done, "{result}");
            has_in_order(&deaf, &[TimerFired, ActivityTaskCancelRequested]).await
        },
    )
    .await
}

/// The deadline, or the first failure, cancels all activities of the group that still run. The workflow waits for their
/// end, and is not cancelled itself.
#[tokio::test]
async fn a_group_is_cancelled_together() -> anyhow::Result<()> {
    let activities = MockActivities::default();
    with_worker(
        |queue| activities.options(queue),
        async |env| {
            let late = scope(&env, &[DONE, LONG, DEAF, LONG], SHORT).await?;
            let failed = scope(&env, &[LONG, FAILS, LONG], LONG).await?;
            let done = scope(&env, &[DONE, DONE], LONG).await?;
            let empty = scope(&env, &[], LONG).await?;
            let result = |done, stopped| CancellationScopeResult { done, stopped };
            assert_eq!(done.get_result(Default::default()).await?, result(2, 0));
            assert!(has(&done, TimerCanceled).await?);
            assert_eq!(empty.get_result(Default::default()).await?, result(0, 0));
            let expected = [TimerFired, ActivityTaskCanceled, ActivityTaskCanceled];
            let ended = late.get_result(Default::default()).await?;
            has_in_order(&late, &expected).await?;
            // On a busy machine, the deadline may come before the others have begun.
            let events = event_types(&late).await?;
            let count = |event| events.iter().filter(|other| **other == event).count();
            let expected = result(count(ActivityTaskCompleted), count(ActivityTaskCanceled));
            assert_eq!(ended, expected);
            assert_eq!(ended.done + ended.stopped, 4);
            let reason = reason(&failed).await?;
            assert!(reason.ends_with("no such work (Unknown)"), "{reason}");
            let ended = [
                ActivityTaskCanceled,
                ActivityTaskCanceled,
                WorkflowExecutionFailed,
            ];
            has_in_order(&failed, &ended).await
        },
    )
    .await
}

/// A workflow that does not get to its end cleans up after its activity has ended: at the deadline, after a failure, and
/// when it is cancelled. It ends accordingly.
#[tokio::test]
async fn a_workflow_cleans_up() -> anyhow::Result<()> {
    let activities = MockActivities::default();
    with_worker(
        |queue| activities.options(queue),
        async |env| {
            let late = workflow_deadline(&env, LONG, SHORT).await?;
            let cancelled = workflow_deadline(&env, LONG, LONG).await?;
            let failed = workflow_deadline(&env, FAILS, LONG).await?;
            let done = workflow_deadline(&env, DONE, LONG).await?;
            until(&cancelled, TimerStarted).await?;
            cancelled.cancel(Default::default()).await?;

            assert_eq!(done.get_result(Default::default()).await?, "done");
            assert_eq!(activity_types(&done).await?, ["do_work", "do_work"]);
            let failure = reason(&failed).await?;
            assert!(failure.ends_with("no such work (Unknown)"), "{failure}");
            assert!(has(&failed, TimerCanceled).await?);
            let failure = "workflow failed: not done within 300 ms (DeadlineExceeded)";
            assert_eq!(reason(&late).await?, failure);
            ends_cancelled(&cancelled).await?;
            for handle in [&failed, &late, &cancelled] {
                assert_eq!(activity_types(handle).await?, ["do_work", "clean_up"]);
            }
            let cleaned_up = [ActivityTaskCanceled, ActivityTaskScheduled];
            has_in_order(&late, &cleaned_up).await?;
            has_in_order(&cancelled, &cleaned_up).await?;
            assert!(has(&cancelled, TimerCanceled).await?);
            Ok(())
        },
    )
    .await
}

/// The server's own limit ends a workflow without cleanup. So the deadline of the workflow must come first.
#[tokio::test]
async fn an_execution_timeout_leaves_no_time_to_clean_up() -> anyhow::Result<()> {
    let activities = MockActivities::default();
    with_worker(
        |queue| activities.options(queue),
        async |env| {
            let id = env.start_options().workflow_id;
            let options = WorkflowStartOptions::new(env.task_queue.clone(), id.clone())
                .execution_timeout(Duration::from_secs(1));
            let input = json!({"steps": 1, "step_ms": LONG, "deadline_ms": LONG});
            let workflow = UntypedWorkflow::new("WorkflowDeadlineWorkflow");
            let input = raw_json(&[input]);
            let handle = env.client.start_workflow(workflow, input, options.build());
            let handle = handle.await?;
            let ended = handle.get_result(Default::default()).await;
            assert!(
                matches!(ended, Err(WorkflowGetResultError::TimedOut)),
                "{ended:?}"
            );
            let types = activity_types(&handle).await?;
            assert!(!types.contains(&"clean_up".to_owned()), "{types:?}");
            Ok(())
        },
    )
    .await
}

/// A cancelled workflow waits for the end of its activities and ends CANCELED. Its timer is cancelled, too.
#[tokio::test]
async fn cancelled_while_it_waits() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let order = process_order(&env, LONG).await?;
        let activity = activity_deadline(&env, LONG, LONG).await?;
        let group = scope(&env, &[LONG, LONG], LONG).await?;
        let ends = async |id: &str| {
            let handle = env.client.get_workflow_handle::<UntypedWorkflow>(id);
            until(&handle, TimerStarted).await?;
            handle.cancel(Default::default()).await?;
            ends_cancelled(&handle).await?;
            let expected = [
                ActivityTaskCanceled,
                TimerCanceled,
                WorkflowExecutionCanceled,
            ];
            has_in_order(&handle, &expected).await
        };
        try_join3(
            ends(&order.info().workflow_id),
            ends(&activity.info().workflow_id),
            ends(&group.info().workflow_id),
        )
        .await?;
        let progress: Handle<ProgressWorkflow> = env.start_json("progress", &[]).await?;
        until(&progress, TimerStarted).await?;
        progress.cancel(Default::default()).await?;
        ends_cancelled(&progress).await
    })
    .await
}

/// No worker runs while the workflow is cancelled and then its timer fires, so that a worker learns about both at once.
/// With a timer on the workflow's own token, the workflow would never end.
#[tokio::test]
async fn cancelled_when_the_timer_fires() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let activity = activity_deadline(&env, LONG, LATER).await?;
    let group = scope(&env, &[LONG], LATER).await?;
    let workflow = workflow_deadline(&env, LONG, LATER).await?;
    let order = process_order(&env, LATER).await?;
    let handles = [
        &activity.info().workflow_id,
        &group.info().workflow_id,
        &workflow.info().workflow_id,
        &order.info().workflow_id,
    ]
    .map(|id| env.client.get_workflow_handle::<UntypedWorkflow>(id));
    let started = async {
        for handle in &handles {
            until(handle, TimerStarted).await?;
        }
        Ok(())
    };
    // Without activities, so that none has to be stopped with the worker.
    let workflows_only = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let options = WorkerOptions::new(queue)
            .register_workflow::<ProcessOrderWorkflow>()?
            .register_workflow::<ActivityDeadlineWorkflow>()?
            .register_workflow::<CancellationScopeWorkflow>()?
            .register_workflow::<WorkflowDeadlineWorkflow>()?;
        Ok(options.build())
    };
    env.work(workflows_only, started).await?;
    for handle in &handles {
        handle.cancel(Default::default()).await?;
    }
    for handle in &handles {
        until(handle, TimerFired).await?;
    }
    let ended = async {
        try_join_all(handles.iter().map(ends_cancelled)).await?;
        Ok(())
    };
    env.work(options, ended).await
}

/// Workflows that are cancelled before a worker has seen them end CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let order = process_order(&env, LONG).await?;
    let group = scope(&env, &[LONG], LONG).await?;
    let workflow = workflow_deadline(&env, LONG, LONG).await?;
    let activity = activity_deadline(&env, LONG, LONG).await?;
    order.cancel(Default::default()).await?;
    activity.cancel(Default::default()).await?;
    group.cancel(Default::default()).await?;
    workflow.cancel(Default::default()).await?;
    env.work(options, async {
        ends_cancelled(&order).await?;
        ends_cancelled(&activity).await?;
        ends_cancelled(&group).await?;
        ends_cancelled(&workflow).await
    })
    .await
}

/// The longest times that fit into the input neither fail nor block a workflow: the server shortens them to 100 years.
#[tokio::test]
async fn takes_any_time() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let longest = u64::MAX;
        let order: Handle<ProcessOrderWorkflow> = env
            .start_json(
                "processOrderWorkflow",
                &[json!({"orderProcessingMS": longest, "sendDelayedEmailTimeoutMS": longest})],
            )
            .await?;
        let activity = activity_deadline(&env, longest, longest).await?;
        until(&order, TimerStarted).await?;
        until(&activity, TimerStarted).await?;
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60)
            .try_into()
            .ok();
        for event in events(&order).await? {
            if let Some(Attributes::TimerStartedEventAttributes(timer)) = event.attributes {
                assert_eq!(timer.start_to_fire_timeout, century);
            }
        }
        order.terminate(Default::default()).await?;
        activity.terminate(Default::default()).await?;
        let shortest: Handle<SampleTimerWorkflow> =
            env.start_json("SampleTimerWorkflow", &[json!(1)]).await?;
        until(&shortest, TimerFired).await?;
        shortest.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}

/// Input that does not decode fails the workflow at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let nonzero = "invalid value: integer `0`, expected a nonzero u64";
        let cases: [(&str, Vec<Value>, String); 9] = [
            (
                "processOrderWorkflow",
                vec![],
                "the argument is missing".to_owned(),
            ),
            (
                "processOrderWorkflow",
                vec![json!({"orderProcessingMS": 1})],
                "missing field `sendDelayedEmailTimeoutMS`".to_owned(),
            ),
            (
                "processOrderWorkflow",
                vec![json!({"orderProcessingMS": 0, "sendDelayedEmailTimeoutMS": 1})],
                format!("`orderProcessingMS`: {nonzero}"),
            ),
            (
                "processOrderWorkflow",
                vec![json!({"orderProcessingMS": 1, "sendDelayedEmailTimeoutMS": "1s"})],
                "`sendDelayedEmailTimeoutMS`: invalid type: string \"1s\", expected a nonzero u64"
                    .to_owned(),
            ),
            ("SampleTimerWorkflow", vec![json!(0)], nonzero.to_owned()),
            (
                "ActivityDeadlineWorkflow",
                vec![json!({"work_ms": 1, "deadline_ms": 0})],
                format!("`deadline_ms`: {nonzero}"),
            ),
            (
                "CancellationScopeWorkflow",
                vec![json!({"work_ms": [1, 0], "deadline_ms": 1})],
                format!("`work_ms[1]`: {nonzero}"),
            ),
            (
                "CancellationScopeWorkflow",
                vec![json!({"work_ms": vec![1; 101], "deadline_ms": 1})],
                "`work_ms`: 101 items, and at most 100 fit into one workflow's history".to_owned(),
            ),
            (
                "WorkflowDeadlineWorkflow",
                vec![json!({"steps": 256, "step_ms": 1, "deadline_ms": 1})],
                "`steps`: invalid value: integer `256`, expected u8".to_owned(),
            ),
        ];
        for (workflow_type, arguments, reason) in cases {
            let handle: Handle<ProcessOrderWorkflow> =
                env.start_json(workflow_type, &arguments).await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        Ok(())
    })
    .await
}
