//! The state of the cluster: which node works for which job.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::collections::{BTreeMap, BTreeSet};

/// Stands for a bad node on the wire, where other nodes have the name of their job.
const BAD: &str = "BAD!";

/// Bytes of the longest name of a job. Each run passes the names to the next run, so they must stay short.
const MAX_JOB_NAME: usize = 255;

/// What a node does. On the wire: the name of its job, `null`, or `"BAD!"`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(from = "Option<String>", into = "Option<String>")]
pub enum Node {
    /// Has no job.
    Free,
    /// Works for the job of this name.
    Assigned(String),
    /// Has failed a health check, and never gets a job again.
    Bad,
}

impl From<Option<String>> for Node {
    fn from(wire: Option<String>) -> Self {
        match wire {
            None => Self::Free,
            Some(bad) if bad == BAD => Self::Bad,
            Some(job) => Self::Assigned(job),
        }
    }
}

impl From<Node> for Option<String> {
    fn from(node: Node) -> Self {
        match node {
            Node::Free => None,
            Node::Assigned(job) => Some(job),
            Node::Bad => Some(BAD.to_owned()),
        }
    }
}

/// The state that a run passes to the next one:
/// `{"cluster_started":true,"cluster_shutdown":false,"nodes":{"node-0":"job","node-1":null},"jobs_assigned":["job"]}`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct ClusterState {
    /// Whether the nodes are known.
    pub cluster_started: bool,
    /// Whether the cluster takes no more requests.
    pub cluster_shutdown: bool,
    /// All nodes by their ids.
    pub nodes: BTreeMap<String, Node>,
    /// Names of the jobs that have nodes, so that a repeated request gets no further nodes.
    pub jobs_assigned: BTreeSet<String>,
}

impl ClusterState {
    /// Returns the ids of the nodes without a job.
    pub fn free_nodes(&self) -> Vec<String> {
        self.nodes_that(|node| *node == Node::Free)
    }

    /// Returns the ids of the nodes of all jobs.
    pub fn assigned_nodes(&self) -> Vec<String> {
        self.nodes_that(|node| matches!(node, Node::Assigned(_)))
    }

    /// Returns the ids of the bad nodes.
    pub fn bad_nodes(&self) -> Vec<String> {
        self.nodes_that(|node| *node == Node::Bad)
    }

    /// Returns the ids of the nodes of a job, without the nodes that have become bad.
    pub fn nodes_of(&self, job_name: &str) -> Vec<String> {
        self.nodes_that(|node| matches!(node, Node::Assigned(job) if job == job_name))
    }

    fn nodes_that(&self, is: impl Fn(&Node) -> bool) -> Vec<String> {
        let nodes = self.nodes.iter().filter(|(_, node)| is(node));
        nodes.map(|(id, _)| id.clone()).collect()
    }

    /// Gives these nodes to a job.
    pub fn assign(&mut self, ids: &[String], job_name: &str) {
        self.set(ids, &Node::Assigned(job_name.to_owned()));
        self.jobs_assigned.insert(job_name.to_owned());
    }

    /// Takes these nodes, which are those of a job, back from it. From now on, the name can be used again.
    pub fn unassign(&mut self, ids: &[String], job_name: &str) {
        self.set(ids, &Node::Free);
        self.jobs_assigned.remove(job_name);
    }

    /// Marks these nodes as bad.
    pub fn mark_bad(&mut self, ids: &[String]) {
        self.set(ids, &Node::Bad);
    }

    fn set(&mut self, ids: &[String], to: &Node) {
        for id in ids {
            if let Some(node) = self.nodes.get_mut(id) {
                *node = to.clone();
            }
        }
    }
}

/// A name of a job, for `#[serde(deserialize_with = "job_name")]`.
///
/// # Errors
/// If the name is empty, too long, or the mark of bad nodes.
pub fn job_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    match name.len() {
        _ if name == BAD => Err(D::Error::custom(format!(
            "{BAD} marks bad nodes, choose another name"
        ))),
        1..=MAX_JOB_NAME => Ok(name),
        bytes => Err(D::Error::custom(format!(
            "the name has {bytes} bytes, choose one of 1 to {MAX_JOB_NAME}"
        ))),
    }
}
