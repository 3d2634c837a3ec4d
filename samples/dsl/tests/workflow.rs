//! Runs documents on a real server, with the `worker_options` of the worker binary.

use crate::document::{PARALLEL, SEQUENCE, VERSION_1, call, with_a};
use anyhow::{anyhow, ensure};
use dsl::{activities::ACTIVITIES, document::Document, worker_options, workflows::DSLWorkflow};
use serde_json::{Value, json};
use shared::describe;
use std::{collections::BTreeMap, time::Duration};
use temporalio_client::{Client, WorkflowHandle, errors::WorkflowGetResultError};
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType::ActivityTaskCancelRequested,
    history::v1::{ActivityTaskScheduledEventAttributes, history_event::Attributes},
};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, event_types, events, operate, until_pending, with_worker,
};

type Handle = WorkflowHandle<Client, DSLWorkflow>;

async fn start(env: &TestEnv, document: &Value) -> anyhow::Result<Handle> {
    env.start_json("DSLWorkflow", std::slice::from_ref(document))
        .await
}

/// Returns a document as a client sends it.
fn json_of(yaml: &str) -> anyhow::Result<Value> {
    let document = Document::from_yaml(yaml).map_err(anyhow::Error::msg)?;
    Ok(serde_json::to_value(document)?)
}

async fn result(handle: &Handle) -> anyhow::Result<Result<BTreeMap<String, String>, String>> {
    let result = handle.get_result(Default::default()).await;
    Ok(result.map_err(|error| describe(&error)))
}

async fn scheduled(handle: &Handle) -> anyhow::Result<Vec<ActivityTaskScheduledEventAttributes>> {
    let scheduled = events(handle)
        .await?
        .into_iter()
        .filter_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => Some(scheduled),
            _ => None,
        });
    Ok(scheduled.collect())
}

/// A sequence runs in the order of the document, and the activities get the values of the variables.
#[tokio::test]
async fn runs_a_sequence() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = start(&env, &json_of(SEQUENCE)?).await?;
        let variables = result(&handle).await?.map_err(|error| anyhow!(error))?;
        let expected = json!({
            "arg1": "value1",
            "arg2": "value2",
            "result1": "[result from activity1: value1]",
            "result2": "[result from activity2: [result from activity1: value1]]",
            "result3": "[result from activity3: value2 [result from activity2: [result from activity1: value1]]]",
        });
        assert_eq!(json!(variables), expected);
        let activities = ["activity1", "activity2", "activity3"];
        assert_eq!(activity_types(&handle).await?, activities);
        Ok(())
    })
    .await
}

/// Branches are scheduled together. What follows them begins when all are done. An activity has the time limit of the
/// document, or a minute.
#[tokio::test]
async fn runs_branches_together() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = start(&env, &json_of(PARALLEL)?).await?;
        let variables = result(&handle).await?.map_err(|error| anyhow!(error))?;
        let expected = "[result from activity3: \
            [result from activity3: value2 [result from activity2: [result from activity1: value1]]] \
            [result from activity5: value3 [result from activity4: [result from activity1: value1]]]]";
        assert_eq!(variables["result6"], expected);
        let types = activity_types(&handle).await?;
        assert_eq!(types[..3], ["activity1", "activity2", "activity4"]);
        assert_eq!(types.last().map(String::as_str), Some("activity3"));
        assert_eq!(types.len(), 6);
        let scheduled = scheduled(&handle).await?;
        let decided = |index: usize| scheduled[index].workflow_task_completed_event_id;
        assert_eq!(decided(1), decided(2));
        let limits = scheduled.iter().map(|one| one.start_to_close_timeout);
        let seconds = |seconds| Duration::from_secs(seconds).try_into().ok();
        let minute = seconds(60);
        assert!(limits.eq([seconds(10), minute, minute, minute, minute, minute]));
        Ok(())
    })
    .await
}

/// The worker has every activity that a document may call, with as many arguments as the check allows.
#[tokio::test]
async fn every_activity_is_registered() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let calls = ACTIVITIES.map(|(name, takes)| call(name, &["a", "a"][..takes], name));
        let document = with_a(json!({"parallel": {"branches": calls}}));
        let handle = start(&env, &document).await?;
        let variables = result(&handle).await?.map_err(|error| anyhow!(error))?;
        for (name, takes) in ACTIVITIES {
            let arguments = ["x x", "x"][2 - takes];
            assert_eq!(
                variables[name],
                format!("[result from {name}: {arguments}]")
            );
        }
        Ok(())
    })
    .await
}

/// A document of version 1 still runs: the branch that ends last sets the variable. Many branches run at once.
#[tokio::test]
async fn version_1_still_runs() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = start(&env, &serde_json::from_str(VERSION_1)?).await?;
        let variables = result(&handle).await?.map_err(|error| anyhow!(error))?;
        let by_either = [1, 2].map(|number| format!("[result from activity{number}: value]"));
        ensure!(by_either.contains(&variables["last"]), "{variables:?}");

        let calls: Vec<Value> = (0..60).map(|_| call("activity1", &["a"], "b")).collect();
        let document = json!({"variables": {"a": "x"}, "root": {"parallel": {"branches": calls}}});
        let handle = start(&env, &document).await?;
        let variables = result(&handle).await?.map_err(|error| anyhow!(error))?;
        assert_eq!(variables["b"], "[result from activity1: x]");
        Ok(())
    })
    .await
}

/// The size of the variables is limited while the document runs, too. This one would double a variable ten times.
#[tokio::test]
async fn variables_cannot_grow_without_limit() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let doubled = vec![call("activity3", &["a", "a"], "a"); 10];
        let document = json!({
            "variables": {"a": "x".repeat(100_000)},
            "root": {"sequence": {"elements": doubled}},
        });
        let handle = start(&env, &document).await?;
        let reason = "workflow failed: after activity3, all variables together have 800190 bytes, more than the limit \
                      of 524288 (TooLarge)";
        assert_eq!(result(&handle).await?, Err(reason.to_owned()));
        assert_eq!(activity_types(&handle).await?.len(), 3);
        Ok(())
    })
    .await
}

/// Activities of which the first fails, and the fourth never ends.
pub struct TestActivities;

#[activities]
impl TestActivities {
    #[activity(name = "activity1")]
    pub async fn activity1(_ctx: ActivityContext, arg: String) -> Result<String, ActivityError> {
        let failure = ApplicationFailure::builder(anyhow!("no {arg} today")).non_retryable(true);
        Err(failure.build().into())
    }

    #[activity(name = "activity2")]
    pub async fn activity2(_ctx: ActivityContext, arg: String) -> Result<String, ActivityError> {
        Ok(arg)
    }

    #[activity(name = "activity4")]
    pub async fn activity4(ctx: ActivityContext, _arg: String) -> Result<String, ActivityError> {
        ctx.cancelled().await;
        Err(ActivityError::cancelled())
    }
}

fn test_options(task_queue: &str) -> anyhow::Result<WorkerOptions> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(Duration::ZERO)
        .register_workflow::<DSLWorkflow>()?
        .register_activities(TestActivities)
        .build())
}

/// The first branch that fails cancels the others, also branches within branches. The workflow fails with its failure,
/// and nothing else is scheduled.
#[tokio::test]
async fn a_failed_branch_cancels_the_others() -> anyhow::Result<()> {
    with_worker(test_options, async |env| {
        let endless = || {
            json!({"sequence": {"elements": [call("activity4", &["a"], "b"), call("activity2", &["b"], "c")]}})
        };
        let fails = json!({"sequence": {"elements": [call("activity2", &["a"], "d"), call("activity1", &["d"], "e")]}});
        let inner = json!({"parallel": {"branches": [endless(), fails]}});
        let document = json!({
            "variables": {"a": "milk"},
            "root": {"sequence": {"elements": [
                {"parallel": {"branches": [endless(), inner]}},
                call("activity2", &["a"], "f"),
            ]}},
        });
        let handle = start(&env, &document).await?;
        let reason = "workflow failed: activity activity1 failed: no milk today";
        assert_eq!(result(&handle).await?, Err(reason.to_owned()));
        let types = activity_types(&handle).await?;
        assert_eq!(types, ["activity4", "activity4", "activity2", "activity1"]);
        let requested = event_types(&handle).await?;
        let requested = requested.iter().filter(|of| **of == ActivityTaskCancelRequested);
        assert_eq!(requested.count(), 2);
        Ok(())
    })
    .await
}

/// A workflow that is cancelled while branches run ends CANCELED, and its activities are cancelled.
#[tokio::test]
async fn cancelled_while_it_runs() -> anyhow::Result<()> {
    with_worker(test_options, async |env| {
        let calls = [
            call("activity4", &["a"], "b"),
            call("activity4", &["a"], "c"),
        ];
        let handle = start(&env, &with_a(json!({"parallel": {"branches": calls}}))).await?;
        until_pending(&handle, |activity| activity.attempt == 1).await?;
        handle.cancel(Default::default()).await?;
        let ended = handle.get_result(Default::default()).await;
        ensure!(
            matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
            "{ended:?}"
        );
        let requested = event_types(&handle).await?;
        let requested = requested
            .iter()
            .filter(|of| **of == ActivityTaskCancelRequested);
        assert_eq!(requested.count(), 2);
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, &json_of(SEQUENCE)?).await?;
    env.ends_cancelled(&handle, worker_options).await
}

/// An activity fails for good, and before a worker knows, the workflow is cancelled. It ends CANCELED.
#[tokio::test]
async fn fails_and_ends_cancelled() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env, &json_of(SEQUENCE)?).await?;
    let workflow_only = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let options = WorkerOptions::new(queue).register_workflow::<DSLWorkflow>()?;
        Ok(options.build())
    };
    operate::fails_and_ends_cancelled(&env, &handle, workflow_only, worker_options).await
}

/// A document with a fault fails the workflow before the first activity, and the failure names the place. It does not
/// block the workflow, however deep it is.
#[tokio::test]
async fn refuses_bad_documents() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let deep = (0..40).fold(json!({}), |inner, _| json!({"sequence": {"elements": [inner]}}));
        let good = call("activity1", &["a"], "b");
        let elements = [good, call("activity1", &["c"], "d")];
        let cases = [
            (vec![], "the argument is missing"),
            (
                vec![json!({"variables": {}})],
                "missing field `root`",
            ),
            (
                vec![json!({"version": 3, "root": {"wait": 1}})],
                "`version`: 3 is unknown, write 1 or 2",
            ),
            (
                vec![with_a(json!({"sequence": {"elements": elements}}))],
                "`root.sequence.elements[1].activity.arguments[0]`: the variable \"c\" is not set before this activity",
            ),
            (
                vec![json!({"root": deep})],
                "`root.sequence.elements[0].sequence.elements[0].sequence.elements[0]",
            ),
        ];
        for (arguments, reason) in cases {
            let handle: Handle = env.start_json("DSLWorkflow", &arguments).await?;
            let fault = bad_input(&handle).await?;
            ensure!(fault.starts_with(reason), "{fault}");
            assert_eq!(activity_types(&handle).await?, Vec::<String>::new());
        }
        Ok(())
    })
    .await
}
