//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use pick_first::{
    activities::Branch,
    worker_options,
    workflows::{HedgedRequestWorkflow, PickFirstWorkflow, PickSomeWorkflow},
};
use serde_json::{Value, json};
use shared::describe;
use temporalio_client::{Client, UntypedWorkflow, WorkflowHandle, errors::WorkflowGetResultError};
use temporalio_common::protos::temporal::api::enums::v1::{
    EventType::{
        self, ActivityTaskCancelRequested, ActivityTaskCanceled, ActivityTaskCompleted,
        ActivityTaskScheduled, TimerCanceled, TimerFired, TimerStarted, WorkflowExecutionCompleted,
    },
    PendingActivityState,
};
use temporalio_macros::activities;
use temporalio_sdk::{
    WorkerOptions,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, event_types, eventually, operate, until, with_worker,
};

type Handle = WorkflowHandle<Client, UntypedWorkflow>;

/// A branch that takes longer than any test.
const LONG: u32 = 100;

fn branch(id: &str, seconds: u32) -> Value {
    json!({"branch_id": id, "duration_seconds": seconds})
}

fn failing(id: &str, seconds: u32) -> Value {
    json!({"branch_id": id, "duration_seconds": seconds, "fails": true})
}

async fn start(env: &TestEnv, workflow: &str, input: Value) -> anyhow::Result<Handle> {
    let id = env.start_options().workflow_id;
    env.start_json_as::<PickFirstWorkflow>(id.clone(), workflow, &[input])
        .await?;
    Ok(env.client.get_workflow_handle(id))
}

/// How the workflow ended: its result, or its error in one line.
async fn end(handle: &Handle) -> anyhow::Result<Result<Value, String>> {
    Ok(match handle.get_result(Default::default()).await {
        Ok(result) => Ok(serde_json::from_slice(&result.payloads[0].data)?),
        Err(error) => Err(describe(&error)),
    })
}

async fn is_cancelled(handle: &Handle) -> anyhow::Result<()> {
    let ended = handle.get_result(Default::default()).await;
    let cancelled = matches!(ended, Err(WorkflowGetResultError::Cancelled { .. }));
    anyhow::ensure!(cancelled, "{:?}", ended.map(|_| "completed"));
    Ok(())
}

/// Where events of this type are in the history.
async fn at(handle: &Handle, event: EventType) -> anyhow::Result<Vec<usize>> {
    let types = event_types(handle).await?.into_iter().enumerate();
    Ok(types
        .filter(|(_, found)| *found == event)
        .map(|(at, _)| at)
        .collect())
}

/// Waits until this many branches run.
async fn running(handle: &Handle, branches: usize) -> anyhow::Result<()> {
    let what = format!("{branches} running branches");
    eventually(what, async || {
        let description = handle.describe(Default::default()).await?;
        let pending = description.raw().pending_activities.iter();
        let running = pending.filter(|activity| activity.state() == PendingActivityState::Started);
        Ok((running.count() == branches).then_some(()))
    })
    .await
}

/// A branch that does not stop when it has lost, and returns its result instead.
pub struct DeafBranches;

#[activities]
impl DeafBranches {
    #[activity(name = "sample_activity")]
    pub async fn sample_activity(
        ctx: ActivityContext,
        branch: Branch,
    ) -> Result<String, ActivityError> {
        if branch.duration_seconds == LONG {
            let beats = async {
                loop {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    if ctx.record_heartbeat(()).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = ctx.cancelled() => {}
                () = beats => {}
            }
        }
        Ok(branch.branch_id)
    }
}

/// Without input, both branches start at once, and the faster one wins. The other one is cancelled, and has stopped before
/// the workflow ends.
#[tokio::test]
async fn the_faster_branch_wins() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .start_json::<PickFirstWorkflow>("PickFirstWorkflow", &[])
            .await?;
        assert_eq!(
            handle.get_result(Default::default()).await?,
            "Branch option2 completed"
        );
        let handle = env.client.get_workflow_handle(&handle.info().workflow_id);
        let completed = at(&handle, ActivityTaskCompleted).await?;
        assert_eq!(completed.len(), 1);
        let scheduled = at(&handle, ActivityTaskScheduled).await?;
        assert!(scheduled.len() == 2 && scheduled[1] < completed[0]);
        let requested = at(&handle, ActivityTaskCancelRequested).await?;
        let cancelled = at(&handle, ActivityTaskCanceled).await?;
        let end = at(&handle, WorkflowExecutionCompleted).await?;
        assert_eq!((requested.len(), cancelled.len(), end.len()), (1, 1, 1));
        assert!(
            completed[0] < requested[0] && requested[0] < cancelled[0] && cancelled[0] < end[0]
        );
        Ok(())
    })
    .await
}

/// A branch that fails does not win, although it is the first to finish. If all fail, the workflow fails with the last
/// error.
#[tokio::test]
async fn a_failed_branch_does_not_win() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let some = json!({"branches": [failing("a", 0), branch("b", 1), branch("c", LONG)]});
        let some = start(&env, "PickFirstWorkflow", some).await?;
        let all = json!({"branches": [failing("a", 3), failing("b", 0)]});
        let all = start(&env, "PickFirstWorkflow", all).await?;
        assert_eq!(end(&some).await?, Ok(json!("Branch b completed")));
        let failed =
            "workflow failed: activity sample_activity failed: Branch a failed (BranchFailed)";
        assert_eq!(end(&all).await?, Err(failed.to_owned()));
        Ok(())
    })
    .await
}

/// The first two of four win, in the order in which they finish. Once so many have failed that two cannot win, the others
/// are cancelled, and the workflow fails with the last error. All of them may win.
#[tokio::test]
async fn the_first_n_of_m_win() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let branches = json!([
            branch("a", 3),
            failing("b", 0),
            branch("c", LONG),
            branch("d", 0)
        ]);
        let two = start(
            &env,
            "PickSomeWorkflow",
            json!({"branches": branches, "winners": 2}),
        )
        .await?;
        let branches = json!([branch("a", LONG), failing("b", 0), failing("c", 3)]);
        let none = start(
            &env,
            "PickSomeWorkflow",
            json!({"branches": branches, "winners": 2}),
        )
        .await?;
        let branches = json!([branch("a", 3), branch("b", 0)]);
        let all = start(
            &env,
            "PickSomeWorkflow",
            json!({"branches": branches, "winners": 2}),
        )
        .await?;
        let winners = json!(["Branch d completed", "Branch a completed"]);
        assert_eq!(end(&two).await?, Ok(winners));
        assert_eq!(at(&two, ActivityTaskCanceled).await?.len(), 1);
        let failed =
            "workflow failed: activity sample_activity failed: Branch c failed (BranchFailed)";
        assert_eq!(end(&none).await?, Err(failed.to_owned()));
        assert_eq!(at(&none, ActivityTaskCanceled).await?.len(), 1);
        assert_eq!(
            end(&all).await?,
            Ok(json!(["Branch b completed", "Branch a completed"]))
        );
        assert_eq!(at(&all, ActivityTaskCancelRequested).await?.len(), 0);
        Ok(())
    })
    .await
}

/// The backup starts after the delay if the request is slow, and at once if the request fails. It does not start if the
/// request is done before. The loser is cancelled, and no timer is left.
#[tokio::test]
async fn a_backup_starts_after_a_delay() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let hedge = async |request: Value, backup: Value, delay: u32| {
            let input = json!({"request": request, "backup": backup, "delay_seconds": delay});
            start(&env, "HedgedRequestWorkflow", input).await
        };
        let slow = hedge(branch("request", LONG), branch("backup", 0), 1).await?;
        let fast = hedge(branch("request", 0), branch("backup", 0), 600).await?;
        let fails = hedge(failing("request", 0), branch("backup", 0), 600).await?;
        let both = hedge(failing("request", 0), failing("backup", 0), 600).await?;
        let request_wins = hedge(branch("request", 2), branch("backup", LONG), 1).await?;

        assert_eq!(end(&slow).await?, Ok(json!("Branch backup completed")));
        assert_eq!(at(&slow, TimerFired).await?.len(), 1);
        assert_eq!(at(&slow, ActivityTaskCanceled).await?.len(), 1);
        assert_eq!(end(&fast).await?, Ok(json!("Branch request completed")));
        assert_eq!(activity_types(&fast).await?, ["sample_activity"]);
        assert_eq!(end(&fails).await?, Ok(json!("Branch backup completed")));
        for handle in [&fast, &fails] {
            assert_eq!(at(handle, TimerCanceled).await?.len(), 1);
        }
        let failed =
            "workflow failed: activity sample_activity failed: Branch backup failed (BranchFailed)";
        assert_eq!(end(&both).await?, Err(failed.to_owned()));
        assert_eq!(
            end(&request_wins).await?,
            Ok(json!("Branch request completed"))
        );
        assert_eq!(at(&request_wins, ActivityTaskCanceled).await?.len(), 1);
        Ok(())
    })
    .await
}

/// A branch that ignores its cancellation and returns a result does not change who has won.
#[tokio::test]
async fn a_late_result_does_not_count() -> anyhow::Result<()> {
    let options = |queue: &str| -> anyhow::Result<WorkerOptions> {
        Ok(WorkerOptions::new(queue)
            .register_workflow::<PickFirstWorkflow>()?
            .register_workflow::<PickSomeWorkflow>()?
            .register_workflow::<HedgedRequestWorkflow>()?
            .register_activities(DeafBranches)
            .build())
    };
    with_worker(options, async |env| {
        let branches = json!([branch("deaf", LONG), branch("a", 0), branch("b", 0)]);
        let two = [branch("deaf", LONG), branch("a", 0)];
        let first = start(&env, "PickFirstWorkflow", json!({"branches": two})).await?;
        let some = start(
            &env,
            "PickSomeWorkflow",
            json!({"branches": branches, "winners": 2}),
        )
        .await?;
        let hedge =
            json!({"request": branch("deaf", LONG), "backup": branch("a", 0), "delay_seconds": 1});
        let hedge = start(&env, "HedgedRequestWorkflow", hedge).await?;
        assert_eq!(end(&first).await?, Ok(json!("a")));
        let mut winners = end(&some).await?.map_err(anyhow::Error::msg)?;
        if let Some(winners) = winners.as_array_mut() {
            winners.sort_by_key(Value::to_string);
        }
        assert_eq!(winners, json!(["a", "b"]));
        assert_eq!(end(&hedge).await?, Ok(json!("a")));
        for handle in [&first, &some, &hedge] {
            assert_eq!(at(handle, ActivityTaskCanceled).await?.len(), 0);
        }
        Ok(())
    })
    .await
}

/// A cancelled workflow cancels all its branches, waits until they have stopped, and ends CANCELED, also if a branch has
/// failed before, or if the backup has not started.
#[tokio::test]
async fn cancelled_while_branches_run() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let two = json!({"branches": [branch("a", LONG), branch("b", LONG)]});
        let two = start(&env, "PickFirstWorkflow", two).await?;
        let branches = json!([failing("a", 0), branch("b", LONG), branch("c", LONG)]);
        let some = start(
            &env,
            "PickSomeWorkflow",
            json!({"branches": branches, "winners": 1}),
        )
        .await?;
        let hedge =
            json!({"request": branch("a", LONG), "backup": branch("b", 0), "delay_seconds": 600});
        let hedge = start(&env, "HedgedRequestWorkflow", hedge).await?;
        until(&some, EventType::ActivityTaskFailed).await?;
        until(&hedge, TimerStarted).await?;
        for (handle, branches) in [(&two, 2), (&some, 2), (&hedge, 1)] {
            running(handle, branches).await?;
            handle.cancel(Default::default()).await?;
        }
        for (handle, branches) in [(&two, 2), (&some, 2), (&hedge, 1)] {
            is_cancelled(handle).await?;
            assert_eq!(at(handle, ActivityTaskCanceled).await?.len(), branches);
        }
        assert_eq!(activity_types(&hedge).await?.len(), 1);
        assert_eq!(at(&hedge, TimerCanceled).await?.len(), 1);
        Ok(())
    })
    .await
}

/// Workflows that are cancelled before a worker has seen them end CANCELED, and start no branch.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let hedge = json!({"request": branch("a", 0), "backup": branch("b", 0), "delay_seconds": 1});
    let some = json!({"branches": [branch("a", 0), branch("b", 0)], "winners": 2});
    let handles = [
        start(&env, "PickFirstWorkflow", json!(null)).await?,
        start(&env, "PickSomeWorkflow", some).await?,
        start(&env, "HedgedRequestWorkflow", hedge).await?,
    ];
    for handle in &handles {
        handle.cancel(Default::default()).await?;
    }
    env.work(worker_options, async {
        for handle in &handles {
            is_cancelled(handle).await?;
            assert_eq!(at(handle, ActivityTaskScheduled).await?.len(), 0);
        }
        Ok(())
    })
    .await
}

/// The only branch fails for good, and before a worker knows, the workflow is cancelled. It ends CANCELED.
#[tokio::test]
async fn fails_and_ends_cancelled() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let input = json!({"branches": [branch("a", LONG)]});
    let handle = start(&env, "PickFirstWorkflow", input).await?;
    let workflow_only = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let options = WorkerOptions::new(queue).register_workflow::<PickFirstWorkflow>()?;
        Ok(options.build())
    };
    operate::fails_and_ends_cancelled(&env, &handle, workflow_only, worker_options).await
}

/// Bad input fails a workflow at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let two = json!([branch("a", 0), branch("b", 0)]);
        let many = vec![branch("a", 0); 101];
        let cases = [
            (
                "PickFirstWorkflow",
                json!("a"),
                "invalid type: string \"a\", expected struct PickFirst",
            ),
            (
                "PickFirstWorkflow",
                json!({"branches": []}),
                "`branches`: there must be at least one branch",
            ),
            (
                "PickFirstWorkflow",
                json!({"branches": many}),
                "`branches`: 101 items, and at most 100 fit into one workflow's history",
            ),
            (
                "PickFirstWorkflow",
                json!({"branches": [{"branch_id": "a"}]}),
                "`branches[0]`: missing field `duration_seconds`",
            ),
            (
                "PickFirstWorkflow",
                json!({"branches": [{"branch_id": "a", "duration_seconds": -1}]}),
                "`branches[0].duration_seconds`: invalid value: integer `-1`, expected u32",
            ),
            (
                "PickSomeWorkflow",
                json!({"branches": two}),
                "missing field `winners`",
            ),
            (
                "PickSomeWorkflow",
                json!({"branches": two, "winners": 0}),
                "`winners`: invalid value: integer `0`, expected a nonzero usize",
            ),
            (
                "PickSomeWorkflow",
                json!({"branches": two, "winners": 3}),
                "`winners`: 3 of 2 branches cannot win",
            ),
            (
                "HedgedRequestWorkflow",
                json!({"request": branch("a", 0), "delay_seconds": 1}),
                "missing field `backup`",
            ),
            (
                "HedgedRequestWorkflow",
                json!({"request": branch("a", 0), "backup": branch("a", 0), "delay_seconds": 0}),
                "`delay_seconds`: invalid value: integer `0`, expected a nonzero u32",
            ),
        ];
        for (workflow, input, reason) in cases {
            let handle = start(&env, workflow, input).await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        let handle = env
            .start_json::<PickSomeWorkflow>("PickSomeWorkflow", &[])
            .await?;
        assert_eq!(bad_input(&handle).await?, "the argument is missing");
        Ok(())
    })
    .await
}
