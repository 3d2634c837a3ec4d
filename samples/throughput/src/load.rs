//! Starts many workflows, waits for their results, and records how long each took.

use crate::workflows::{Plan, Shape, ThroughputWorkflow};
use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, future::ready, stream};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;
use temporalio_client::{Client, WorkflowHandle, WorkflowStartOptions};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// A limit for workflows that a stopped load leaves behind. They have nothing to clean up; Temporal recommends
/// against workflow timeouts for workflows that do.
const EXECUTION_TIMEOUT: Duration = Duration::from_secs(600);

/// When the next workflow is started.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When one of so many has ended: closed loop.
    Concurrency(usize),
    /// So many a second, whatever becomes of those before: open loop.
    Rate(f64),
}

/// Many workflows of one plan.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many.
    pub workflows: u32,
    /// How fast.
    pub pace: Pace,
    /// What each does.
    pub plan: Plan,
}

/// How it went.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outcome {
    /// Results, each of them right.
    pub workflows: u32,
    /// From the first start to the last result.
    pub seconds: f64,
    /// The one by the other.
    pub workflows_per_second: f64,
    /// From a workflow's start to its result.
    pub latency_ms: Latency,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// A payload of so many bytes: random, for one that repeats itself would be compressed to nothing,
/// by whoever compresses, and look cheaper than real data.
pub fn payload(bytes: usize) -> String {
    let mut payload = String::new();
    while payload.len() < bytes {
        payload.push_str(&Uuid::new_v4().simple().to_string());
    }
    payload.truncate(bytes);
    payload
}

/// To three digits after the point: no clock here is better than that.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Load {
    /// Starts one workflow; of the shape `signal`, it waits from then on.
    ///
    /// # Errors
    /// If the server refuses.
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

    /// Sends the workflow its signals, if it is one that waits for them, and waits for its result.
    ///
    /// # Errors
    /// If it fails, or returns something else than it should.
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

    /// Runs them all, the first as `id`, the others as `<id>-1` and so on; `ended` is called after
    /// each.
    ///
    /// # Errors
    /// The first failure of a workflow. Those that are open are left to end by themselves.
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
                // From when it was due, not from when it was started: a starter that falls behind
                // would leave out the very waits that it should measure ("coordinated omission").
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
