//! The activities. They stand in for a cluster of 25 nodes.

use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// Number of nodes in the cluster.
const NODES: usize = 25;

/// The result of `start_cluster`: `{"node_ids":["node-0","node-1"]}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct StartedCluster {
    /// Ids of all nodes.
    pub node_ids: Vec<String>,
}

/// The argument of `assign_nodes_to_job` and `unassign_nodes_for_job`: `{"nodes":["node-0"],"job_name":"job"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct JobNodes {
    /// Ids of the nodes.
    pub nodes: Vec<String>,
    /// Name of the job.
    pub job_name: String,
}

/// The argument of `find_bad_nodes`: `{"nodes_to_check":["node-0"]}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct FindBadNodes {
    /// Ids of the nodes.
    pub nodes_to_check: Vec<String>,
}

/// The activities of this sample.
#[derive(Clone, Copy, Debug)]
pub struct ClusterActivities {
    /// How long the cluster takes to change or to check nodes.
    pub work_time: Duration,
}

impl Default for ClusterActivities {
    fn default() -> Self {
        Self {
            work_time: Duration::from_millis(100),
        }
    }
}

#[activities]
impl ClusterActivities {
    /// Starts the cluster, and returns its nodes.
    #[activity(name = "start_cluster")]
    pub async fn start_cluster(_ctx: ActivityContext) -> Result<StartedCluster, ActivityError> {
        let node_ids = (0..NODES).map(|number| format!("node-{number}")).collect();
        Ok(StartedCluster { node_ids })
    }

    /// Lets the nodes work for the job. A second attempt changes nothing.
    #[activity(name = "assign_nodes_to_job")]
    pub async fn assign_nodes_to_job(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: JobNodes,
    ) -> Result<(), ActivityError> {
        tokio::time::sleep(self.work_time).await;
        tracing::debug!(
            "{} assigned to {:?}",
            input.nodes.join(", "),
            input.job_name
        );
        Ok(())
    }

    /// Lets the nodes work for no job. A second attempt changes nothing.
    #[activity(name = "unassign_nodes_for_job")]
    pub async fn unassign_nodes_for_job(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: JobNodes,
    ) -> Result<(), ActivityError> {
        tokio::time::sleep(self.work_time).await;
        tracing::debug!("{} taken from {:?}", input.nodes.join(", "), input.job_name);
        Ok(())
    }

    /// Returns which of the nodes are bad: those whose number is divisible by 5.
    #[activity(name = "find_bad_nodes")]
    pub async fn find_bad_nodes(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: FindBadNodes,
    ) -> Result<Vec<String>, ActivityError> {
        tokio::time::sleep(self.work_time).await;
        let nodes = input.nodes_to_check.into_iter();
        Ok(nodes.filter(|id| is_bad(id)).collect())
    }
}

fn is_bad(id: &str) -> bool {
    let number = id
        .strip_prefix("node-")
        .and_then(|number| number.parse().ok());
    number.is_some_and(|number: u64| number.is_multiple_of(5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::ActivityEnvironment;

    /// The cluster has 25 nodes, and every fifth of those that are checked is bad. An unknown node is not.
    #[tokio::test]
    async fn every_fifth_node_is_bad() -> anyhow::Result<()> {
        let work_time = Duration::ZERO;
        let env = ActivityEnvironment::builder()
            .register_activities(ClusterActivities { work_time })
            .build();
        let started = env.run(ClusterActivities::start_cluster, ()).await?;
        let mut nodes_to_check = started.node_ids;
        assert_eq!(nodes_to_check.len(), 25);
        nodes_to_check.retain(|id| id != "node-5");
        nodes_to_check.extend(["node-x".to_owned(), "25".to_owned()]);
        let input = FindBadNodes { nodes_to_check };
        let bad = env.run(ClusterActivities::find_bad_nodes, input).await?;
        assert_eq!(bad, ["node-0", "node-10", "node-15", "node-20"]);
        Ok(())
    }

    /// Nodes can be given to a job and taken back.
    #[tokio::test]
    async fn assigns_and_unassigns() -> anyhow::Result<()> {
        let work_time = Duration::ZERO;
        let env = ActivityEnvironment::builder()
            .register_activities(ClusterActivities { work_time })
            .build();
        let input = JobNodes {
            nodes: vec!["node-1".to_owned()],
            job_name: "job".to_owned(),
        };
        env.run(ClusterActivities::assign_nodes_to_job, input.clone())
            .await?;
        env.run(ClusterActivities::unassign_nodes_for_job, input)
            .await?;
        Ok(())
    }
}
