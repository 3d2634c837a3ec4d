//! The workflow, in the five shapes that most workflows are made of, and its child.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::ThroughputActivities;
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, child_id};
use std::time::Duration;
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, ChildWorkflowOptions, LocalActivityOptions,
    SyncWorkflowContext, WorkflowContext, WorkflowResult, workflows::join_all,
};

/// How long an activity may take before it is tried again: longer than an overloaded worker needs,
/// for a second attempt would be load that nobody asked for.
const START_TO_CLOSE: Duration = Duration::from_secs(30);

/// The most activities that a workflow may have pending, by the server's default.
const MAX_PENDING: u32 = 2000;

/// The most payload for activities that run all at once: the 4 MiB that the server writes at a time,
/// less a MiB for everything else that it writes about them.
const MAX_AT_ONCE: u64 = 3 << 20;

/// What the steps of a workflow are.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Activities, one after the other
    #[default]
    Sequence,
    /// Activities, all at once
    Parallel,
    /// Local activities, one after the other
    Local,
    /// Child workflows, one after the other
    Child,
    /// Signals, which the starter sends
    Signal,
}

/// The input of [`ThroughputWorkflow`]: `{"shape":"sequence","activities":1,"payload":"…"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Plan {
    /// What the steps are.
    pub shape: Shape,
    /// How many there are.
    pub activities: u32,
    /// What each of them is given.
    pub payload: String,
}

impl Plan {
    /// Checks that activities that run all at once fit into one workflow task. Otherwise, the server
    /// fails the task again and again, or terminates the workflow.
    ///
    /// # Errors
    /// If they do not. The message names the number and the limit.
    pub fn check(&self) -> Result<(), String> {
        if self.shape != Shape::Parallel {
            return Ok(());
        }
        let bytes = u64::from(self.activities) * self.payload.len() as u64;
        if self.activities > MAX_PENDING {
            Err(format!(
                "{} activities at once, more than the limit of {MAX_PENDING}; lower --activities",
                self.activities
            ))
        } else if bytes > MAX_AT_ONCE {
            Err(format!(
                "all activities at once have {bytes} bytes of payload, more than the limit of \
                 {MAX_AT_ONCE}; lower --activities or --payload"
            ))
        } else {
            Ok(())
        }
    }
}

/// Takes the steps that its input asks for.
#[workflow]
#[derive(Default)]
pub struct ThroughputWorkflow {
    signals: u32,
}

#[workflow_methods]
impl ThroughputWorkflow {
    /// Returns how many steps it took.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, plan: Input<Plan>) -> WorkflowResult<u32> {
        let plan = plan.decode(ctx)?;
        plan.check().map_err(ApplicationFailure::non_retryable)?;
        let Plan {
            shape,
            activities,
            payload,
        } = plan;
        let echo = async |ctx: &WorkflowContext<Self>| {
            let options = ActivityOptions::start_to_close_timeout(START_TO_CLOSE);
            ctx.execute_activity(ThroughputActivities::echo, payload.clone(), options)
                .await
        };
        match shape {
            Shape::Sequence => {
                for _ in 0..activities {
                    echo(ctx).await.or_cancelled(ctx)?;
                }
            }
            Shape::Parallel => {
                let echoes = join_all((0..activities).map(|_| echo(ctx))).await;
                echoes
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()
                    .or_cancelled(ctx)?;
            }
            Shape::Local => {
                // The sample local-activity explains this limit and `timer_backoff_threshold`: otherwise
                // the failure of the last attempt could be lost, and a timeout could cancel a later attempt.
                let retry_policy = RetryPolicy::builder().maximum_attempts(3).build();
                let options = LocalActivityOptions::builder()
                    .start_to_close_timeout(START_TO_CLOSE)
                    .retry_policy(retry_policy)
                    .timer_backoff_threshold(Duration::ZERO)
                    .build();
                for _ in 0..activities {
                    ctx.execute_local_activity(
                        ThroughputActivities::echo,
                        payload.clone(),
                        options.clone(),
                    )
                    .await
                    .or_cancelled(ctx)?;
                }
            }
            Shape::Child => {
                // The longest of the ids, before any child has run.
                if let Some(last) = activities.checked_sub(1) {
                    child_id(ctx.workflow_id(), format_args!("child-{last}"))?;
                }
                for number in 0..activities {
                    let id = child_id(ctx.workflow_id(), format_args!("child-{number}"))?;
                    let options = ChildWorkflowOptions::workflow_id(id);
                    ctx.start_child_workflow(EchoWorkflow::run, payload.clone(), options)
                        .await
                        .or_cancelled(ctx)?
                        .result()
                        .await
                        .or_cancelled(ctx)?;
                }
            }
            Shape::Signal => {
                ctx.wait_condition(|this| this.signals >= activities)
                    .await?;
            }
        }
        Ok(activities)
    }

    /// One step of a workflow of the shape `signal`, whatever it brings.
    #[signal(name = "step")]
    pub fn step(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _payload: Input<String>) {
        self.signals = self.signals.saturating_add(1);
    }
}

/// The child: as little of a workflow as there can be.
#[workflow]
#[derive(Default)]
pub struct EchoWorkflow;

#[workflow_methods]
impl EchoWorkflow {
    /// Returns what it is given.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        payload: Input<String>,
    ) -> WorkflowResult<String> {
        payload.decode(ctx)
    }
}
