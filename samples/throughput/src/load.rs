//! Starts many workflows, waits for their results, and records their latencies.

use crate::workflows::{Plan, Shape, ThroughputWorkflow};
use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, future::ready, stream};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;
use temporalio_client::{Client, WorkflowHandle, WorkflowStartOptions};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// Limit for workflows that a stopped load leaves behind. These workflows have nothing to clean up. For workflows that
/// do, Temporal recommends against such a timeout.
const EXECUTION_TIMEOUT: Duration = Duration::from_secs(600);

/// When to start the next workflow.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Closed loop: when fewer than this number of workflows are running.
    Concurrency(usize),
    /// Open loop: this many per second, even if earlier workflows are still running.
    Rate(f64),
}

/// Many workflows with the same plan.
#[derive(Clone, Debug)]
pub struct Load {
    /// Number of workflows.
    pub workflows: u32,
    /// When to start each of them.
    pub pace: Pace,
    /// Input of each workflow.
    pub plan: Plan,
}

/// The measured speed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outcome {
    /// Number of workflows, all of which returned the right result.
    pub workflows: u32,
    /// Seconds from the first start to the last result.
    pub seconds: f64,
    /// Workflows divided by seconds.
    pub workflows_per_second: f64,
    /// Milliseconds from the start of a workflow to its result.
    pub latency_ms: Latency,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// Returns a random payload of this size. Repetitive data would be compressed to almost nothing, and look cheaper than
/// real data.
pub fn payload(bytes: usize) -> String {
    let mut payload = String::new();
    while payload.len() < bytes {
        payload.push_str(&Uuid::new_v4().simple().to_string());
    }
    payload.truncate(bytes);
    payload
}

/// Rounds to three decimal places, because no clock in this sample is more precise.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Load {
    /// Starts one workflow. With the shape `signal`, it then waits for [`Load::finish`] to send the signals.
    ///
    /// # Errors
    /// If the server refuses the start.
    pub async fn start(
        &self,
        client: &Client,
        task_queue: &str,
        id: String,
    ) -> anyhow::Result<WorkflowHandle<Client, ThroughputWorkflow>> {
        let options = WorkflowStartOptions::new(task_queue, id.clone())
            .execution_timeout(EXECUTION_TIMEOUT)
            .build();
        let plan = self.plan.clone().into();
        client
            .start_workflow(ThroughputWorkflow::run, plan, options)
            .await?;
        Ok(client.get_workflow_handle(id))
    }

    /// Sends the signals if the shape is `signal`, and waits for the result.
    ///
    /// # Errors
    /// If the workflow fails, or returns a wrong number of steps.
    pub async fn finish(
        &self,
        handle: WorkflowHandle<Client, ThroughputWorkflow>,
    ) -> anyhow::Result<()> {
        let Plan {
            shape,
            activities,
            payload,
        } = &self.plan;
        if *shape == Shape::Signal {
            for _ in 0..*activities {
                let payload = payload.clone().into();
                handle
                    .signal(ThroughputWorkflow::step, payload, Default::default())
                    .await?;
            }
        }
        let steps = handle.get_result(Default::default()).await?;
        ensure!(
            steps == *activities,
            "{} took {steps} steps, not {activities}",
            handle.info().workflow_id
        );
        Ok(())
    }

    /// Runs all workflows. The first one has the id `id`, and the others have `<id>-1`, `<id>-2` and so on. Calls
    /// `ended` after each of them.
    ///
    /// # Errors
    /// The first failure of a workflow. Workflows that are still running end by themselves.
    pub async fn run(
        &self,
        client: &Client,
        task_queue: &str,
        id: &str,
        ended: impl Fn(),
    ) -> anyhow::Result<Outcome> {
        let began = Instant::now();
        let width = match self.pace {
            Pace::Concurrency(width) => width.max(1),
            Pace::Rate(_) => usize::MAX,
        };
        let one = async |number: u32| -> anyhow::Result<Duration> {
            let due = match self.pace {
                Pace::Concurrency(_) => Instant::now(),
                // The latency begins when the workflow was due. If the starter fell behind and the latency began at
                // the start, it would leave out the waits that it should measure ("coordinated omission").
                Pace::Rate(rate) => began + Duration::from_secs_f64(f64::from(number) / rate),
            };
            sleep_until(due).await;
            let id = match number {
                0 => id.to_owned(),
                number => format!("{id}-{number}"),
            };
            self.finish(self.start(client, task_queue, id).await?)
                .await?;
            Ok(due.elapsed())
        };
        let mut latencies = Histogram::<u64>::new(3).context("no histogram")?;
        stream::iter(0..self.workflows)
            .map(one)
            .buffer_unordered(width)
            .try_for_each(|latency| {
                ended();
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                ready(latencies.record(micros).context("no latency"))
            })
            .await?;
        let seconds = began.elapsed().as_secs_f64();
        let ms = |micros: u64| micros as f64 / 1000.0;
        Ok(Outcome {
            workflows: self.workflows,
            seconds: rounded(seconds),
            workflows_per_second: rounded(f64::from(self.workflows) / seconds),
            latency_ms: Latency {
                p50: ms(latencies.value_at_quantile(0.5)),
                p90: ms(latencies.value_at_quantile(0.9)),
                p99: ms(latencies.value_at_quantile(0.99)),
                max: ms(latencies.max()),
            },
        })
    }
}
