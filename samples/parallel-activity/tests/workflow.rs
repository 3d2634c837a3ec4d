//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::ensure;
use parallel_activity::{
    activities::EMPTY_NAME,
    worker_options,
    workflows::{
        BoundedInput, Outcome, SayHelloBoundedWorkflow, SayHelloEachWorkflow, SayHelloWorkflow,
    },
};
use serde_json::{Value, json};
use shared::{Input, MAX_INPUT, MAX_RESULT, describe};
use std::{num::NonZeroUsize, time::Duration};
use temporalio_client::{Client, UntypedWorkflow, WorkflowHandle, errors::WorkflowGetResultError};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::{
        enums::v1::EventType::{
            self, ActivityTaskCancelRequested, ActivityTaskCompleted, ActivityTaskScheduled,
        },
        history::v1::{ActivityTaskScheduledEventAttributes, history_event::Attributes},
    },
};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions, WorkflowRegistrationError,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, bad_input, event_types, events, lengthen_names, until, with_worker};

/// The most activities that were scheduled and not yet completed at the same time.
fn max_concurrent(events: &[EventType]) -> usize {
    let (mut running, mut most) = (0_usize, 0);
    for event in events {
        match event {
            ActivityTaskScheduled => running += 1,
            ActivityTaskCompleted => running -= 1,
            _ => {}
        }
        most = most.max(running);
    }
    most
}

fn count(events: &[EventType], of: EventType) -> usize {
    events.iter().filter(|event| **event == of).count()
}

fn input(names: &[&str], at_most: usize) -> Input<BoundedInput> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let at_most = NonZeroUsize::new(at_most).unwrap_or(NonZeroUsize::MIN);
    BoundedInput { names, at_most }.into()
}

async fn bounded(
    env: &TestEnv,
    names: &[&str],
    at_most: usize,
) -> anyhow::Result<WorkflowHandle<Client, SayHelloBoundedWorkflow>> {
    let (input, options) = (input(names, at_most), env.start_options());
    let started = env
        .client
        .start_workflow(SayHelloBoundedWorkflow::run, input, options)
        .await?;
    let id = started.info().workflow_id.clone();
    Ok(env.client.get_workflow_handle(id))
}

async fn each(
    env: &TestEnv,
    names: &[&str],
    at_most: usize,
) -> anyhow::Result<WorkflowHandle<Client, SayHelloEachWorkflow>> {
    let (input, options) = (input(names, at_most), env.start_options());
    let started = env
        .client
        .start_workflow(SayHelloEachWorkflow::run, input, options)
        .await?;
    let id = started.info().workflow_id.clone();
    Ok(env.client.get_workflow_handle(id))
}

/// Schedules all five activities before the first one completes, and sorts the result.
#[tokio::test]
async fn greets_all_at_once() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(SayHelloWorkflow::run, ().into(), env.start_options())
            .await?;
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(
            result,
            [
                "Hello, user1!",
                "Hello, user2!",
                "Hello, user3!",
                "Hello, user4!",
                "Hello, user5!"
            ]
        );
        assert_eq!(max_concurrent(&event_types(&handle).await?), 5);
        Ok(())
    })
    .await
}

async fn scheduled<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Vec<ActivityTaskScheduledEventAttributes>> {
    let scheduled = |attributes| match attributes {
        Some(Attributes::ActivityTaskScheduledEventAttributes(activity)) => Some(activity),
        _ => None,
    };
    let events = events(handle).await?.into_iter();
    Ok(events
        .filter_map(|event| scheduled(event.attributes))
        .collect())
}

/// Seven names and three lanes: three activities run at the same time, never four, and each name is
/// greeted. Each activity has both of its time limits.
#[tokio::test]
async fn limits_concurrency() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = bounded(&env, &["g", "f", "e", "d", "c", "b", "a"], 3).await?;
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(
            result,
            ["a", "b", "c", "d", "e", "f", "g"].map(|name| format!("Hello, {name}!"))
        );
        assert_eq!(max_concurrent(&event_types(&handle).await?), 3);
        let limits = [5, 3600].map(|seconds| Duration::from_secs(seconds).try_into().ok());
        for activity in scheduled(&handle).await? {
            let activity = [
                activity.start_to_close_timeout,
                activity.schedule_to_close_timeout,
            ];
            assert_eq!(activity, limits);
        }
        Ok(())
    })
    .await
}

/// More lanes than names, and no names at all.
#[tokio::test]
async fn completes_with_more_lanes_than_items() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = bounded(&env, &["Ada"], usize::MAX).await?;
        let greetings = handle.get_result(Default::default()).await?;
        assert_eq!(greetings, ["Hello, Ada!"]);
        let handle = bounded(&env, &[], usize::MAX).await?;
        let greetings = handle.get_result(Default::default()).await?;
        assert_eq!(greetings, [""; 0]);
        Ok(())
    })
    .await
}

/// The workflows without their activities, so that scheduled activities stay pending.
fn without_activities(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<SayHelloWorkflow>()?
        .register_workflow::<SayHelloBoundedWorkflow>()?
        .register_workflow::<SayHelloEachWorkflow>()?
        .build())
}

/// At most a thousand activities at the same time, whatever the input asks for: the server would
/// refuse two thousand and one.
#[tokio::test]
async fn limits_the_width() -> anyhow::Result<()> {
    with_worker(without_activities, async |env| {
        let handle = bounded(&env, &["Ada"; 1001], 1001).await?;
        until(&handle, ActivityTaskScheduled).await?;
        handle.terminate(Default::default()).await?;
        assert_eq!(max_concurrent(&event_types(&handle).await?), 1000);
        Ok(())
    })
    .await
}

/// A mock of the sample's activities: it fails for `bad`, never finishes for `slow`, and greets
/// everybody else at once.
pub struct MockActivities;

#[activities]
impl MockActivities {
    #[activity(name = "say_hello_activity")]
    pub async fn say_hello_activity(
        ctx: ActivityContext,
        name: String,
    ) -> Result<String, ActivityError> {
        match name.as_str() {
            "bad" => Err(ApplicationFailure::non_retryable("no greeting for bad").into()),
            "slow" => {
                // Until the worker shuts down.
                ctx.cancelled().await;
                Err(ActivityError::cancelled())
            }
            name => Ok(format!("Hi, {name}!")),
        }
    }
}

fn with_mock(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    let mut options = without_activities(task_queue)?;
    options.register_activities(MockActivities);
    options.graceful_shutdown_period = Some(Duration::ZERO);
    Ok(options)
}

/// The first failure fails the workflow at once: the other activity is cancelled, and no other name is
/// greeted.
#[tokio::test]
async fn stops_at_the_first_failure() -> anyhow::Result<()> {
    with_worker(with_mock, async |env| {
        let handle = bounded(&env, &["slow", "bad", "a", "slow", "bad"], 2).await?;
        let error = handle.get_result(Default::default()).await;
        let expected =
            "workflow failed: activity say_hello_activity failed: no greeting for bad".to_owned();
        assert_eq!(error.map_err(|error| describe(&error)), Err(expected));
        let events = event_types(&handle).await?;
        assert_eq!(count(&events, ActivityTaskScheduled), 2);
        assert_eq!(count(&events, ActivityTaskCancelRequested), 1);
        Ok(())
    })
    .await
}

/// The other choice: each name gets an outcome, in the order of the names, and a failure stops nothing.
#[tokio::test]
async fn reports_each_failure() -> anyhow::Result<()> {
    with_worker(with_mock, async |env| {
        let handle = each(&env, &["c", "bad", "a", "bad", "b"], 2).await?;
        let outcomes = handle.get_result(Default::default()).await?;
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
        Ok(())
    })
    .await
}

/// The real activity fails for an empty name, and is not retried. On the wire an outcome is an object
/// with one field.
#[tokio::test]
async fn refuses_an_empty_name() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let input = json!({"names": ["Ada", ""], "at_most": 2});
        let handle = env
            .start_json::<UntypedWorkflow>("SayHelloEachWorkflow", &[input])
            .await?;
        let outcomes = handle.get_result(Default::default()).await?;
        let outcomes: Value = serde_json::from_slice(&outcomes.payloads[0].data)?;
        assert_eq!(
            outcomes,
            json!([{"greeting": "Hello, Ada!"}, {"failure": "a name is empty: leave it out"}])
        );

        let handle = bounded(&env, &[""], 1).await?;
        let error = handle.get_result(Default::default()).await;
        let expected = format!(
            "workflow failed: activity say_hello_activity failed: a name is empty: leave it out \
             ({EMPTY_NAME})"
        );
        assert_eq!(error.map_err(|error| describe(&error)), Err(expected));
        Ok(())
    })
    .await
}

/// A width of 0 and too many names fail the workflow at once.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    let too_many = "`names`: 10000 items, and at most 5000 fit into one workflow's history";
    let no_width = "`at_most`: invalid value: integer `0`, expected a nonzero usize";
    let cases = [
        (
            "SayHelloBoundedWorkflow",
            json!({"names": ["Ada"], "at_most": 0}),
            no_width,
        ),
        (
            "SayHelloBoundedWorkflow",
            json!({"names": vec!["Ada"; 10_000], "at_most": 1}),
            too_many,
        ),
        (
            "SayHelloEachWorkflow",
            json!({"names": ["Ada"], "at_most": 0}),
            no_width,
        ),
    ];
    with_worker(worker_options, async |env| {
        for (workflow_type, input, reason) in cases {
            let handle = env
                .start_json::<UntypedWorkflow>(workflow_type, &[input])
                .await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        Ok(())
    })
    .await
}

/// An input whose JSON has this many bytes.
fn input_of(bytes: usize) -> Value {
    let names = vec![""; 100];
    lengthen_names(json!({"names": names, "at_most": names.len()}), bytes)
}

/// Long lists: the largest input that is accepted completes, although its greetings are larger in total.
/// A larger input fails before its first activity.
#[tokio::test]
async fn limits_long_lists() -> anyhow::Result<()> {
    // The results of the longest list that is accepted fit into one payload.
    const { assert!(MAX_INPUT + 5000 * r#"{"greeting":"Hello, !"}"#.len() < MAX_RESULT) };
    with_worker(worker_options, async |env| {
        let start = |input| {
            let input = [input];
            let env = env.clone();
            async move {
                env.start_json::<SayHelloBoundedWorkflow>("SayHelloBoundedWorkflow", &input)
                    .await
            }
        };
        let handle = start(input_of(MAX_INPUT)).await?;
        let greetings = handle.get_result(Default::default()).await?;
        assert!(serde_json::to_string(&greetings)?.len() > MAX_INPUT);

        let as_reported = json!({"names": vec!["x".repeat(410); 5000], "at_most": 1000});
        for input in [input_of(MAX_INPUT + 1), as_reported] {
            let size = input.to_string().len();
            let handle = start(input).await?;
            let reason = format!("{size} bytes, more than the limit of 1572864");
            assert_eq!(bad_input(&handle).await?, reason);
            assert_eq!(max_concurrent(&event_types(&handle).await?), 0);
        }
        Ok(())
    })
    .await
}

/// Cancels a workflow whose activities are pending, and checks that it ends CANCELED without another
/// activity.
async fn cancel<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<()> {
    until(handle, ActivityTaskScheduled).await?;
    let before = scheduled(handle).await?.len();
    handle.cancel(Default::default()).await?;
    let ended = handle.get_result(Default::default()).await.err();
    ensure!(
        matches!(ended, Some(WorkflowGetResultError::Cancelled { .. })),
        "ended otherwise: {ended:?}"
    );
    ensure!(scheduled(handle).await?.len() == before);
    Ok(())
}

/// A workflow that is cancelled while activities are pending ends CANCELED, and starts no others. This
/// worker runs no activities, or they could finish before the cancellation arrives.
#[tokio::test]
async fn ends_cancelled_while_greeting() -> anyhow::Result<()> {
    with_worker(without_activities, async |env| {
        let handle = env
            .client
            .start_workflow(SayHelloWorkflow::run, ().into(), env.start_options())
            .await?;
        cancel(&handle).await?;
        cancel(&bounded(&env, &["Ada"; 5], 2).await?).await?;
        cancel(&each(&env, &["Ada"; 5], 2).await?).await
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(SayHelloWorkflow::run, ().into(), env.start_options())
        .await?;
    env.ends_cancelled(&handle, worker_options).await?;
    let handle = bounded(&env, &["Ada"; 5], 2).await?;
    env.ends_cancelled(&handle, worker_options).await?;
    let handle = each(&env, &["Ada"; 5], 2).await?;
    env.ends_cancelled(&handle, worker_options).await
}
