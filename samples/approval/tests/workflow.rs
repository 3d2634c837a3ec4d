//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::ensure;
use approval::{
    worker_options,
    workflows::{
        ApprovalWorkflow, AwaitSignalsWorkflow, EscalatingApprovalWorkflow,
        MultiLevelApprovalWorkflow,
    },
};
use serde_json::{Value, json};
use shared::describe;
use std::time::Duration;
use temporalio_client::{
    Client, UntypedSignal, WorkflowHandle,
    errors::{WorkflowGetResultError, WorkflowInteractionError},
};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::{
        enums::v1::EventType::{TimerCanceled, TimerFired, TimerStarted},
        history::v1::history_event::Attributes,
    },
};
use temporalio_sdk::WorkerOptions;
use testing::{
    TestEnv, activity_types, bad_input, event_types, events, operate, raw_json, until, with_worker,
};

type Handle<W> = WorkflowHandle<Client, W>;

/// Sends a signal as a client in another language can.
async fn send<W: HasWorkflowDefinition>(
    handle: &Handle<W>,
    signal: &str,
    arguments: &[Value],
) -> Result<(), WorkflowInteractionError> {
    handle
        .signal(
            UntypedSignal::new(signal),
            raw_json(arguments),
            Default::default(),
        )
        .await
}

async fn decide<W: HasWorkflowDefinition>(
    handle: &Handle<W>,
    approver: &str,
    decision: &str,
) -> Result<(), WorkflowInteractionError> {
    let comments = "because";
    let approval =
        json!({"approver": approver, "decision": decision, "comments": comments, "timestamp": 1});
    send(handle, "submit_approval", &[approval]).await
}

async fn decide_level<W: HasWorkflowDefinition>(
    handle: &Handle<W>,
    level: &str,
    decision: &str,
) -> Result<(), WorkflowInteractionError> {
    let approval =
        json!({"level": level, "approver": "ann", "decision": decision, "comments": "because"});
    send(handle, "submit_approval", &[approval]).await
}

async fn status(handle: &Handle<ApprovalWorkflow>) -> anyhow::Result<String> {
    let query = ApprovalWorkflow::get_status;
    Ok(handle.query(query, ().into(), Default::default()).await?)
}

/// The limits of the timers in the history.
async fn limits<W: HasWorkflowDefinition>(handle: &Handle<W>) -> anyhow::Result<Vec<Duration>> {
    let mut limits = Vec::new();
    for event in events(handle).await? {
        if let Some(Attributes::TimerStartedEventAttributes(timer)) = event.attributes {
            let limit = timer.start_to_fire_timeout.unwrap_or_default();
            limits.push(Duration::try_from(limit)?);
        }
    }
    Ok(limits)
}

/// The first decision counts, and a second one does not replace it. The timer is cancelled. `get_status` answers before
/// and after, and a decision after the end is refused.
#[tokio::test]
async fn the_first_decision_counts() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for decision in ["APPROVED", "REJECTED", "ESCALATED"] {
            let handle: Handle<ApprovalWorkflow> = env
                .start_json("ApprovalWorkflow", &[json!("R"), json!(600)])
                .await?;
            until(&handle, TimerStarted).await?;
            assert_eq!(status(&handle).await?, "PENDING");
            decide(&handle, "ann", decision).await?;
            // It may find that the workflow has ended.
            let _ = decide(&handle, "bob", "APPROVED").await;
            assert_eq!(
                handle.get_result(Default::default()).await?,
                format!("Request R {decision} by ann")
            );
            assert_eq!(status(&handle).await?, decision);
            assert!(event_types(&handle).await?.contains(&TimerCanceled));
            assert_eq!(limits(&handle).await?, [Duration::from_secs(600)]);
            let late = decide(&handle, "bob", "APPROVED").await;
            assert!(
                matches!(late, Err(WorkflowInteractionError::NotFound(_))),
                "{late:?}"
            );
        }
        Ok(())
    })
    .await
}

/// A decision that is there before the first line of `run` counts, and needs no timer. Signals that are no decision are
/// ignored.
#[tokio::test]
async fn keeps_early_decisions_and_ignores_others() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let arguments = [json!("R"), json!(600)];
    let one: Handle<ApprovalWorkflow> = env.start_json("ApprovalWorkflow", &arguments).await?;
    let three: Handle<MultiLevelApprovalWorkflow> = env
        .start_json("MultiLevelApprovalWorkflow", &arguments)
        .await?;
    for bad in [
        vec![],
        vec![json!(null)],
        vec![json!("APPROVED")],
        vec![json!({"approver": "bob", "decision": "MAYBE"})],
        vec![json!({"approver": "bob", "decision": "APPROVED", "level": "L4", "timestamp": "now"})],
        vec![json!({"padding": "x".repeat(1_900_000)})],
    ] {
        send(&one, "submit_approval", &bad).await?;
        send(&three, "submit_approval", &bad).await?;
    }
    decide(&one, "ann", "APPROVED").await?;
    decide(&one, "bob", "REJECTED").await?;
    for level in ["L3", "L2", "L1"] {
        decide_level(&three, level, "APPROVED").await?;
    }
    decide_level(&three, "L2", "REJECTED").await?;
    env.work(worker_options, async {
        let result = one.get_result(Default::default()).await?;
        assert_eq!(result, "Request R APPROVED by ann");
        assert_eq!(limits(&one).await?, []);
        let result = three.get_result(Default::default()).await?;
        assert_eq!(result, "Fully approved through all levels");
        Ok(())
    })
    .await
}

/// When the time runs out, the workflow completes, and says so. The first level that has not decided, or has rejected,
/// ends the workflow.
#[tokio::test]
async fn the_time_runs_out() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let second = [json!("R"), json!(1)];
        let one: Handle<ApprovalWorkflow> = env.start_json("ApprovalWorkflow", &second).await?;
        let of_levels = "MultiLevelApprovalWorkflow";
        let three: Handle<MultiLevelApprovalWorkflow> = env.start_json(of_levels, &second).await?;
        decide_level(&three, "L1", "APPROVED").await?;
        let long = [json!("R"), json!(600)];
        let rejected: Handle<MultiLevelApprovalWorkflow> = env.start_json(of_levels, &long).await?;
        decide_level(&rejected, "L2", "REJECTED").await?;
        decide_level(&rejected, "L1", "APPROVED").await?;
        let result = rejected.get_result(Default::default()).await?;
        assert_eq!(result, "Rejected at L2 by ann");
        let result = one.get_result(Default::default()).await?;
        assert_eq!(result, "Request R timed out");
        assert_eq!(status(&one).await?, "TIMEOUT");
        assert_eq!(three.get_result(Default::default()).await?, "Timeout at L2");
        Ok(())
    })
    .await
}

/// If a decision and the end of the time reach the worker together, the decision counts.
#[tokio::test]
async fn a_decision_beats_the_timeout() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle: Handle<ApprovalWorkflow> = env
        .start_json("ApprovalWorkflow", &[json!("R"), json!(1)])
        .await?;
    env.work(worker_options, until(&handle, TimerStarted))
        .await?;
    until(&handle, TimerFired).await?;
    decide(&handle, "ann", "APPROVED").await?;
    env.work(worker_options, async {
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(result, "Request R APPROVED by ann");
        Ok(())
    })
    .await
}

/// A request is escalated when nobody decides in time, or at once if an approver wants it. Then one e-mail goes out, and
/// the time starts again: a day, unless the third argument shortens it.
#[tokio::test]
async fn escalates() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let start = async |arguments: &[Value]| {
            env.start_json::<EscalatingApprovalWorkflow>("EscalatingApprovalWorkflow", arguments)
                .await
        };
        let silent = start(&[json!("R"), json!(1), json!(1)]).await?;

        let direct = start(&[json!("R"), json!(600)]).await?;
        decide(&direct, "ann", "REJECTED").await?;
        let result = direct.get_result(Default::default()).await?;
        assert_eq!(result, "REJECTED by ann");
        assert_eq!(activity_types(&direct).await?, Vec::<String>::new());

        let escalated = start(&[json!("R"), json!(600)]).await?;
        until(&escalated, TimerStarted).await?;
        decide(&escalated, "ann", "ESCALATED").await?;
        testing::eventually("the second timer", async || {
            Ok((limits(&escalated).await?.len() == 2).then_some(()))
        })
        .await?;
        decide(&escalated, "bob", "ESCALATED").await?;
        decide(&escalated, "bob", "APPROVED").await?;
        let result = escalated.get_result(Default::default()).await?;
        assert_eq!(result, "APPROVED by bob (escalated)");
        assert_eq!(
            limits(&escalated).await?,
            [600, 86_400].map(Duration::from_secs)
        );

        let result = silent.get_result(Default::default()).await?;
        assert_eq!(result, "Escalation timeout - auto-rejected");
        assert_eq!(activity_types(&silent).await?, ["send_escalation_email"]);
        Ok(())
    })
    .await
}

/// The three signals are processed in order, whatever order they arrive in. There is no limit before the first, and then
/// 30 s for each. If one is missing, the workflow fails.
#[tokio::test]
async fn awaits_signals_in_order() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let of_type = "AwaitSignalsWorkflow";
        let missing: Handle<AwaitSignalsWorkflow> = env
            .start_json(
                of_type,
                &[json!({"between_seconds": 600, "total_seconds": 1})],
            )
            .await?;
        send(&missing, "Signal1", &[json!(null)]).await?;

        let handle: Handle<AwaitSignalsWorkflow> = env.start_json(of_type, &[]).await?;
        for signal in ["Signal3", "Signal1"] {
            send(&handle, signal, &[]).await?;
        }
        until(&handle, TimerStarted).await?;
        send(&handle, "Signal2", &[]).await?;
        handle.get_result(Default::default()).await?;
        assert_eq!(limits(&handle).await?, [Duration::from_secs(30)]);

        let error = missing.get_result(Default::default()).await;
        let error = error.map_err(|error| describe(&error));
        let reason = "workflow failed: Timed out waiting for signal2 (timeout)";
        assert_eq!(error, Err(reason.to_owned()));
        Ok(())
    })
    .await
}

/// A workflow that is cancelled while it waits ends CANCELED.
#[tokio::test]
async fn cancelled_while_it_waits() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let arguments = [json!("R"), json!(600)];
        let one: Handle<ApprovalWorkflow> = env.start_json("ApprovalWorkflow", &arguments).await?;
        until(&one, TimerStarted).await?;
        one.cancel(Default::default()).await?;
        let ended = one.get_result(Default::default()).await;
        ensure!(
            matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
            "{ended:?}"
        );
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED, also if it waits without a limit.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle: Handle<AwaitSignalsWorkflow> = env.start_json("AwaitSignalsWorkflow", &[]).await?;
    env.ends_cancelled(&handle, worker_options).await
}

/// The e-mail fails for good, and before a worker knows, the workflow is cancelled. It ends CANCELED.
#[tokio::test]
async fn fails_and_ends_cancelled() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle: Handle<EscalatingApprovalWorkflow> = env
        .start_json("EscalatingApprovalWorkflow", &[json!("R"), json!(600)])
        .await?;
    decide(&handle, "ann", "ESCALATED").await?;
    let workflow_only = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let options =
            WorkerOptions::new(queue).register_workflow::<EscalatingApprovalWorkflow>()?;
        Ok(options.build())
    };
    operate::fails_and_ends_cancelled(&env, &handle, workflow_only, worker_options).await
}

/// Input that does not decode fails the workflow at once, and the failure says which argument and why.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cases = [
            (
                "ApprovalWorkflow",
                vec![],
                "argument 1: the argument is missing",
            ),
            (
                "MultiLevelApprovalWorkflow",
                vec![json!("R")],
                "argument 2: the argument is missing",
            ),
            (
                "ApprovalWorkflow",
                vec![json!("R"), json!(-1)],
                "argument 2: invalid value: integer `-1`, expected a nonzero u32",
            ),
            (
                "EscalatingApprovalWorkflow",
                vec![json!("R"), json!(1), json!("day")],
                "argument 3: invalid type: string \"day\", expected a nonzero u32",
            ),
            (
                "AwaitSignalsWorkflow",
                vec![json!({"between_seconds": 1})],
                "missing field `total_seconds`",
            ),
        ];
        for (of_type, arguments, reason) in cases {
            let handle: Handle<ApprovalWorkflow> = env.start_json(of_type, &arguments).await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        Ok(())
    })
    .await
}
