//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, bail, ensure};
use child_workflow::{
    close_policy::{ClosePolicy, LeavingParentWorkflow},
    many::{GreetEachWorkflow, GreetManyWorkflow, Outcome},
    worker_options,
    workflows::{
        AdvancedParentWorkflow, ComposeGreetingInput, ComposeGreetingWorkflow, GreetingWorkflow,
    },
};
use clap::ValueEnum;
use serde_json::{Value, json};
use shared::{Input, MAX_INPUT, MAX_RESULT, describe};
use std::time::Duration;
use temporalio_client::{
    Client, UntypedSignal, UntypedWorkflow, WorkflowExecutionInfo, WorkflowHandle,
    errors::WorkflowGetResultError,
};
use temporalio_common::{
    HasWorkflowDefinition,
    error::{IncomingError, RetryState},
    protos::temporal::api::{
        enums::v1::{
            EventType::{
                self, ChildWorkflowExecutionCanceled, ChildWorkflowExecutionCompleted,
                ChildWorkflowExecutionFailed, ChildWorkflowExecutionStarted,
                ChildWorkflowExecutionTerminated, ExternalWorkflowExecutionSignaled,
                SignalExternalWorkflowExecutionFailed, StartChildWorkflowExecutionInitiated,
                WorkflowExecutionCanceled, WorkflowExecutionFailed, WorkflowExecutionSignaled,
            },
            ParentClosePolicy,
        },
        history::v1::{
            StartChildWorkflowExecutionInitiatedEventAttributes, history_event::Attributes,
        },
    },
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ApplicationFailure, WorkerOptions, WorkflowContext, WorkflowResult};
use testing::{
    TestEnv, bad_input, event_types, events, lengthen_names, raw_json, until, with_worker,
};

type Handle<W> = WorkflowHandle<Client, W>;

async fn start<W: HasWorkflowDefinition>(
    env: &TestEnv,
    workflow_type: &str,
    input: Value,
) -> anyhow::Result<Handle<W>> {
    env.start_json(workflow_type, &[input]).await
}

async fn greeting(env: &TestEnv) -> anyhow::Result<Handle<GreetingWorkflow>> {
    start(env, "GreetingWorkflow", json!("World")).await
}

async fn advanced(env: &TestEnv) -> anyhow::Result<Handle<AdvancedParentWorkflow>> {
    start(env, "AdvancedParentWorkflow", json!("World")).await
}

async fn greet_many(
    env: &TestEnv,
    names: &[&str],
    at_most: usize,
    failures: u32,
) -> anyhow::Result<Handle<GreetManyWorkflow>> {
    let input = json!({"names": names, "at_most": at_most, "failures": failures});
    start(env, "GreetManyWorkflow", input).await
}

async fn greet_each(
    env: &TestEnv,
    names: &[&str],
    at_most: usize,
    failures: u32,
) -> anyhow::Result<Handle<GreetEachWorkflow>> {
    let input = json!({"names": names, "at_most": at_most, "failures": failures});
    start(env, "GreetEachWorkflow", input).await
}

/// The only child of a parent, whether it has started or not.
fn child_of<W: HasWorkflowDefinition>(
    env: &TestEnv,
    parent: &Handle<W>,
) -> Handle<ComposeGreetingWorkflow> {
    let id = format!("{}-child", parent.info().workflow_id);
    env.client.get_workflow_handle(id)
}

async fn happened<W: HasWorkflowDefinition>(
    handle: &Handle<W>,
    event: EventType,
) -> anyhow::Result<bool> {
    Ok(event_types(handle).await?.contains(&event))
}

/// The child that a parent has asked the server to start.
async fn initiated<W: HasWorkflowDefinition>(
    parent: &Handle<W>,
) -> anyhow::Result<StartChildWorkflowExecutionInitiatedEventAttributes> {
    for event in events(parent).await? {
        if let Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(child)) =
            event.attributes
        {
            return Ok(child);
        }
    }
    bail!("no child")
}

/// Two parents side by side. The child's id comes from its parent's, its policy is ABANDON, it has no
/// time limit, and its JSON has the two fields that other languages know.
#[tokio::test]
async fn greets_through_a_child() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for handle in [greeting(&env).await?, greeting(&env).await?] {
            let result = handle.get_result(Default::default()).await?;
            assert_eq!(result, "Hello, World!");
            let child = initiated(&handle).await?;
            let id = child_of(&env, &handle).info().workflow_id.clone();
            assert_eq!(child.workflow_id, id);
            assert_eq!(child.parent_close_policy(), ParentClosePolicy::Abandon);
            let limit = child.workflow_execution_timeout.unwrap_or_default();
            assert_eq!(limit, Duration::ZERO.try_into()?);
            let input = child.input.unwrap_or_default().payloads;
            assert_eq!(input[0].data, br#"{"greeting":"Hello","name":"World"}"#);
        }
        Ok(())
    })
    .await
}

/// The child waits for its parent's signal, and receives it. Its close policy is the default.
#[tokio::test]
async fn signals_the_child() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = advanced(&env).await?;
        assert_eq!(handle.get_result(Default::default()).await?, "Hi, World!");
        assert!(happened(&handle, ExternalWorkflowExecutionSignaled).await?);
        assert!(happened(&child_of(&env, &handle), WorkflowExecutionSignaled).await?);
        let policy = initiated(&handle).await?.parent_close_policy();
        assert_eq!(policy, ParentClosePolicy::Terminate);
        Ok(())
    })
    .await
}

/// A mock of a child of another worker, which knows neither the signal nor `hold`.
#[workflow]
#[derive(Default)]
pub struct PlainChild;

#[workflow_methods]
impl PlainChild {
    #[run(name = "ComposeGreetingWorkflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<ComposeGreetingInput>,
    ) -> WorkflowResult<String> {
        let input = input.decode(ctx)?;
        Ok(format!("{}, {}!", input.greeting, input.name))
    }
}

/// A signal that comes too late for its child does not fail the parent.
#[tokio::test]
async fn signals_too_late() -> anyhow::Result<()> {
    let options = |task_queue: &str| -> Result<WorkerOptions, anyhow::Error> {
        Ok(WorkerOptions::new(task_queue)
            .register_workflow::<PlainChild>()?
            .register_workflow::<AdvancedParentWorkflow>()?
            .build())
    };
    with_worker(options, async |env| {
        // The child and the signal race each other. About every other time the child ends first.
        loop {
            let handle = advanced(&env).await?;
            assert_eq!(handle.get_result(Default::default()).await?, "Hi, World!");
            if happened(&handle, SignalExternalWorkflowExecutionFailed).await? {
                return Ok(());
            }
        }
    })
    .await
}

/// A client can start the child, too. It completes at once, or when a signal releases it, even a signal
/// with an argument where none belongs.
#[tokio::test]
async fn a_child_runs_without_a_parent() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let input = json!({"greeting": "Hi", "name": "Ada"});
        let child: Handle<ComposeGreetingWorkflow> =
            start(&env, "ComposeGreetingWorkflow", input).await?;
        assert_eq!(child.get_result(Default::default()).await?, "Hi, Ada!");

        let input = json!({"greeting": "Hi", "name": "Grace", "hold": true});
        let child: Handle<ComposeGreetingWorkflow> =
            start(&env, "ComposeGreetingWorkflow", input).await?;
        let surplus = raw_json(&[json!("surplus")]);
        child
            .signal(UntypedSignal::new("release"), surplus, Default::default())
            .await?;
        assert_eq!(child.get_result(Default::default()).await?, "Hi, Grace!");
        Ok(())
    })
    .await
}

/// If another workflow has the child's id, the parent fails, and its failure names the id.
#[tokio::test]
async fn child_id_in_use() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let options = env.start_options();
        let mut taken = env.start_options();
        taken.workflow_id = format!("{}-child", options.workflow_id);
        let id = taken.workflow_id.clone();
        let input = ComposeGreetingInput {
            hold: true,
            ..Default::default()
        };
        env.client
            .start_workflow(ComposeGreetingWorkflow::run, input.into(), taken)
            .await?;
        let handle = env
            .client
            .start_workflow(GreetingWorkflow::run, "World".into(), options)
            .await?;
        let error = handle
            .get_result(Default::default())
            .await
            .expect_err("failed");
        let reason = format!(
            "workflow failed: Child workflow start failed: workflow_id={id}, \
             workflow_type=ComposeGreetingWorkflow, cause=WorkflowAlreadyExists \
             (WorkflowExecutionAlreadyStarted)"
        );
        assert_eq!(shared::describe(&error), reason);
        Ok(())
    })
    .await
}

/// Starts a parent that leaves its child, waits until it has, and checks that the child has a time limit.
async fn leave(
    env: &TestEnv,
    policy: ClosePolicy,
    hasty: bool,
) -> anyhow::Result<Handle<ComposeGreetingWorkflow>> {
    let input = json!({"policy": policy, "hasty": hasty});
    let handle: Handle<LeavingParentWorkflow> = start(env, "LeavingParentWorkflow", input).await?;
    let child = child_of(env, &handle);
    let id = handle.get_result(Default::default()).await?;
    ensure!(id == child.info().workflow_id, "another child: {id}");
    let limit = initiated(&handle).await?.workflow_execution_timeout;
    ensure!(
        limit == Some(Duration::from_secs(600).try_into()?),
        "{limit:?}"
    );
    Ok(child)
}

/// TERMINATE: the child ends TERMINATED.
#[tokio::test]
async fn policy_terminate() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let child = leave(&env, ClosePolicy::Terminate, false).await?;
        match child.get_result(Default::default()).await {
            Err(WorkflowGetResultError::Terminated { .. }) => Ok(()),
            other => bail!("ended otherwise: {other:?}"),
        }
    })
    .await
}

/// REQUEST_CANCEL: the child is cancelled, and ends CANCELED.
#[tokio::test]
async fn policy_request_cancel() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let child = leave(&env, ClosePolicy::RequestCancel, false).await?;
        match child.get_result(Default::default()).await {
            Err(WorkflowGetResultError::Cancelled { .. }) => Ok(()),
            other => bail!("ended otherwise: {other:?}"),
        }
    })
    .await
}

/// ABANDON: the child goes on until it is released.
#[tokio::test]
async fn policy_abandon() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let child = leave(&env, ClosePolicy::Abandon, false).await?;
        // Once the server has dealt with a later parent, it has dealt with this one.
        let later = leave(&env, ClosePolicy::Terminate, false).await?;
        assert!(later.get_result(Default::default()).await.is_err());
        child
            .signal(
                ComposeGreetingWorkflow::release,
                ().into(),
                Default::default(),
            )
            .await?;
        assert_eq!(child.get_result(Default::default()).await?, "Hello, World!");
        Ok(())
    })
    .await
}

/// A child whose parent does not wait for its start never starts, whatever the policy.
#[tokio::test]
async fn a_child_of_a_hasty_parent_never_starts() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let mut children = Vec::new();
        for policy in ClosePolicy::value_variants() {
            children.push(leave(&env, *policy, true).await?);
        }
        // Once the server has dealt with a later parent, it has dealt with these.
        let later = leave(&env, ClosePolicy::Terminate, false).await?;
        assert!(later.get_result(Default::default()).await.is_err());
        for child in children {
            match child.get_result(Default::default()).await {
                Err(WorkflowGetResultError::NotFound(_)) => {}
                other => bail!("it has started: {other:?}"),
            }
        }
        Ok(())
    })
    .await
}

/// The most children that were initiated and not yet completed at the same time.
fn max_concurrent(events: &[EventType]) -> usize {
    let (mut running, mut most) = (0_usize, 0);
    for event in events {
        match event {
            StartChildWorkflowExecutionInitiated => running += 1,
            ChildWorkflowExecutionCompleted => running -= 1,
            _ => {}
        }
        most = most.max(running);
    }
    most
}

/// Seven names and three lanes: three children run at the same time, never four. The greetings are in the
/// order of the names.
#[tokio::test]
async fn limits_concurrency() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let names = ["g", "f", "e", "d", "c", "b", "a"];
        let handle = greet_many(&env, &names, 3, 0).await?;
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(result, names.map(|name| format!("Hello, {name}!")));
        assert_eq!(max_concurrent(&event_types(&handle).await?), 3);
        Ok(())
    })
    .await
}

/// More lanes than names, and no names at all.
#[tokio::test]
async fn completes_with_more_lanes_than_items() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = greet_many(&env, &["Ada"], usize::MAX, 0).await?;
        let greetings = handle.get_result(Default::default()).await?;
        assert_eq!(greetings, ["Hello, Ada!"]);
        let handle = greet_many(&env, &[], usize::MAX, 0).await?;
        let greetings = handle.get_result(Default::default()).await?;
        assert_eq!(greetings, [""; 0]);
        Ok(())
    })
    .await
}

/// At most a thousand children at the same time, whatever the input asks for: the server would refuse two
/// thousand and one.
#[tokio::test]
async fn limits_the_width() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = greet_many(&env, &["Ada"; 1001], 1001, 0).await?;
        until(&handle, StartChildWorkflowExecutionInitiated).await?;
        handle.terminate(Default::default()).await?;
        assert_eq!(max_concurrent(&event_types(&handle).await?), 1000);
        Ok(())
    })
    .await
}

/// An input whose JSON has this many bytes.
fn input_of(bytes: usize) -> Value {
    let names = vec![""; 10];
    lengthen_names(json!({"names": names, "at_most": names.len()}), bytes)
}

/// Long lists: the largest input that is accepted completes, although its greetings are larger in total.
/// A larger input fails before its first child.
#[tokio::test]
async fn limits_long_lists() -> anyhow::Result<()> {
    // The results of the longest list that is accepted fit into one payload.
    const { assert!(MAX_INPUT + 5000 * r#"{"greeting":"Hello, !"}"#.len() < MAX_RESULT) };
    with_worker(worker_options, async |env| {
        let input = input_of(MAX_INPUT);
        let handle = start::<GreetManyWorkflow>(&env, "GreetManyWorkflow", input).await?;
        let greetings = handle.get_result(Default::default()).await?;
        assert!(serde_json::to_string(&greetings)?.len() > MAX_INPUT);

        let as_reported = json!({"names": vec!["x".repeat(410); 5000], "at_most": 1000});
        for input in [input_of(MAX_INPUT + 1), as_reported] {
            let size = input.to_string().len();
            let handle = start::<GreetManyWorkflow>(&env, "GreetManyWorkflow", input).await?;
            let reason = format!("{size} bytes, more than the limit of 1572864");
            assert_eq!(bad_input(&handle).await?, reason);
            assert!(!happened(&handle, StartChildWorkflowExecutionInitiated).await?);
        }
        Ok(())
    })
    .await
}

/// If the name leaves no room for the other fields of the child's input, the parent fails, and its failure
/// names the size and the limit.
#[tokio::test]
async fn limits_the_input_of_children() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let beside = r#"{"greeting":"Hello","name":""}"#.len();
        for excess in [0, 1] {
            let size = MAX_INPUT + excess;
            let name = json!("x".repeat(size - beside));
            let handle = start::<GreetingWorkflow>(&env, "GreetingWorkflow", name).await?;
            match handle.get_result(Default::default()).await {
                Ok(greeting) => {
                    assert_eq!(
                        (excess, greeting.len()),
                        (0, size - beside + "Hello, !".len())
                    );
                }
                Err(error) => {
                    let expected = format!(
                        "workflow failed: the input has {size} bytes, more than the limit of \
                         1572864 (TooLarge)"
                    );
                    assert_eq!(describe(&error), expected);
                }
            }
        }
        Ok(())
    })
    .await
}

/// A child that fails is retried, and its parent sees only the last attempt.
#[tokio::test]
async fn retries_a_child() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = greet_many(&env, &["Ada"], 1, 1).await?;
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(result, ["Hello, Ada!"]);
        assert!(!happened(&handle, ChildWorkflowExecutionFailed).await?);
        Ok(())
    })
    .await
}

/// A child whose last attempt fails also fails its parent. The client sees which child it was, and why it
/// failed.
#[tokio::test]
async fn a_failed_child_fails_its_parent() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = greet_many(&env, &["Ada"], 1, 3).await?;
        let Err(WorkflowGetResultError::Failed(failure)) =
            handle.get_result(Default::default()).await
        else {
            bail!("it did not fail");
        };
        let IncomingError::ChildWorkflowExecution(child) = *failure else {
            bail!("failed by itself: {failure:?}");
        };
        assert_eq!(child.workflow_type(), Some("ComposeGreetingWorkflow"));
        assert_eq!(child.retry_state(), RetryState::MaximumAttemptsReached);
        let id = child
            .workflow_execution()
            .map(|child| child.workflow_id().to_owned());
        assert_eq!(id, Some(format!("{}-child-0", handle.info().workflow_id)));
        let Some(IncomingError::Application(reason)) = child.cause() else {
            bail!("for another reason: {child:?}");
        };
        assert_eq!(reason.type_name(), Some("NotYet"));
        assert_eq!(reason.to_string(), "attempt 3 failed");
        Ok(())
    })
    .await
}

/// A mock of a child that works until it is cancelled. If it has a retry policy, its first attempt fails.
#[workflow]
#[derive(Default)]
pub struct EndlessChild;

#[workflow_methods]
impl EndlessChild {
    #[run(name = "ComposeGreetingWorkflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        _input: Input<ComposeGreetingInput>,
    ) -> WorkflowResult<String> {
        if ctx.info().retry_policy().is_some() && ctx.info().attempt() == 1 {
            return Err(ApplicationFailure::new(anyhow::anyhow!("the first attempt")).into());
        }
        ctx.wait_condition(|_| false).await?;
        Ok(String::new())
    }
}

fn endless_children(task_queue: &str) -> anyhow::Result<WorkerOptions> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<EndlessChild>()?
        .register_workflow::<GreetingWorkflow>()?
        .register_workflow::<AdvancedParentWorkflow>()?
        .register_workflow::<GreetManyWorkflow>()?
        .build())
}

/// Cancels a parent, and checks that first its child ends CANCELED, then the parent.
async fn assert_both_cancelled<W: HasWorkflowDefinition>(parent: &Handle<W>) -> anyhow::Result<()> {
    parent.cancel(Default::default()).await?;
    let Err(WorkflowGetResultError::Cancelled { .. }) = parent.get_result(Default::default()).await
    else {
        bail!("the parent ended otherwise");
    };
    let mut events = event_types(parent).await?;
    events.retain(|event| {
        [ChildWorkflowExecutionCanceled, WorkflowExecutionCanceled].contains(event)
    });
    assert_eq!(
        events,
        [ChildWorkflowExecutionCanceled, WorkflowExecutionCanceled]
    );
    Ok(())
}

/// A cancellation reaches the child, and the parent waits until the child has ended. ABANDON does not
/// change that.
#[tokio::test]
async fn cancels_the_child() -> anyhow::Result<()> {
    with_worker(endless_children, async |env| {
        let handle = greeting(&env).await?;
        until(&handle, ChildWorkflowExecutionStarted).await?;
        assert_both_cancelled(&handle).await
    })
    .await
}

/// A cancellation also reaches a second attempt, unlike the SDK's own request.
#[tokio::test]
async fn cancels_a_second_attempt() -> anyhow::Result<()> {
    with_worker(endless_children, async |env| {
        let handle = greet_many(&env, &["Ada"], 1, 0).await?;
        until(&handle, ChildWorkflowExecutionStarted).await?;
        let events = events(&handle).await?;
        let started = events.into_iter().find_map(|event| match event.attributes {
            Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(child)) => {
                child.workflow_execution
            }
            _ => None,
        });
        let started = started.context("no child")?;
        let first_attempt = WorkflowExecutionInfo::builder()
            .namespace("default")
            .workflow_id(started.workflow_id)
            .run_id(started.run_id)
            .build()
            .bind_untyped(env.client.clone());
        until(&first_attempt, WorkflowExecutionFailed).await?;
        assert_both_cancelled(&handle).await
    })
    .await
}

/// Workflows that are cancelled before a worker has seen them end CANCELED: no parent starts a child, and
/// the child does not fail.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let inputs = [
        ("GreetingWorkflow", json!("World")),
        ("AdvancedParentWorkflow", json!("World")),
        ("LeavingParentWorkflow", json!({"policy": "abandon"})),
        ("GreetManyWorkflow", json!({"names": ["Ada"], "at_most": 1})),
        ("GreetEachWorkflow", json!({"names": ["Ada"], "at_most": 1})),
        (
            "ComposeGreetingWorkflow",
            json!({"greeting": "Hi", "name": "Ada", "failures": 1}),
        ),
    ];
    for (workflow_type, input) in inputs {
        let env = TestEnv::new().await?;
        let handle = start::<UntypedWorkflow>(&env, workflow_type, input).await?;
        env.ends_cancelled(&handle, worker_options).await?;
        assert!(!happened(&handle, StartChildWorkflowExecutionInitiated).await?);
    }
    Ok(())
}

/// Bad input fails each workflow at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    let cases = [
        (
            "GreetingWorkflow",
            json!({"name": "Ada"}),
            "invalid type: map, expected a string",
        ),
        (
            "AdvancedParentWorkflow",
            json!(null),
            "invalid type: null, expected a string",
        ),
        (
            "ComposeGreetingWorkflow",
            json!({"greeting": "Hi"}),
            "missing field `name`",
        ),
        (
            "ComposeGreetingWorkflow",
            json!({"greeting": "Hi", "name": 7}),
            "`name`: invalid type: integer `7`, expected a string",
        ),
        (
            "LeavingParentWorkflow",
            json!({"policy": "adopt"}),
            "`policy`: unknown variant `adopt`, expected one of `terminate`, `request-cancel`, `abandon`",
        ),
        (
            "GreetManyWorkflow",
            json!({"names": ["Ada"], "at_most": 0}),
            "`at_most`: invalid value: integer `0`, expected a nonzero usize",
        ),
        (
            "GreetEachWorkflow",
            json!({"names": ["Ada"]}),
            "missing field `at_most`",
        ),
        (
            "GreetManyWorkflow",
            json!({"names": vec!["Ada"; 10_000], "at_most": 1}),
            "`names`: 10000 items, and at most 5000 fit into one workflow's history",
        ),
    ];
    with_worker(worker_options, async |env| {
        for (workflow_type, input, reason) in cases {
            let handle = start::<UntypedWorkflow>(&env, workflow_type, input).await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        Ok(())
    })
    .await
}

/// A parent whose child's id would be too long fails before it starts a child. The longest of the ids
/// counts if there are many children.
#[tokio::test]
async fn child_ids_fit() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let world = [json!("World")];
        env.checks_child_id::<GreetingWorkflow>("GreetingWorkflow", &world, "-child")
            .await?;
        env.checks_child_id::<AdvancedParentWorkflow>("AdvancedParentWorkflow", &world, "-child")
            .await?;
        let input = [json!({"policy": "terminate"})];
        env.checks_child_id::<LeavingParentWorkflow>("LeavingParentWorkflow", &input, "-child")
            .await?;
        let input = [json!({"names": vec!["World"; 11], "at_most": 2})];
        env.checks_child_id::<GreetManyWorkflow>("GreetManyWorkflow", &input, "-child-10")
            .await?;
        env.checks_child_id::<GreetEachWorkflow>("GreetEachWorkflow", &input, "-child-10")
            .await
    })
    .await
}

/// A mock of a child that fails when it is cancelled, as if its cleanup failed.
#[workflow]
#[derive(Default)]
pub struct StubbornChild;

#[workflow_methods]
impl StubbornChild {
    #[run(name = "ComposeGreetingWorkflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        _input: Input<ComposeGreetingInput>,
    ) -> WorkflowResult<String> {
        // Returns when the child is cancelled.
        let _ = ctx.wait_condition(|_| false).await;
        Err(ApplicationFailure::non_retryable("cleanup failed").into())
    }
}

/// A cancelled parent ends CANCELED even if its child fails.
#[tokio::test]
async fn ends_cancelled_with_a_failed_child() -> anyhow::Result<()> {
    let options = |task_queue: &str| -> anyhow::Result<WorkerOptions> {
        Ok(WorkerOptions::new(task_queue)
            .register_workflow::<StubbornChild>()?
            .register_workflow::<GreetingWorkflow>()?
            .register_workflow::<GreetManyWorkflow>()?
            .build())
    };
    async fn check<W: HasWorkflowDefinition>(parent: Handle<W>) -> anyhow::Result<()> {
        until(&parent, ChildWorkflowExecutionStarted).await?;
        parent.cancel(Default::default()).await?;
        let ended = parent.get_result(Default::default()).await.err();
        ensure!(
            matches!(ended, Some(WorkflowGetResultError::Cancelled { .. })),
            "{ended:?}"
        );
        ensure!(happened(&parent, ChildWorkflowExecutionFailed).await?);
        Ok(())
    }
    with_worker(options, async |env| {
        check(greeting(&env).await?).await?;
        check(greet_many(&env, &["Ada"], 1, 0).await?).await
    })
    .await
}

/// A parent ends CANCELED even if its child is terminated before a worker learns about the cancellation.
/// If the SDK cancelled the child by itself, the parent's workflow task would fail forever.
#[tokio::test]
async fn ends_cancelled_with_a_terminated_child() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let parents = [
        start::<UntypedWorkflow>(&env, "GreetingWorkflow", json!("World")).await?,
        start(&env, "AdvancedParentWorkflow", json!("World")).await?,
    ];
    env.work(endless_children, async {
        for parent in &parents {
            // `AdvancedParentWorkflow` waits for the result of its child once the signal has arrived.
            until(parent, ChildWorkflowExecutionStarted).await?;
        }
        until(&parents[1], ExternalWorkflowExecutionSignaled).await
    })
    .await?;
    for parent in &parents {
        let child = child_of(&env, parent);
        child.terminate(Default::default()).await?;
        until(parent, ChildWorkflowExecutionTerminated).await?;
        parent.cancel(Default::default()).await?;
    }
    env.work(endless_children, async {
        for parent in &parents {
            let ended = parent.get_result(Default::default()).await.err();
            ensure!(
                matches!(ended, Some(WorkflowGetResultError::Cancelled { .. })),
                "{ended:?}"
            );
        }
        Ok(())
    })
    .await
}

/// A mock of a child that fails for `bad`, works for `slow` until it is cancelled, and greets everybody else
/// at once.
#[workflow]
#[derive(Default)]
pub struct MockChild;

#[workflow_methods]
impl MockChild {
    #[run(name = "ComposeGreetingWorkflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<ComposeGreetingInput>,
    ) -> WorkflowResult<String> {
        match input.decode(ctx)?.name.as_str() {
            "bad" => Err(ApplicationFailure::non_retryable("no greeting for bad").into()),
            "slow" => {
                ctx.wait_condition(|_| false).await?;
                Ok(String::new())
            }
            name => Ok(format!("Hi, {name}!")),
        }
    }
}

fn with_mock(task_queue: &str) -> anyhow::Result<WorkerOptions> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<MockChild>()?
        .register_workflow::<GreetManyWorkflow>()?
        .register_workflow::<GreetEachWorkflow>()?
        .build())
}

/// The first failure fails the parent: the running child ends CANCELED first, and no other child starts.
#[tokio::test]
async fn stops_at_the_first_failure() -> anyhow::Result<()> {
    with_worker(with_mock, async |env| {
        let parent = greet_many(&env, &["slow", "bad", "a", "slow", "bad"], 2, 0).await?;
        let error = parent.get_result(Default::default()).await;
        let expected = format!(
            "workflow failed: child workflow ComposeGreetingWorkflow {}-child-1 failed: no greeting \
             for bad",
            parent.info().workflow_id
        );
        assert_eq!(error.map_err(|error| describe(&error)), Err(expected));
        let mut events = event_types(&parent).await?;
        events.retain(|event| {
            [
                StartChildWorkflowExecutionInitiated,
                ChildWorkflowExecutionFailed,
                ChildWorkflowExecutionCanceled,
                WorkflowExecutionFailed,
            ]
            .contains(event)
        });
        assert_eq!(
            events,
            [
                StartChildWorkflowExecutionInitiated,
                StartChildWorkflowExecutionInitiated,
                ChildWorkflowExecutionFailed,
                ChildWorkflowExecutionCanceled,
                WorkflowExecutionFailed,
            ]
        );
        Ok(())
    })
    .await
}

/// The other choice: each name gets an outcome, in the order of the names, and a failure stops nothing. A
/// cancellation is no outcome.
#[tokio::test]
async fn reports_each_failure() -> anyhow::Result<()> {
    with_worker(with_mock, async |env| {
        let parent = greet_each(&env, &["c", "bad", "a", "bad", "b"], 2, 0).await?;
        let outcomes = parent.get_result(Default::default()).await?;
        let greeting = |name| Outcome::Greeting(format!("Hi, {name}!"));
        let failure = || Outcome::Failure("no greeting for bad".to_owned());
        assert_eq!(
            outcomes,
            [
                greeting("c"),
                failure(),
                greeting("a"),
                failure(),
                greeting("b")
            ]
        );

        let parent = greet_each(&env, &["slow", "slow", "a"], 1, 0).await?;
        until(&parent, ChildWorkflowExecutionStarted).await?;
        assert_both_cancelled(&parent).await
    })
    .await
}
