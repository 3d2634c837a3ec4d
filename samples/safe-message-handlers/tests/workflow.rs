//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use safe_message_handlers::{
    activities::{ClusterActivities, FindBadNodes, JobNodes, StartedCluster},
    cluster::{ClusterState, Node},
    worker_options,
    workflows::{AssignNodesToJob, ClusterManagerResult, ClusterManagerWorkflow, DeleteJob},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::{describe, histories};
use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use temporalio_client::{
    Client, UntypedSignal, UntypedUpdate, UntypedWorkflow, WorkflowHandle,
    WorkflowStartUpdateOptions, WorkflowUpdateHandle,
    errors::{WorkflowGetResultError, WorkflowUpdateError},
    tonic::Code,
};
use temporalio_common::protos::temporal::api::{
    common::v1::Payloads,
    enums::v1::EventType::{
        self, ActivityTaskScheduled, WorkflowExecutionContinuedAsNew,
        WorkflowExecutionUpdateAccepted, WorkflowExecutionUpdateCompleted,
    },
    history::v1::{HistoryEvent, history_event::Attributes},
};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions, WorkflowRegistrationError,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, event_types, eventually, forget_cache, raw_json, until,
    with_worker, within,
};
use tokio::time::sleep;

type Handle = WorkflowHandle<Client, ClusterManagerWorkflow>;
type Assigning = WorkflowUpdateHandle<Client, safe_message_handlers::workflows::AssignedNodes>;

const TYPE: &str = "ClusterManagerWorkflow";

/// The worker's options, with a fast cluster.
fn options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    let work_time = Duration::from_millis(5);
    worker_options(task_queue, ClusterActivities { work_time })
}

/// A cluster that starts, or fails to, and gives nodes to jobs when a test lets it. Its health checks fail, and so does
/// the job `broken`.
#[derive(Clone, Default)]
pub struct SlowCluster {
    starts: Arc<AtomicBool>,
    fails_to_start: bool,
    assigns: Arc<AtomicBool>,
}

#[activities]
impl SlowCluster {
    #[activity(name = "start_cluster")]
    pub async fn start_cluster(
        self: Arc<Self>,
        ctx: ActivityContext,
    ) -> Result<StartedCluster, ActivityError> {
        opened(&self.starts, &ctx).await?;
        if self.fails_to_start {
            return Err(ApplicationFailure::non_retryable(anyhow::anyhow!("no power")).into());
        }
        let node_ids = (0..5).map(|number| format!("node-{number}")).collect();
        Ok(StartedCluster { node_ids })
    }

    #[activity(name = "assign_nodes_to_job")]
    pub async fn assign_nodes_to_job(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: JobNodes,
    ) -> Result<(), ActivityError> {
        opened(&self.assigns, &ctx).await?;
        if input.job_name == "broken" {
            return Err(ApplicationFailure::non_retryable(anyhow::anyhow!("no cable")).into());
        }
        Ok(())
    }

    #[activity(name = "find_bad_nodes")]
    pub async fn find_bad_nodes(
        _ctx: ActivityContext,
        _input: FindBadNodes,
    ) -> Result<Vec<String>, ActivityError> {
        Err(anyhow::anyhow!("cannot check the nodes").into())
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

impl SlowCluster {
    /// A cluster that starts at once.
    fn started() -> Self {
        let cluster = Self::default();
        open(&cluster.starts);
        cluster
    }

    /// The worker's options with this cluster.
    fn options(&self, task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
        Ok(WorkerOptions::new(task_queue)
            .graceful_shutdown_period(Duration::ZERO)
            .register_workflow::<ClusterManagerWorkflow>()?
            .register_activities(self.clone())
            .build())
    }
}

fn open(gate: &AtomicBool) {
    gate.store(true, Ordering::Relaxed);
}

/// Starts the workflow. The handle reaches the current run.
async fn start(env: &TestEnv, test_continue_as_new: bool) -> anyhow::Result<Handle> {
    let input = json!({"state": null, "test_continue_as_new": test_continue_as_new});
    env.start_json(TYPE, &[input]).await
}

/// Returns a handle that is bound to the current run, from which `histories` follows the later ones.
async fn bound(manager: &Handle) -> anyhow::Result<Handle> {
    let described = manager.describe(Default::default()).await?;
    let mut info = manager.info().clone();
    info.run_id = Some(described.run_id().to_owned());
    Ok(WorkflowHandle::new(manager.client().clone(), info))
}

async fn state(manager: &Handle) -> Result<ClusterState, WorkflowUpdateError> {
    let update = ClusterManagerWorkflow::wait_until_cluster_started;
    manager
        .execute_update(update, ().into(), Default::default())
        .await
}

async fn start_assigning(
    manager: &Handle,
    job: &str,
    nodes: usize,
    update_id: Option<&str>,
) -> Result<Assigning, WorkflowUpdateError> {
    let input = AssignNodesToJob {
        total_num_nodes: NonZeroUsize::new(nodes).unwrap_or(NonZeroUsize::MIN),
        job_name: job.to_owned(),
    };
    let options =
        WorkflowStartUpdateOptions::builder().maybe_update_id(update_id.map(str::to_owned));
    let update = ClusterManagerWorkflow::assign_nodes_to_job;
    manager
        .start_update(update, input.into(), options.build())
        .await
}

async fn assign(
    manager: &Handle,
    job: &str,
    nodes: usize,
) -> Result<Vec<String>, WorkflowUpdateError> {
    let assigning = start_assigning(manager, job, nodes, None).await?;
    let assigned = assigning.get_result(Default::default()).await?;
    Ok(assigned.nodes_assigned)
}

async fn delete(manager: &Handle, job: &str) -> Result<(), WorkflowUpdateError> {
    let job_name = job.to_owned();
    let update = ClusterManagerWorkflow::delete_job;
    manager
        .execute_update(update, DeleteJob { job_name }.into(), Default::default())
        .await
}

async fn shut_down(manager: &Handle) -> anyhow::Result<()> {
    let shutdown = ClusterManagerWorkflow::shutdown_cluster;
    Ok(manager
        .signal(shutdown, ().into(), Default::default())
        .await?)
}

async fn result(manager: &Handle) -> anyhow::Result<(usize, usize)> {
    let ClusterManagerResult {
        num_currently_assigned_nodes,
        num_bad_nodes,
    } = manager.get_result(Default::default()).await?;
    Ok((num_currently_assigned_nodes, num_bad_nodes))
}

/// Repeats an update that the server has rejected together with a workflow task, as the starter does.
async fn until_handled<T>(
    send: impl AsyncFn() -> Result<T, WorkflowUpdateError>,
) -> anyhow::Result<T> {
    loop {
        match send().await {
            Err(WorkflowUpdateError::Rpc(status)) if status.code() == Code::FailedPrecondition => {}
            handled => return Ok(handled?),
        }
    }
}

fn arguments<T: DeserializeOwned>(payloads: Option<Payloads>) -> anyhow::Result<T> {
    let payloads = payloads.unwrap_or_default().payloads;
    let payload = payloads.first().context("no payload")?;
    Ok(serde_json::from_slice(&payload.data)?)
}

/// Checks the histories of all runs, and returns the state that their activities have led to: no two activities
/// overlap, only free nodes get a job, and each run ends with all its updates completed.
fn replayed(runs: &[Vec<HistoryEvent>]) -> anyhow::Result<ClusterState> {
    let mut cluster = ClusterState::default();
    for run in runs {
        let mut running = None;
        for event in run {
            match event.attributes.clone() {
                Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
                    let kind = scheduled.activity_type.unwrap_or_default().name;
                    let before = running.replace((event.event_id, kind.clone(), scheduled.input));
                    ensure!(before.is_none(), "{kind} overlaps {before:?}");
                }
                Some(Attributes::ActivityTaskCompletedEventAttributes(completed)) => {
                    let (id, kind, input) = running.take().context("nothing runs")?;
                    ensure!(id == completed.scheduled_event_id, "another activity runs");
                    match &*kind {
                        "start_cluster" => {
                            ensure!(!cluster.cluster_started, "the cluster starts twice");
                            cluster.cluster_started = true;
                            let StartedCluster { node_ids } = arguments(completed.result)?;
                            let free = node_ids.into_iter().map(|id| (id, Node::Free));
                            cluster.nodes = free.collect();
                        }
                        "assign_nodes_to_job" => {
                            let JobNodes { nodes, job_name } = arguments(input)?;
                            for node in &nodes {
                                let free = cluster.nodes.get(node) == Some(&Node::Free);
                                ensure!(free, "{node} is not free for {job_name}: {cluster:?}");
                            }
                            ensure!(!cluster.jobs_assigned.contains(&job_name), "{job_name}");
                            cluster.assign(&nodes, &job_name);
                        }
                        "unassign_nodes_for_job" => {
                            let JobNodes { nodes, job_name } = arguments(input)?;
                            ensure!(cluster.nodes_of(&job_name) == nodes, "{cluster:?}");
                            cluster.unassign(&nodes, &job_name);
                        }
                        _ => cluster.mark_bad(&arguments::<Vec<String>>(completed.result)?),
                    }
                }
                Some(
                    Attributes::ActivityTaskFailedEventAttributes(_)
                    | Attributes::ActivityTaskTimedOutEventAttributes(_)
                    | Attributes::ActivityTaskCanceledEventAttributes(_),
                ) => running = None,
                _ => {}
            }
        }
        let count = |kind: EventType| {
            run.iter()
                .filter(|event| event.event_type() == kind)
                .count()
        };
        let accepted = count(WorkflowExecutionUpdateAccepted);
        let completed = count(WorkflowExecutionUpdateCompleted);
        ensure!(
            accepted == completed,
            "{accepted} accepted, {completed} completed"
        );
    }
    Ok(cluster)
}

/// Returns how an update has failed.
fn failed<T>(updated: Result<T, WorkflowUpdateError>) -> anyhow::Result<String> {
    let error = updated.err().context("the update succeeded")?;
    Ok(describe(&error))
}

/// What the published starter does: six jobs at once get different nodes, and are deleted at once. Then their nodes and
/// names are free again, and a deleted job is not deleted twice.
#[tokio::test]
async fn gives_nodes_to_jobs_and_takes_them_back() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let manager = start(&env, false).await?;
        let first = state(&manager).await?;
        assert!(first.cluster_started && !first.cluster_shutdown);
        assert_eq!((first.nodes.len(), first.free_nodes().len()), (25, 25));
        let jobs: Vec<String> = (0..6).map(|job| format!("task-{job}")).collect();
        let nodes = try_join_all(jobs.iter().map(|job| assign(&manager, job, 2))).await?;
        let different: BTreeSet<&String> = nodes.iter().flatten().collect();
        assert_eq!((nodes.concat().len(), different.len()), (12, 12));
        // A job that has nodes gets no further ones.
        assert_eq!(assign(&manager, "task-0", 5).await?, nodes[0]);
        let assigned = state(&manager).await?;
        assert_eq!(assigned.jobs_assigned.len(), 6);
        assert_eq!(assigned.nodes_of("task-0"), nodes[0]);
        try_join_all(jobs.iter().map(|job| delete(&manager, job))).await?;
        delete(&manager, "task-0").await?;
        assert_eq!(state(&manager).await?, first);
        assert_eq!(assign(&manager, "task-0", 3).await?.len(), 3);
        shut_down(&manager).await?;
        assert_eq!(result(&manager).await?, (3, 0));

        let types = activity_types(&manager).await?;
        let count = |name: &str| types.iter().filter(|kind| *kind == name).count();
        assert_eq!(types[..2], ["start_cluster", "find_bad_nodes"]);
        assert_eq!(
            (
                count("assign_nodes_to_job"),
                count("unassign_nodes_for_job")
            ),
            (7, 6)
        );
        let cluster = replayed(&histories(&manager).await?)?;
        assert_eq!(cluster.assigned_nodes().len(), 3);
        Ok(())
    })
    .await
}

/// An update that cannot be served fails, with a type, and the workflow goes on.
#[tokio::test]
async fn refuses_more_nodes_than_are_free() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let manager = start(&env, false).await?;
        assign(&manager, "small", 24).await?;
        assert_eq!(
            failed(assign(&manager, "large", 3).await)?,
            "update failed: Cannot assign 3 nodes; have only 1 available (TooFewNodes)"
        );
        // The refused job is not known, so it can ask for fewer nodes.
        assert_eq!(assign(&manager, "large", 1).await?.len(), 1);
        shut_down(&manager).await?;
        assert_eq!(result(&manager).await?, (25, 0));
        Ok(())
    })
    .await
}

/// If an assignment fails, its caller learns why, the next request gets the lock, and the nodes are still free.
#[tokio::test]
async fn an_assignment_fails() -> anyhow::Result<()> {
    let cluster = SlowCluster::started();
    with_worker(
        |queue| cluster.options(queue),
        async |env| {
            let manager = start(&env, false).await?;
            let broken = start_assigning(&manager, "broken", 5, None).await?;
            let next = start_assigning(&manager, "next", 5, None).await?;
            open(&cluster.assigns);
            let reason = failed(broken.get_result(Default::default()).await)?;
            ensure!(reason.contains("no cable"), "{reason}");
            let next = next.get_result(Default::default()).await?;
            assert_eq!(next.nodes_assigned.len(), 5);
            assert_eq!(
                state(&manager).await?.jobs_assigned,
                ["next".to_owned()].into()
            );
            shut_down(&manager).await?;
            assert_eq!(result(&manager).await?, (5, 0));
            replayed(&histories(&manager).await?)?;
            Ok(())
        },
    )
    .await
}

/// Another worker rebuilds the state from the history: a health check holds the lock, and two requests wait for it in
/// their order.
#[tokio::test]
async fn another_worker_goes_on() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let nodes = json!({"node-1": null, "node-2": null, "node-3": null});
    let state = json!({"cluster_started": true, "nodes": nodes});
    let manager: Handle = env.start_json(TYPE, &[json!({"state": state})]).await?;
    let mut requests = Vec::new();
    let without_activities = |queue: &str| {
        let options = WorkerOptions::new(queue).register_workflow::<ClusterManagerWorkflow>()?;
        Ok::<_, WorkflowRegistrationError>(options.build())
    };
    env.work(without_activities, async {
        until(&manager, ActivityTaskScheduled).await?;
        for job in ["first", "second"] {
            requests.push(start_assigning(&manager, job, 1, None).await?);
        }
        Ok(())
    })
    .await?;
    forget_cache(&env.client, &manager.info().workflow_id).await?;
    env.work(options, async {
        for (request, node) in requests.iter().zip(["node-1", "node-2"]) {
            let assigned = request.get_result(Default::default()).await?;
            assert_eq!(assigned.nodes_assigned, [node]);
        }
        shut_down(&manager).await?;
        assert_eq!(result(&manager).await?, (2, 0));
        Ok(())
    })
    .await
}

/// A cluster that is shut down finishes the requests that came before, refuses those that come after, and then ends.
/// That its health checks fail does not matter.
#[tokio::test]
async fn finishes_its_requests_before_it_ends() -> anyhow::Result<()> {
    let cluster = SlowCluster::started();
    with_worker(
        |queue| cluster.options(queue),
        async |env| {
            let manager = start(&env, false).await?;
            let first = start_assigning(&manager, "first", 2, None).await?;
            let second = start_assigning(&manager, "second", 2, None).await?;
            shut_down(&manager).await?;
            until_shut_down(&manager).await?;
            assert_eq!(
                failed(assign(&manager, "late", 1).await)?,
                "update failed: Cannot assign nodes to a job: Cluster is already shut down (ClusterShutDown)"
            );
            assert_eq!(
                failed(delete(&manager, "first").await)?,
                "update failed: Cannot delete a job: Cluster is already shut down (ClusterShutDown)"
            );
            open(&cluster.assigns);
            for assigning in [first, second] {
                let assigned = assigning.get_result(Default::default()).await?;
                assert_eq!(assigned.nodes_assigned.len(), 2);
            }
            assert_eq!(result(&manager).await?, (4, 0));
            replayed(&histories(&manager).await?)?;
            Ok(())
        },
    )
    .await
}

async fn until_shut_down(manager: &Handle) -> anyhow::Result<()> {
    eventually("the shutdown", async || {
        Ok(state(manager).await?.cluster_shutdown.then_some(()))
    })
    .await
}

/// A run whose history is long finishes its requests before it continues as new. A client that sends a request again
/// after that, even under the same update id, gets no further nodes: the server has forgotten the id, but the workflow
/// knows the job. The next run does not start the cluster again.
#[tokio::test]
async fn finishes_its_requests_before_it_continues_as_new() -> anyhow::Result<()> {
    let cluster = SlowCluster::started();
    with_worker(
        |queue| cluster.options(queue),
        async |env| {
            let manager = start(&env, true).await?;
            let first = bound(&manager).await?;
            let id = Some("assign-job");
            let assigning = start_assigning(&manager, "job", 2, id).await?;
            until_long(&manager).await?;
            let events = event_types(&first).await?;
            assert!(!events.contains(&WorkflowExecutionContinuedAsNew));
            open(&cluster.assigns);
            let assigned = assigning.get_result(Default::default()).await?;
            assert_eq!(assigned.nodes_assigned.len(), 2);

            until(&first, WorkflowExecutionContinuedAsNew).await?;
            let again = until_handled(async || {
                let again = start_assigning(&manager, "job", 2, id).await?;
                again.get_result(Default::default()).await
            });
            assert_eq!(again.await?, assigned);
            shut_down(&manager).await?;
            assert_eq!(result(&manager).await?, (2, 0));

            let runs = histories(&first).await?;
            assert_eq!(replayed(&runs)?.nodes_of("job"), assigned.nodes_assigned);
            let with_the_id = runs.iter().filter(|run| {
                run.iter().any(|event| match &event.attributes {
                    Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(update)) => {
                        update.protocol_instance_id.contains("assign-job")
                    }
                    _ => false,
                })
            });
            assert!(
                runs.len() > 1 && with_the_id.count() == 2,
                "{} runs",
                runs.len()
            );
            Ok(())
        },
    )
    .await
}

/// Sends requests that are answered at once, until the history is so long that the run should end.
async fn until_long(manager: &Handle) -> anyhow::Result<()> {
    eventually("a long history", async || {
        state(manager).await?;
        Ok((event_types(manager).await?.len() > 140).then_some(()))
    })
    .await
}

/// A workflow that is cancelled while it finishes its requests does not continue as new, because the next run would not
/// know about the cancellation.
#[tokio::test]
async fn cancelled_before_it_continues_as_new() -> anyhow::Result<()> {
    let cluster = SlowCluster::started();
    with_worker(
        |queue| cluster.options(queue),
        async |env| {
            let manager = start(&env, true).await?;
            state(&manager).await?;
            let assigning = start_assigning(&manager, "job", 2, None).await?;
            until_long(&manager).await?;
            manager.cancel(Default::default()).await?;
            failed(assigning.get_result(Default::default()).await)?;
            let ended = manager.get_result(Default::default()).await;
            ensure!(
                matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
                "{ended:?}"
            );
            Ok(())
        },
    )
    .await
}

/// Several clients assign and delete jobs at the same time, while the workflow continues as new again and again. No job
/// is lost, no node works for two jobs, and no two activities overlap. The state is what the activities have done.
#[tokio::test]
async fn loses_no_job_over_continue_as_new() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let manager = start(&env, true).await?;
        let first = bound(&manager).await?;
        let mut round = 0;
        // In rounds, because requests without any gap would leave no moment at which all handlers have finished.
        while histories(&first).await?.len() < 3 {
            let clients = ["a", "b", "c"].map(async |client| {
                let nodes = 1 + round % 3;
                let job = format!("{client}-{round}");
                let assigned = until_handled(async || assign(&manager, &job, nodes).await);
                ensure!(
                    assigned.await?.len() == nodes,
                    "{job} has not got its nodes"
                );
                if let Some(last) = round.checked_sub(1) {
                    let job = format!("{client}-{last}");
                    until_handled(async || delete(&manager, &job).await).await?;
                }
                Ok(())
            });
            within("a round", try_join_all(clients)).await?;
            round += 1;
        }
        let last = until_handled(async || state(&manager).await).await?;
        let jobs = ["a", "b", "c"].map(|client| format!("{client}-{}", round - 1));
        assert_eq!(last.jobs_assigned, jobs.into());
        shut_down(&manager).await?;
        let (assigned, bad) = result(&manager).await?;

        let runs = histories(&first).await?;
        let cluster = replayed(&runs)?;
        let counts = (cluster.assigned_nodes().len(), cluster.bad_nodes().len());
        assert_eq!(counts, (assigned, bad));
        // A check between the two may have found further bad nodes, and taken them from their jobs.
        for (node, before) in last.nodes {
            let after = &cluster.nodes[&node];
            assert!(
                *after == before || *after == Node::Bad,
                "{node}: {before:?}, {after:?}"
            );
        }
        Ok(())
    })
    .await
}

/// Bad nodes are found while they have a job, and never get another one.
#[tokio::test]
async fn takes_bad_nodes_out() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let manager = start(&env, true).await?;
        let nodes = assign(&manager, "job", 25).await?;
        assert_eq!(nodes.len(), 25);
        let bad = eventually("a health check", async || {
            let state = until_handled(async || state(&manager).await).await?;
            Ok(Some(state.bad_nodes()).filter(|bad| !bad.is_empty()))
        });
        assert_eq!(
            bad.await?,
            ["node-0", "node-10", "node-15", "node-20", "node-5"]
        );
        until_handled(async || delete(&manager, "job").await).await?;
        let other = until_handled(async || assign(&manager, "other", 21).await).await;
        let other = other.err().context("it got bad nodes")?;
        assert!(
            describe(&*other).contains("have only 20 available"),
            "{other:?}"
        );
        shut_down(&manager).await?;
        assert_eq!(result(&manager).await?, (0, 5));
        Ok(())
    })
    .await
}

/// Requests and a shutdown that arrive before the cluster has started are served in their order when it has.
#[tokio::test]
async fn serves_early_requests() -> anyhow::Result<()> {
    let cluster = SlowCluster::default();
    open(&cluster.assigns);
    with_worker(
        |queue| cluster.options(queue),
        async |env| {
            let manager = start(&env, false).await?;
            let early = start_assigning(&manager, "early", 2, None).await?;
            shut_down(&manager).await?;
            let events = event_types(&manager).await?;
            let scheduled = events
                .iter()
                .filter(|event| **event == ActivityTaskScheduled);
            assert!(scheduled.count() < 2, "{events:?}");
            open(&cluster.starts);
            let early = early.get_result(Default::default()).await?;
            assert_eq!(early.nodes_assigned, ["node-0", "node-1"]);
            assert_eq!(result(&manager).await?, (2, 0));
            Ok(())
        },
    )
    .await
}

/// A shutdown that arrives before the first line of `run` counts.
#[tokio::test]
async fn a_shutdown_before_the_first_task() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let manager = start(&env, false).await?;
    shut_down(&manager).await?;
    env.work(options, async {
        assert_eq!(result(&manager).await?, (0, 0));
        Ok(())
    })
    .await
}

/// If the cluster cannot be started, the requests that wait for it fail, and then the workflow fails.
#[tokio::test]
async fn a_cluster_that_does_not_start() -> anyhow::Result<()> {
    let cluster = SlowCluster {
        fails_to_start: true,
        ..Default::default()
    };
    with_worker(
        |queue| cluster.options(queue),
        async |env| {
            let manager = start(&env, false).await?;
            let waiting = start_assigning(&manager, "job", 2, None).await?;
            open(&cluster.starts);
            assert_eq!(
                failed(waiting.get_result(Default::default()).await)?,
                "update failed: The cluster could not be started (ClusterNotStarted)"
            );
            let ended = manager.get_result(Default::default()).await;
            let error = ended.err().context("the workflow completed")?;
            assert!(
                describe(&error).contains("no power"),
                "{}",
                describe(&error)
            );
            replayed(&histories(&manager).await?)?;
            Ok(())
        },
    )
    .await
}

/// A cancelled workflow lets its requests end before it ends itself, CANCELED: those that work, and those that wait for
/// the lock.
#[tokio::test]
async fn cancelled_during_requests() -> anyhow::Result<()> {
    let cluster = SlowCluster::started();
    with_worker(
        |queue| cluster.options(queue),
        async |env| {
            let manager = start(&env, false).await?;
            let working = start_assigning(&manager, "working", 2, None).await?;
            let waiting = start_assigning(&manager, "waiting", 2, None).await?;
            manager.cancel(Default::default()).await?;
            for update in [working, waiting] {
                let reason = failed(update.get_result(Default::default()).await)?;
                ensure!(!reason.contains("completed before"), "{reason}");
            }
            let ended = manager.get_result(Default::default()).await;
            ensure!(
                matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
                "{ended:?}"
            );
            replayed(&histories(&manager).await?)?;
            Ok(())
        },
    )
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let manager = start(&env, false).await?;
    env.ends_cancelled(&manager, options).await
}

/// The state has the JSON that other SDKs write. A run that gets a state does not start the cluster.
#[tokio::test]
async fn goes_on_from_a_state() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let given = json!({
            "cluster_started": true,
            "cluster_shutdown": false,
            "nodes": {"node-0": "BAD!", "node-1": "job", "node-2": null},
            "jobs_assigned": ["job"],
        });
        let manager: Handle = env.start_json(TYPE, &[json!({"state": given})]).await?;
        let untyped = env
            .client
            .get_workflow_handle::<UntypedWorkflow>(&manager.info().workflow_id);
        let update = UntypedUpdate::new("wait_until_cluster_started");
        let state = untyped.execute_update(update, raw_json(&[]), Default::default());
        let payloads = state.await?.payloads;
        let state: Value = serde_json::from_slice(&payloads[0].data)?;
        assert_eq!(state, given);
        assert_eq!(assign(&manager, "job", 2).await?, ["node-1"]);
        // Other SDKs ignore arguments that a handler does not take.
        let shutdown = UntypedSignal::new("shutdown_cluster");
        let anything = raw_json(&[json!({"now": true})]);
        untyped
            .signal(shutdown, anything, Default::default())
            .await?;
        assert_eq!(result(&manager).await?, (1, 1));
        assert_eq!(activity_types(&manager).await?, ["find_bad_nodes"]);
        Ok(())
    })
    .await
}

/// An update that does not decode fails, its caller learns which field is wrong, and the workflow goes on.
#[tokio::test]
async fn refuses_bad_updates() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let manager = start(&env, false).await?;
        let untyped = env
            .client
            .get_workflow_handle::<UntypedWorkflow>(&manager.info().workflow_id);
        let long = "x".repeat(256);
        let cases = [
            ("delete_job", vec![], "the argument is missing"),
            ("delete_job", vec![json!({})], "missing field `job_name`"),
            (
                "delete_job",
                vec![json!({"job_name": 7})],
                "`job_name`: invalid type: integer `7`, expected a string",
            ),
            (
                "delete_job",
                vec![json!({"job_name": ""})],
                "`job_name`: the name has 0 bytes, choose one of 1 to 255",
            ),
            (
                "assign_nodes_to_job",
                vec![json!({"job_name": long, "total_num_nodes": 1})],
                "`job_name`: the name has 256 bytes, choose one of 1 to 255",
            ),
            (
                "assign_nodes_to_job",
                vec![json!({"job_name": "BAD!", "total_num_nodes": 1})],
                "`job_name`: BAD! marks bad nodes, choose another name",
            ),
            (
                "assign_nodes_to_job",
                vec![json!({"job_name": "job", "total_num_nodes": 0})],
                "`total_num_nodes`: invalid value: integer `0`, expected a nonzero usize",
            ),
            (
                "assign_nodes_to_job",
                vec![json!({"job_name": "job", "total_num_nodes": -1})],
                "`total_num_nodes`: invalid value: integer `-1`, expected a nonzero usize",
            ),
        ];
        for (update, arguments, reason) in cases {
            let update = UntypedUpdate::new(update);
            let updated = untyped.execute_update(update, raw_json(&arguments), Default::default());
            let expected = format!("update failed: bad input: {reason} (BadInput)");
            assert_eq!(failed(updated.await)?, expected);
        }
        shut_down(&manager).await?;
        assert_eq!(result(&manager).await?, (0, 0));
        Ok(())
    })
    .await
}

/// Input that does not decode fails the workflow at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let cases = [
            (vec![], "the argument is missing"),
            (
                vec![json!(7)],
                "invalid type: integer `7`, expected struct ClusterManagerInput",
            ),
            (
                vec![json!({"test_continue_as_new": 1})],
                "`test_continue_as_new`: invalid type: integer `1`, expected a boolean",
            ),
            (
                vec![json!({"state": {"nodes": {"node-0": 7}}})],
                "`state.nodes.node-0`: invalid type: integer `7`, expected a string",
            ),
            (
                vec![json!({"state": {"jobs_assigned": "job"}})],
                "`state.jobs_assigned`: invalid type: string \"job\", expected a sequence",
            ),
        ];
        for (arguments, reason) in cases {
            let manager: Handle = env.start_json(TYPE, &arguments).await?;
            assert_eq!(bad_input(&manager).await?, reason);
        }
        Ok(())
    })
    .await
}
