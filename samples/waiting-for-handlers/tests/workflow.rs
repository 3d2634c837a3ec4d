//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, ensure};
use futures::future::join;
use serde_json::{Value, json};
use shared::{describe, was_rejected};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use temporalio_client::{
    Client, UntypedQuery, UntypedUpdate, UntypedWorkflow, WorkflowHandle, WorkflowUpdateHandle,
    errors::{WorkflowGetResultError, WorkflowUpdateError},
};
use temporalio_common::{
    data_converters::{PayloadConverter, RawValue},
    protos::temporal::api::{
        enums::v1::EventType::{
            ActivityTaskCancelRequested, ActivityTaskScheduled, WorkflowExecutionCancelRequested,
            WorkflowTaskCompleted,
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
    TestEnv, activity_types, bad_input, event_types, events, eventually, forget_cache, raw_json,
    until, with_worker,
};
use tokio::time::sleep;
use waiting_for_handlers::{
    activities::HandlerActivities,
    worker_options,
    workflows::{WaitingForHandlersAndCompensationWorkflow, WaitingForHandlersWorkflow},
};

// As in the wire contract: clients in other languages send these names.
const WAITING: &str = "WaitingForHandlersWorkflow";
const COMPENSATING: &str = "WaitingForHandlersAndCompensationWorkflow";
const DO_UPDATE: &str = "activity_executed_by_update_handler";
const UNDO_UPDATE: &str = "activity_executed_by_update_handler_to_perform_compensation";
const UNDO_WORKFLOW: &str = "activity_executed_to_perform_workflow_compensation";

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
const CANCELLATION: u8 = 2;

/// A workflow of either type, to which clients in other languages talk like this.
type Handle = WorkflowHandle<Client, UntypedWorkflow>;
type Update = WorkflowUpdateHandle<Client, RawValue>;

/// The worker's options, with fast activities.
fn options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    let work_time = Duration::from_millis(5);
    worker_options(task_queue, HandlerActivities { work_time })
}

/// Activities that end when a test lets them. The work of the update can fail.
#[derive(Clone, Default)]
pub struct SlowActivities {
    done: Arc<AtomicBool>,
    fails: bool,
    undone: Arc<AtomicBool>,
}

#[activities]
impl SlowActivities {
    #[activity(name = "activity_executed_by_update_handler")]
    pub async fn do_update(self: Arc<Self>, ctx: ActivityContext) -> Result<(), ActivityError> {
        opened(&self.done, &ctx).await?;
        match self.fails {
            true => Err(ApplicationFailure::non_retryable(anyhow::anyhow!("no paper")).into()),
            false => Ok(()),
        }
    }

    #[activity(name = "activity_executed_by_update_handler_to_perform_compensation")]
    pub async fn undo_update(_ctx: ActivityContext) -> Result<(), ActivityError> {
        Ok(())
    }

    #[activity(name = "activity_executed_to_perform_workflow_compensation")]
    pub async fn undo_workflow(self: Arc<Self>, ctx: ActivityContext) -> Result<(), ActivityError> {
        opened(&self.undone, &ctx).await
    }
}

/// Waits until a test opens the gate, or the worker shuts down.
async fn opened(gate: &AtomicBool, ctx: &ActivityContext) -> Result<(), ActivityError> {
    while !gate.load(Ordering::Relaxed) {
        if ctx.is_cancelled() {
            return Err(ActivityError::cancelled());
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn open(gate: &AtomicBool) {
    gate.store(true, Ordering::Relaxed);
}

impl SlowActivities {
    /// The worker's options with these activities.
    fn options(&self, task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
        Ok(WorkerOptions::new(task_queue)
            .graceful_shutdown_period(Duration::ZERO)
            .register_workflow::<WaitingForHandlersWorkflow>()?
            .register_workflow::<WaitingForHandlersAndCompensationWorkflow>()?
            .register_activities(self.clone())
            .build())
    }
}

async fn start(env: &TestEnv, workflow_type: &str, exit_type: u8) -> anyhow::Result<Handle> {
    env.start_json(workflow_type, &[json!({"exit_type": exit_type})])
        .await
}

async fn start_update(workflow: &Handle) -> Result<Update, WorkflowUpdateError> {
    let update = UntypedUpdate::new("my_update");
    workflow
        .start_update(update, raw_json(&[]), Default::default())
        .await
}

/// Returns the result of an update or a workflow.
fn value(result: RawValue) -> Value {
    result.to_value(&PayloadConverter::default())
}

/// Returns how an update ends.
async fn outcome(update: &Update) -> String {
    match update.get_result(Default::default()).await {
        Ok(result) => value(result).to_string(),
        Err(error) => describe(&error),
    }
}

/// Returns how a workflow ends.
async fn end(workflow: &Handle) -> String {
    match workflow.get_result(Default::default()).await {
        Ok(result) => value(result).to_string(),
        Err(WorkflowGetResultError::Cancelled { .. }) => "cancelled".to_owned(),
        Err(error) => describe(&error),
    }
}

/// Returns whether the update has compensated, and whether the workflow has.
async fn compensated(workflow: &Handle) -> anyhow::Result<(bool, bool)> {
    let ask = async |query| {
        let query = UntypedQuery::new(query);
        let answer = workflow.query(query, raw_json(&[]), Default::default());
        anyhow::Ok(value(answer.await?) == json!(true))
    };
    let update = ask("update_compensation_done").await?;
    Ok((update, ask("workflow_compensation_done").await?))
}

/// Returns what the history says about activities, updates and the end, in order.
async fn steps(workflow: &Handle) -> anyhow::Result<Vec<String>> {
    let (mut steps, mut activities) = (Vec::new(), HashMap::new());
    for event in events(workflow).await? {
        let step = match event.attributes.context("an empty event")? {
            Attributes::ActivityTaskScheduledEventAttributes(scheduled) => {
                let kind = scheduled.activity_type.unwrap_or_default().name;
                activities.insert(event.event_id, kind.clone());
                format!("begin {kind}")
            }
            Attributes::ActivityTaskCompletedEventAttributes(completed) => {
                format!("end {}", activities[&completed.scheduled_event_id])
            }
            Attributes::ActivityTaskFailedEventAttributes(failed) => {
                format!("fail {}", activities[&failed.scheduled_event_id])
            }
            Attributes::ActivityTaskCancelRequestedEventAttributes(cancelled) => {
                format!("cancel {}", activities[&cancelled.scheduled_event_id])
            }
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(_) => "accept".to_owned(),
            Attributes::WorkflowExecutionUpdateCompletedEventAttributes(_) => "answer".to_owned(),
            Attributes::WorkflowExecutionCancelRequestedEventAttributes(_) => "cancel".to_owned(),
            Attributes::WorkflowExecutionCompletedEventAttributes(_) => "COMPLETED".to_owned(),
            Attributes::WorkflowExecutionFailedEventAttributes(_) => "FAILED".to_owned(),
            Attributes::WorkflowExecutionCanceledEventAttributes(_) => "CANCELED".to_owned(),
            _ => continue,
        };
        steps.push(step);
    }
    Ok(steps)
}

/// Waits until the worker has handled the cancellation.
async fn until_cancel_seen(workflow: &Handle) -> anyhow::Result<()> {
    eventually("a workflow task after the cancellation", async || {
        let events = event_types(workflow).await?;
        let mut later = events
            .iter()
            .skip_while(|event| **event != WorkflowExecutionCancelRequested);
        let seen = later.any(|event| *event == WorkflowTaskCompleted);
        Ok(seen.then_some(()))
    })
    .await
}

/// Starts a workflow for each exit, with an update, and cancels the last one while the activity of its update runs.
async fn start_all(env: &TestEnv, workflow_type: &str) -> anyhow::Result<Vec<(Handle, Update)>> {
    let mut started = Vec::new();
    for exit_type in [SUCCESS, FAILURE, CANCELLATION] {
        let workflow = start(env, workflow_type, exit_type).await?;
        let update = start_update(&workflow).await?;
        if exit_type == CANCELLATION {
            until(&workflow, ActivityTaskScheduled).await?;
            workflow.cancel(Default::default()).await?;
            until_cancel_seen(&workflow).await?;
        }
        started.push((workflow, update));
    }
    Ok(started)
}

/// Whether the workflow completes, fails or is cancelled: the update gets its result, and the workflow ends after that.
/// A cancellation does not reach the activity of the update.
#[tokio::test]
async fn the_update_finishes_before_each_end() -> anyhow::Result<()> {
    let activities = SlowActivities::default();
    with_worker(
        |queue| activities.options(queue),
        async |env| {
            let started = start_all(&env, WAITING).await?;
            open(&activities.done);
            let cases = [
                (r#"{"data":"workflow-result"}"#, "COMPLETED"),
                (
                    "workflow failed: deliberately failing workflow (Deliberate)",
                    "FAILED",
                ),
                ("cancelled", "CANCELED"),
            ];
            for ((workflow, update), (ends, last)) in started.iter().zip(cases) {
                assert_eq!(outcome(update).await, r#""update-result""#);
                assert_eq!(end(workflow).await, ends);
                let mut steps = steps(workflow).await?;
                steps.retain(|step| step != "cancel");
                let [begin, end] = ["begin", "end"].map(|step| format!("{step} {DO_UPDATE}"));
                assert_eq!(steps, ["accept", &begin, &end, "answer", last]);
            }
            Ok(())
        },
    )
    .await
}

/// If the workflow completes, nothing is compensated. If it fails or is cancelled, the order is: the work of the update
/// ends, the update compensates, its caller learns about it, the workflow compensates, and ends.
#[tokio::test]
async fn compensates_in_order() -> anyhow::Result<()> {
    let activities = SlowActivities::default();
    with_worker(
        |queue| activities.options(queue),
        async |env| {
            let started = start_all(&env, COMPENSATING).await?;
            // The activity may still be doing its work, so the compensation does not begin.
            let (cancelled, _) = started.last().context("three workflows")?;
            until(cancelled, ActivityTaskCancelRequested).await?;
            assert_eq!(activity_types(cancelled).await?, [DO_UPDATE]);
            assert_eq!(compensated(cancelled).await?, (false, false));
            open(&activities.done);

            let exited = |reason| {
                format!(
                    "update failed: The update failed because the workflow run exited (WorkflowExited): {reason}"
                )
            };
            let step = |step, activity| format!("{step} {activity}");
            let work = [step("begin", DO_UPDATE), step("end", DO_UPDATE)];
            let undo = [
                step("begin", UNDO_UPDATE),
                step("end", UNDO_UPDATE),
                "answer".to_owned(),
                step("begin", UNDO_WORKFLOW),
                step("end", UNDO_WORKFLOW),
            ];
            // The update has compensated, and the workflow has not.
            for (workflow, update) in &started[1..] {
                outcome(update).await;
                assert_eq!(compensated(workflow).await?, (true, false));
            }
            open(&activities.undone);
            let cases = [
                (
                    r#""update-result""#.to_owned(),
                    r#"{"data":"workflow-result"}"#,
                    [&work[..], &["answer".to_owned(), "COMPLETED".to_owned()]].concat(),
                ),
                (
                    exited("Workflow failed: deliberately failing workflow"),
                    "workflow failed: deliberately failing workflow (Deliberate)",
                    // The activity is cancelled in the workflow task that schedules it, so it never begins.
                    [&undo[..], &["FAILED".to_owned()]].concat(),
                ),
                (
                    exited("Workflow cancelled"),
                    "cancelled",
                    [
                        &[step("begin", DO_UPDATE), "cancel".to_owned()],
                        &[step("cancel", DO_UPDATE), step("end", DO_UPDATE)],
                        &undo[..],
                        &["CANCELED".to_owned()],
                    ]
                    .concat(),
                ),
            ];
            for ((workflow, update), (answer, ends, expected)) in started.iter().zip(cases) {
                assert_eq!(outcome(update).await, answer);
                assert_eq!(end(workflow).await, ends);
                let steps = steps(workflow).await?;
                assert_eq!(steps[0], "accept");
                assert_eq!(steps[1..], expected);
                let exits = expected.last().is_some_and(|last| last != "COMPLETED");
                assert_eq!(compensated(workflow).await?, (exits, exits));
            }
            Ok(())
        },
    )
    .await
}

/// An update that arrives while the workflow compensates is rejected. Otherwise it would begin its work, and the end of
/// the workflow would abort it.
#[tokio::test]
async fn rejects_an_update_while_it_compensates() -> anyhow::Result<()> {
    let activities = SlowActivities::default();
    with_worker(
        |queue| activities.options(queue),
        async |env| {
            let workflow = start(&env, COMPENSATING, FAILURE).await?;
            let update = start_update(&workflow).await?;
            outcome(&update).await;
            let late = start_update(&workflow).await?;
            assert_eq!(
                outcome(&late).await,
                "update failed: The workflow run is about to exit (WorkflowExited): \
                 Workflow failed: deliberately failing workflow"
            );
            assert!(was_rejected(&env.client, &late).await?);
            assert!(!was_rejected(&env.client, &update).await?);
            open(&activities.undone);
            assert!(end(&workflow).await.contains("deliberately"));
            Ok(())
        },
    )
    .await
}

/// An update that arrives while the workflow waits for another one is served, too.
#[tokio::test]
async fn serves_an_update_while_it_waits() -> anyhow::Result<()> {
    let activities = SlowActivities::default();
    with_worker(
        |queue| activities.options(queue),
        async |env| {
            for workflow_type in [WAITING, COMPENSATING] {
                activities.done.store(false, Ordering::Relaxed);
                let workflow = start(&env, workflow_type, SUCCESS).await?;
                let first = start_update(&workflow).await?;
                let second = start_update(&workflow).await?;
                open(&activities.done);
                for update in [first, second] {
                    assert_eq!(outcome(&update).await, r#""update-result""#);
                }
                assert_eq!(end(&workflow).await, r#"{"data":"workflow-result"}"#);
            }
            Ok(())
        },
    )
    .await
}

/// If the work of the update fails, its caller learns why. The second workflow compensates that update alone. Both
/// complete.
#[tokio::test]
async fn the_work_of_an_update_fails() -> anyhow::Result<()> {
    let activities = SlowActivities {
        fails: true,
        ..Default::default()
    };
    open(&activities.done);
    with_worker(
        |queue| activities.options(queue),
        async |env| {
            for (workflow_type, activities) in [
                (WAITING, &[DO_UPDATE][..]),
                (COMPENSATING, &[DO_UPDATE, UNDO_UPDATE]),
            ] {
                let workflow = start(&env, workflow_type, SUCCESS).await?;
                let update = start_update(&workflow).await?;
                let failure = outcome(&update).await;
                ensure!(failure.contains("no paper"), "{failure}");
                assert_eq!(end(&workflow).await, r#"{"data":"workflow-result"}"#);
                assert_eq!(activity_types(&workflow).await?, activities);
            }
            Ok(())
        },
    )
    .await
}

/// An update that arrives with the first workflow task counts, because its handler runs before the first line of `run`.
#[tokio::test]
async fn an_update_before_the_first_task() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    for workflow_type in [WAITING, COMPENSATING] {
        let workflow = start(&env, workflow_type, SUCCESS).await?;
        let updating = async {
            let update = start_update(&workflow).await?;
            anyhow::Ok(outcome(&update).await)
        };
        let working = env.work(options, async {
            assert_eq!(end(&workflow).await, r#"{"data":"workflow-result"}"#);
            Ok(())
        });
        let (updated, worked) = join(updating, working).await;
        worked?;
        assert_eq!(updated?, r#""update-result""#);
    }
    Ok(())
}

/// Another worker rebuilds the state from the history, in the middle of an update. The update finishes or compensates.
#[tokio::test]
async fn another_worker_goes_on() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let without_activities = |queue: &str| {
        let options = WorkerOptions::new(queue)
            .register_workflow::<WaitingForHandlersWorkflow>()?
            .register_workflow::<WaitingForHandlersAndCompensationWorkflow>()?;
        Ok::<_, WorkflowRegistrationError>(options.build())
    };
    let mut started = Vec::new();
    env.work(without_activities, async {
        started = start_all(&env, WAITING).await?;
        started.extend(start_all(&env, COMPENSATING).await?);
        Ok(())
    })
    .await?;
    for (workflow, _) in &started {
        forget_cache(&env.client, &workflow.info().workflow_id).await?;
    }
    env.work(options, async {
        for ((workflow, update), (answers, last)) in started.iter().zip([
            (true, "COMPLETED"),
            (true, "FAILED"),
            (true, "CANCELED"),
            (true, "COMPLETED"),
            (false, "FAILED"),
            (false, "CANCELED"),
        ]) {
            let outcome = outcome(update).await;
            assert_eq!(outcome == r#""update-result""#, answers, "{outcome}");
            end(workflow).await;
            let steps = steps(workflow).await?;
            assert_eq!(steps.last().map(String::as_str), Some(last));
            let undone = |step: &&String| step.starts_with("end") && step.contains("compensation");
            let undone = steps.iter().filter(undone).count();
            assert_eq!(undone, if answers { 0 } else { 2 }, "{steps:?}");
        }
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED, and the second one compensates.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    for (workflow_type, activities) in [(WAITING, &[][..]), (COMPENSATING, &[UNDO_WORKFLOW])] {
        let workflow = start(&env, workflow_type, SUCCESS).await?;
        env.ends_cancelled(&workflow, options).await?;
        assert_eq!(activity_types(&workflow).await?, activities);
    }
    Ok(())
}

/// Input that does not decode fails the workflow, and the failure names the field. Neither the update nor the queries
/// take an argument, and they ignore any that they get.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let cases = [
            (vec![], "the argument is missing"),
            (vec![json!({})], "missing field `exit_type`"),
            (
                vec![json!({"exit_type": 3})],
                "`exit_type`: 3 is not an exit type, send 0, 1 or 2",
            ),
            (
                vec![json!({"exit_type": "SUCCESS"})],
                "`exit_type`: invalid type: string \"SUCCESS\", expected u8",
            ),
        ];
        for (arguments, reason) in cases {
            for workflow_type in [WAITING, COMPENSATING] {
                let workflow: Handle = env.start_json(workflow_type, &arguments).await?;
                assert_eq!(bad_input(&workflow).await?, reason);
            }
        }
        let workflow = start(&env, COMPENSATING, SUCCESS).await?;
        let update = UntypedUpdate::new("my_update");
        let anything = || raw_json(&[json!({"now": true}), json!(1)]);
        let updated = workflow.execute_update(update, anything(), Default::default());
        assert_eq!(value(updated.await?), json!("update-result"));
        let query = UntypedQuery::new("workflow_compensation_done");
        let answer = workflow.query(query, anything(), Default::default());
        assert_eq!(value(answer.await?), json!(false));
        Ok(())
    })
    .await
}
