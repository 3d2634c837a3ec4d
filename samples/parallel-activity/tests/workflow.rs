//! The workflows on a real server, through the `worker_options` that the binary uses.

use parallel_activity::{
    worker_options,
    workflows::{BoundedInput, SayHelloBoundedWorkflow, SayHelloWorkflow},
};
use serde_json::{Value, json};
use shared::{MAX_INPUT, MAX_RESULT};
use std::num::NonZeroUsize;
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_common::protos::temporal::api::enums::v1::EventType::{
    self, ActivityTaskCompleted, ActivityTaskScheduled,
};
use temporalio_sdk::WorkerOptions;
use testing::{TestEnv, bad_input, event_types, lengthen_names, until, with_worker};

/// How many activities were scheduled and not yet completed, at the most.
fn most_at_a_time(events: &[EventType]) -> usize {
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

/// All five are scheduled before the first completes, and the result is sorted.
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
        assert_eq!(most_at_a_time(&event_types(&handle).await?), 5);
        Ok(())
    })
    .await
}

/// Seven names, three lanes: three at a time, never four, and nobody is left out.
#[tokio::test]
async fn greets_so_many_at_a_time() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let names = ["g", "f", "e", "d", "c", "b", "a"]
            .map(String::from)
            .to_vec();
        let input = BoundedInput {
            names,
            at_most: NonZeroUsize::new(3).expect("not 0"),
        };
        let handle = env
            .client
            .start_workflow(
                SayHelloBoundedWorkflow::run,
                input.into(),
                env.start_options(),
            )
            .await?;
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(
            result,
            ["a", "b", "c", "d", "e", "f", "g"].map(|name| format!("Hello, {name}!"))
        );
        assert_eq!(most_at_a_time(&event_types(&handle).await?), 3);
        Ok(())
    })
    .await
}

/// More lanes than names, and no names at all.
#[tokio::test]
async fn idle_lanes_do_no_harm() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for names in [vec!["Ada".to_owned()], vec![]] {
            let input = BoundedInput {
                names: names.clone(),
                at_most: NonZeroUsize::new(usize::MAX).expect("not 0"),
            };
            let handle = env
                .client
                .start_workflow(
                    SayHelloBoundedWorkflow::run,
                    input.into(),
                    env.start_options(),
                )
                .await?;
            let greetings: Vec<_> = names.iter().map(|name| format!("Hello, {name}!")).collect();
            assert_eq!(handle.get_result(Default::default()).await?, greetings);
        }
        Ok(())
    })
    .await
}

/// An argument where none is taken, and a width of nought, fail the workflow at once.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .start_json::<SayHelloWorkflow>("SayHelloWorkflow", &[json!("surprise")])
            .await?;
        let reason = "invalid type: string \"surprise\", expected unit";
        assert_eq!(bad_input(&handle).await?, reason);

        let input = json!({"names": ["Ada"], "at_most": 0});
        let handle = env
            .start_json::<SayHelloBoundedWorkflow>("SayHelloBoundedWorkflow", &[input])
            .await?;
        let reason = "`at_most`: invalid value: integer `0`, expected a nonzero usize";
        assert_eq!(bad_input(&handle).await?, reason);

        let input = json!({"names": vec!["Ada"; 10_000], "at_most": 1});
        let handle = env
            .start_json::<SayHelloBoundedWorkflow>("SayHelloBoundedWorkflow", &[input])
            .await?;
        let reason = "`names`: 10000 items, and at most 5000 fit into one workflow's history";
        assert_eq!(bad_input(&handle).await?, reason);
        Ok(())
    })
    .await
}

/// An input whose JSON has this many bytes.
fn input_of(bytes: usize) -> Value {
    let names = vec![""; 100];
    lengthen_names(json!({"names": names, "at_most": names.len()}), bytes)
}

/// Long lists: one that is as large as an input may be completes, although its greetings are larger
/// together. A larger one fails before its first activity.
#[tokio::test]
async fn limits_long_lists() -> anyhow::Result<()> {
    // The greetings of the longest list that is accepted fit into a result.
    const { assert!(MAX_INPUT + 5000 * "Hello, !".len() < MAX_RESULT) };
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
            assert_eq!(most_at_a_time(&event_types(&handle).await?), 0);
        }
        Ok(())
    })
    .await
}

/// Cancelled while five greetings are under way, the workflow ends CANCELED. This worker runs no
/// activities, or they could be done before the cancellation comes.
#[tokio::test]
async fn ends_cancelled_while_greeting() -> anyhow::Result<()> {
    let without_activities = |task_queue: &str| {
        WorkerOptions::new(task_queue)
            .register_workflow::<SayHelloWorkflow>()
            .map(|options| options.build())
    };
    with_worker(without_activities, async |env| {
        let handle = env
            .client
            .start_workflow(SayHelloWorkflow::run, ().into(), env.start_options())
            .await?;
        until(&handle, ActivityTaskScheduled).await?;
        handle.cancel(Default::default()).await?;
        match handle.get_result(Default::default()).await {
            Err(WorkflowGetResultError::Cancelled { .. }) => Ok(()),
            other => anyhow::bail!("ended otherwise: {other:?}"),
        }
    })
    .await
}

/// Cancelled before a worker has seen it, the workflow ends CANCELED.
#[tokio::test]
async fn ends_cancelled() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = env
        .client
        .start_workflow(SayHelloWorkflow::run, ().into(), env.start_options())
        .await?;
    env.ends_cancelled(&handle, worker_options).await
}
