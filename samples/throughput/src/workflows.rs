//! The workflow, in the five shapes that most workflows consist of, and its child.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::ThroughputActivities;
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, child_id, child_result};
use std::time::Duration;
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, ChildWorkflowOptions, LocalActivityOptions,
    SyncWorkflowContext, WorkflowCancellationToken, WorkflowContext, WorkflowResult,
    WorkflowTermination, workflows::join_all,
};

/// Limit for one attempt of an activity. It is longer than an overloaded worker needs, because a second attempt would
/// be additional load.
const START_TO_CLOSE: Duration = Duration::from_secs(30);

/// Default limit of the server for the pending activities of a workflow.
const MAX_PENDING: u32 = 2000;

/// Limit for the payloads of activities that run all at once. The server writes at most 4 MiB at a time, and needs
/// 1 MiB of these for its own records of the activities.
const MAX_AT_ONCE: u64 = 3 << 20;

/// The kind of steps that a workflow takes.
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
    /// Kind of steps.
    pub shape: Shape,
    /// Number of steps.
    pub activities: u32,
    /// Input of each step.
    pub payload: String,
}

impl Plan {
    /// Checks that activities that run all at once fit into one workflow task. Otherwise the server would
    /// fail the task again and again, or terminate the workflow.
    ///
    /// # Errors
    /// If they do not fit. The message has the number and the limit.
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

/// Takes the steps that its input describes.
#[workflow]
#[derive(Default)]
pub struct ThroughputWorkflow {
    signals: u32,
}

#[workflow_methods]
impl ThroughputWorkflow {
    /// Returns the number of steps.
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
                // Checks the longest id before any child starts.
                if let Some(last) = activities.checked_sub(1) {
                    child_id(ctx.workflow_id(), format_args!("child-{last}"))?;
                }
                for number in 0..activities {
                    let id = child_id(ctx.workflow_id(), format_args!("child-{number}"))?;
                    if ctx.cancellation_token().is_cancelled() {
                        return Err(WorkflowTermination::cancelled());
                    }
                    let options = ChildWorkflowOptions::builder()
                        .workflow_id(id.clone())
                        // `child_result` cancels the child. If the SDK did it, and the child had been terminated
                        // in the meantime, this workflow's task would fail forever.
                        .cancellation_token(WorkflowCancellationToken::new())
                        .build();
                    let child = ctx
                        .start_child_workflow(EchoWorkflow::run, payload.clone(), options)
                        .await
                        .or_cancelled(ctx)?;
                    child_result(ctx, id, child, ctx.cancelled()).await?;
                }
            }
            Shape::Signal => {
                ctx.wait_condition(|this| this.signals >= activities)
                    .await?;
            }
        }
        Ok(activities)
    }

    /// Takes one step of a workflow with the shape `signal`. A payload that does not decode counts too.
    #[signal(name = "step")]
    pub fn step(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _payload: Input<String>) {
        self.signals = self.signals.saturating_add(1);
    }
}

/// The child: a workflow that does no work.
#[workflow]
#[derive(Default)]
pub struct EchoWorkflow;

#[workflow_methods]
impl EchoWorkflow {
    /// Returns its input.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        payload: Input<String>,
    ) -> WorkflowResult<String> {
        payload.decode(ctx)
    }
}
