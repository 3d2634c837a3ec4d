//! The workflow. It manages a cluster: updates give its nodes to jobs and take them back, one at a time.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{
    activities::{ClusterActivities, FindBadNodes, JobNodes},
    cluster::{ClusterState, Node, job_name},
};
use serde::{Deserialize, Serialize};
use shared::{Input, Lock, OrCancelled, handlers_finished, wait_up_to};
use std::{error::Error, num::NonZeroUsize, time::Duration};
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCloseTimeouts, ActivityOptions, ApplicationFailure, WorkflowContext, WorkflowResult,
    WorkflowTermination,
};

/// Type of the failure of an update that arrives after `shutdown_cluster`.
pub const SHUT_DOWN: &str = "ClusterShutDown";

/// Type of the failure of an update that asks for more nodes than are free.
pub const TOO_FEW_NODES: &str = "TooFewNodes";

/// Type of the failure of an update to a cluster that could not be started.
pub const NOT_STARTED: &str = "ClusterNotStarted";

/// Time limit for one attempt of an activity.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for all attempts. All other requests wait meanwhile.
const ACTIVITY_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two health checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(600);

/// Pause between two health checks in the test mode.
const TEST_INTERVAL: Duration = Duration::from_secs(1);

/// Number of events above which a run continues as new in the test mode.
const TEST_EVENTS: u32 = 120;

/// Error of a handler.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// The input: `{"state":null,"test_continue_as_new":false}`. Both fields are optional.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ClusterManagerInput {
    /// The state of the previous run. The first run has none, and starts the cluster.
    pub state: Option<ClusterState>,
    /// Whether to check the nodes every second, and to continue as new above 120 events.
    pub test_continue_as_new: bool,
}

/// The result: `{"num_currently_assigned_nodes":0,"num_bad_nodes":0}`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ClusterManagerResult {
    /// Number of nodes that have a job at the end.
    pub num_currently_assigned_nodes: usize,
    /// Number of bad nodes.
    pub num_bad_nodes: usize,
}

/// The argument of `assign_nodes_to_job`: `{"total_num_nodes":2,"job_name":"job"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AssignNodesToJob {
    /// How many nodes the job needs.
    pub total_num_nodes: NonZeroUsize,
    /// Name of the job.
    #[serde(deserialize_with = "job_name")]
    pub job_name: String,
}

/// The result of `assign_nodes_to_job`: `{"nodes_assigned":["node-0","node-1"]}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct AssignedNodes {
    /// Ids of the nodes of the job.
    pub nodes_assigned: Vec<String>,
}

/// The argument of `delete_job`: `{"job_name":"job"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DeleteJob {
    /// Name of the job.
    #[serde(deserialize_with = "job_name")]
    pub job_name: String,
}

/// Manages a cluster until it is shut down.
///
/// `Default` is right for messages that arrive before `run`: all handlers wait until the cluster has started.
#[workflow]
#[derive(Default)]
pub struct ClusterManagerWorkflow {
    state: ClusterState,
    start_failed: bool,
    lock: Lock,
}

#[workflow_methods]
impl ClusterManagerWorkflow {
    /// Returns how many nodes have a job at the end, and how many are bad.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<ClusterManagerInput>,
    ) -> WorkflowResult<ClusterManagerResult> {
        let ClusterManagerInput {
            state,
            test_continue_as_new,
        } = input.decode(ctx)?;
        ctx.state_mut(|manager| manager.state = state.unwrap_or_default());
        let managed = Self::manage(ctx, test_continue_as_new).await;
        // However a run ends, its handlers finish first: the end would abort their updates, and the next run would not
        // know what they have done.
        handlers_finished(ctx).await?;
        managed?;

        // From here on nothing is awaited, so no handler changes the state any more.
        let state = ctx.state(|manager| manager.state.clone());
        if state.cluster_shutdown {
            return Ok(ClusterManagerResult {
                num_currently_assigned_nodes: state.assigned_nodes().len(),
                num_bad_nodes: state.bad_nodes().len(),
            });
        }
        if ctx.cancellation_token().is_cancelled() {
            // The next run would not know about a cancellation that arrived while the handlers finished.
            return Err(WorkflowTermination::cancelled());
        }
        let next = ClusterManagerInput {
            state: Some(state),
            test_continue_as_new,
        };
        // This always returns an error, which ends the run.
        match ctx.continue_as_new(next.into(), Default::default())? {}
    }

    /// Returns the state as soon as the cluster has started.
    #[update(name = "wait_until_cluster_started")]
    pub async fn wait_until_cluster_started(
        ctx: &mut WorkflowContext<Self>,
        _nothing: Input<()>,
    ) -> Result<ClusterState, HandlerError> {
        Self::until_started(ctx).await?;
        Ok(ctx.state(|manager| manager.state.clone()))
    }

    /// Lets the workflow end when the cluster has started and the requests that came before are done.
    #[signal(name = "shutdown_cluster")]
    pub async fn shutdown_cluster(ctx: &mut WorkflowContext<Self>, _nothing: Input<()>) {
        if Self::until_started(ctx).await.is_ok() {
            ctx.state_mut(|manager| manager.state.cluster_shutdown = true);
        }
    }

    /// Gives free nodes to a job, and returns its nodes. A job that has nodes gets no further ones, so a client can
    /// repeat the request.
    #[update(name = "assign_nodes_to_job")]
    pub async fn assign_nodes_to_job(
        ctx: &mut WorkflowContext<Self>,
        input: Input<AssignNodesToJob>,
    ) -> Result<AssignedNodes, HandlerError> {
        let AssignNodesToJob {
            total_num_nodes,
            job_name,
        } = input.into_result()?;
        Self::until_started(ctx).await?;
        if ctx.state(|manager| manager.state.cluster_shutdown) {
            let message = "Cannot assign nodes to a job: Cluster is already shut down";
            return Err(failure(SHUT_DOWN, message));
        }
        let lock = ctx.state(|manager| manager.lock.clone());
        let _guard = lock.lock(ctx).await?;
        // Only now, because a request that had the lock before may have changed the state.
        if !ctx.state(|manager| manager.state.jobs_assigned.contains(&job_name)) {
            let mut nodes = ctx.state(|manager| manager.state.free_nodes());
            if nodes.len() < total_num_nodes.get() {
                let free = nodes.len();
                let message =
                    format!("Cannot assign {total_num_nodes} nodes; have only {free} available");
                return Err(failure(TOO_FEW_NODES, &message));
            }
            nodes.truncate(total_num_nodes.get());
            let input = JobNodes {
                nodes: nodes.clone(),
                job_name: job_name.clone(),
            };
            // The other handlers go on meanwhile. Without the lock, another job could get the same nodes.
            // Without `or_cancelled`, because an error ends the update and not the workflow.
            ctx.execute_activity(ClusterActivities::assign_nodes_to_job, input, limited())
                .await?;
            ctx.state_mut(|manager| manager.state.assign(&nodes, &job_name));
        }
        let nodes_assigned = ctx.state(|manager| manager.state.nodes_of(&job_name));
        Ok(AssignedNodes { nodes_assigned })
    }

    /// Takes the nodes of a job back. The name can then be used for another job.
    #[update(name = "delete_job")]
    pub async fn delete_job(
        ctx: &mut WorkflowContext<Self>,
        input: Input<DeleteJob>,
    ) -> Result<(), HandlerError> {
        let DeleteJob { job_name } = input.into_result()?;
        Self::until_started(ctx).await?;
        if ctx.state(|manager| manager.state.cluster_shutdown) {
            let message = "Cannot delete a job: Cluster is already shut down";
            return Err(failure(SHUT_DOWN, message));
        }
        let lock = ctx.state(|manager| manager.lock.clone());
        let _guard = lock.lock(ctx).await?;
        let nodes = ctx.state(|manager| manager.state.nodes_of(&job_name));
        if !nodes.is_empty() {
            let input = JobNodes {
                nodes: nodes.clone(),
                job_name: job_name.clone(),
            };
            // Without `or_cancelled`, because an error ends the update and not the workflow.
            ctx.execute_activity(ClusterActivities::unassign_nodes_for_job, input, limited())
                .await?;
        }
        ctx.state_mut(|manager| manager.state.unassign(&nodes, &job_name));
        Ok(())
    }
}

impl ClusterManagerWorkflow {
    /// Starts the cluster and checks its health again and again, until it is shut down or the history is long.
    async fn manage(ctx: &WorkflowContext<Self>, test: bool) -> WorkflowResult<()> {
        // Only the first run starts the cluster. The other ones would forget the jobs.
        if !ctx.state(|manager| manager.state.cluster_started) {
            Self::start(ctx).await?;
        }
        let interval = if test { TEST_INTERVAL } else { CHECK_INTERVAL };
        loop {
            Self::check_health(ctx).await?;
            let long =
                || ctx.continue_as_new_suggested() || (test && ctx.history_length() > TEST_EVENTS);
            let ends = |manager: &Self| manager.state.cluster_shutdown || long();
            if wait_up_to(ctx, interval, ends).await? {
                return Ok(());
            }
        }
    }

    async fn start(ctx: &WorkflowContext<Self>) -> WorkflowResult<()> {
        let started = ctx.execute_activity(ClusterActivities::start_cluster, (), limited());
        let started = started.await.or_cancelled(ctx);
        ctx.state_mut(|manager| match &started {
            Ok(cluster) => {
                let free = |id: &String| (id.clone(), Node::Free);
                manager.state.nodes = cluster.node_ids.iter().map(free).collect();
                manager.state.cluster_started = true;
            }
            Err(_) => manager.start_failed = true,
        });
        started.map(drop)
    }

    /// Marks bad nodes. A check that fails is left out.
    async fn check_health(ctx: &WorkflowContext<Self>) -> WorkflowResult<()> {
        let lock = ctx.state(|manager| manager.lock.clone());
        let _guard = lock.lock(ctx).await?;
        let nodes_to_check = ctx.state(|manager| manager.state.assigned_nodes());
        // One attempt, because all requests wait meanwhile, and the next check comes anyway.
        let options = ActivityOptions::with_close_timeouts(limits())
            .retry_policy(RetryPolicy::builder().maximum_attempts(1).build());
        let input = FindBadNodes { nodes_to_check };
        let checked =
            ctx.execute_activity(ClusterActivities::find_bad_nodes, input, options.build());
        match checked.await {
            Ok(bad) => ctx.state_mut(|manager| manager.state.mark_bad(&bad)),
            Err(_) if ctx.cancellation_token().is_cancelled() => {
                return Err(WorkflowTermination::cancelled());
            }
            Err(error) => {
                if !ctx.is_replaying() {
                    let error = anyhow::Error::new(error);
                    tracing::warn!("health check left out: {}", error.root_cause());
                }
            }
        }
        Ok(())
    }

    /// Waits until the cluster has started.
    async fn until_started(ctx: &WorkflowContext<Self>) -> Result<(), HandlerError> {
        ctx.wait_condition(|manager| manager.state.cluster_started || manager.start_failed)
            .await?;
        match ctx.state(|manager| manager.start_failed) {
            true => Err(failure(NOT_STARTED, "The cluster could not be started")),
            false => Ok(()),
        }
    }
}

fn limits() -> ActivityCloseTimeouts {
    ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: ACTIVITY_TIMEOUT,
        start_to_close: ATTEMPT_TIMEOUT,
    }
}

fn limited() -> ActivityOptions {
    ActivityOptions::with_close_timeouts(limits()).build()
}

fn failure(type_name: &str, message: &str) -> HandlerError {
    let failure = ApplicationFailure::builder(message)
        .type_name(type_name.to_owned())
        .non_retryable(true);
    failure.build().into()
}
