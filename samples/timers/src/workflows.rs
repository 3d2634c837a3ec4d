//! The workflows. Each waits for activities and for a timer at the same time.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::OrderActivities;
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, at_most, describe, sleep};
use std::{cell::RefCell, num::NonZeroU64, pin::pin, time::Duration};
use temporalio_common::{RetryPolicy, error::ActivityExecutionError};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityCloseTimeouts, ActivityOptions, ApplicationFailure,
    CancellableFuture, TimerOptions, TimerResult, WorkflowCancellationToken, WorkflowContext,
    WorkflowContextView, WorkflowResult, WorkflowTermination,
    workflows::{join_all, select},
};

/// Type of the failure of a workflow that has reached its deadline.
pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// Time limit for all attempts to clean up.
pub const CLEANUP_LIMIT: Duration = Duration::from_secs(60);

/// Time limit for one attempt to process an order of `SampleTimerWorkflow`.
const ORDER_LIMIT: Duration = Duration::from_secs(10);

/// Time limit for one attempt to send an e-mail.
const EMAIL_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Time limit for one attempt to do work that has a deadline of its own.
const WORK_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The input of `processOrderWorkflow`: `{"orderProcessingMS":4000,"sendDelayedEmailTimeoutMS":1000}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct ProcessOrderInput {
    /// Time limit for one attempt to process the order, in milliseconds. An attempt takes half of it.
    #[serde(rename = "orderProcessingMS")]
    pub order_processing_ms: NonZeroU64,
    /// Time after which the customer gets an e-mail, in milliseconds.
    #[serde(rename = "sendDelayedEmailTimeoutMS")]
    pub send_delayed_email_timeout_ms: NonZeroU64,
}

/// Processes an order, and sends an e-mail if that takes long. The TypeScript sample sends milliseconds.
#[workflow]
#[derive(Default)]
pub struct ProcessOrderWorkflow;

#[workflow_methods]
impl ProcessOrderWorkflow {
    /// Returns `Order completed!`.
    #[run(name = "processOrderWorkflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<ProcessOrderInput>,
    ) -> WorkflowResult<String> {
        let input = input.decode(ctx)?;
        let limit = milliseconds(input.order_processing_ms);
        let patience = milliseconds(input.send_delayed_email_timeout_ms);
        process_order(ctx, limit, patience).await?;
        Ok("Order completed!".to_owned())
    }
}

/// Processes an order, and sends an e-mail if that takes long. The Go sample sends nanoseconds.
#[workflow]
#[derive(Default)]
pub struct SampleTimerWorkflow;

#[workflow_methods]
impl SampleTimerWorkflow {
    /// Returns nothing. Takes the time after which the customer gets an e-mail, in nanoseconds.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        threshold: Input<NonZeroU64>,
    ) -> WorkflowResult<()> {
        let patience = Duration::from_nanos(threshold.decode(ctx)?.get());
        process_order(ctx, ORDER_LIMIT, patience).await
    }
}

/// Processes an order, and sends one e-mail if the order is not done when the timer fires.
async fn process_order<W>(
    ctx: &WorkflowContext<W>,
    limit: Duration,
    patience: Duration,
) -> WorkflowResult<()> {
    let options = work_options(limit, &ctx.cancellation_token());
    let mut order = ctx.execute_activity(OrderActivities::process_order, (), options);
    let mut timer = detached_timer(ctx, patience);
    select! {
        // The first branch wins if both are ready. A customer whose order is done gets no e-mail.
        processed = order => {
            timer.cancel();
            processed.or_cancelled(ctx)
        }
        _ = timer => {
            send_email(ctx).await;
            // The same future again: the order has been running all the time.
            order.await.or_cancelled(ctx)
        }
    }
}

/// Sends the e-mail. A failure is only logged, because it must not fail the order.
async fn send_email<W>(ctx: &WorkflowContext<W>) {
    let options = ActivityOptions::with_start_to_close_timeout(EMAIL_LIMIT)
        // Without a limit, an e-mail service that is down would keep the workflow from completing.
        .retry_policy(RetryPolicy::builder().maximum_attempts(3).build())
        .build();
    let email = OrderActivities::send_notification_email;
    let sent = ctx.execute_activity(email, (), options).await;
    if let Err(error) = sent
        && !ctx.is_replaying()
    {
        tracing::warn!("no e-mail sent: {}", describe(&error));
    }
}

/// Counts to 100 %, a tenth each second.
#[workflow]
#[derive(Default)]
pub struct ProgressWorkflow {
    percent: u32,
}

#[workflow_methods]
impl ProgressWorkflow {
    /// Returns nothing, after ten seconds.
    #[run(name = "progress")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, nothing: Input<()>) -> WorkflowResult<()> {
        nothing.decode(ctx)?;
        for _ in 0..10 {
            sleep(ctx, Duration::from_secs(1)).await?;
            ctx.state_mut(|workflow| workflow.percent += 10);
        }
        Ok(())
    }

    /// Returns how far it is, in percent.
    #[query(name = "getProgress")]
    pub fn get_progress(&self, _ctx: &WorkflowContextView, _nothing: Input<()>) -> u32 {
        self.percent
    }
}

/// The input of [`ActivityDeadlineWorkflow`]: `{"work_ms":60000,"deadline_ms":1000}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct ActivityDeadlineInput {
    /// How long the work takes, in milliseconds.
    pub work_ms: NonZeroU64,
    /// Time limit for all attempts to do the work, in milliseconds.
    pub deadline_ms: NonZeroU64,
}

/// Stops an activity at a deadline, and goes on.
#[workflow]
#[derive(Default)]
pub struct ActivityDeadlineWorkflow;

#[workflow_methods]
impl ActivityDeadlineWorkflow {
    /// Returns `done`, or `stopped at the deadline`.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<ActivityDeadlineInput>,
    ) -> WorkflowResult<String> {
        let input = input.decode(ctx)?;
        let options = work_options(WORK_LIMIT, &ctx.cancellation_token());
        let mut work = ctx.execute_activity(OrderActivities::do_work, input.work_ms, options);
        let mut deadline = detached_timer(ctx, milliseconds(input.deadline_ms));
        let done = select! {
            worked = work => {
                deadline.cancel();
                worked.or_cancelled(ctx)?;
                true
            }
            _ = deadline => {
                // If the future were only dropped, the activity would go on.
                work.cancel();
                // The work may have been done in the meantime. After an error it is not done, whatever the error is.
                work.await.is_ok()
            }
        };
        if !done && ctx.cancellation_token().is_cancelled() {
            return Err(WorkflowTermination::cancelled());
        }
        let result = if done {
            "done"
        } else {
            "stopped at the deadline"
        };
        Ok(result.to_owned())
    }
}

/// The input of [`CancellationScopeWorkflow`]: `{"work_ms":[100,60000],"deadline_ms":1000}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CancellationScopeInput {
    /// How long the work of each activity takes, in milliseconds; at most 100 activities.
    #[serde(deserialize_with = "at_most::<_, _, 100>")]
    pub work_ms: Vec<NonZeroU64>,
    /// Time limit for all of them, in milliseconds.
    pub deadline_ms: NonZeroU64,
}

/// The result of [`CancellationScopeWorkflow`]: `{"done":1,"stopped":1}`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct CancellationScopeResult {
    /// Number of activities that have done their work.
    pub done: usize,
    /// Number of activities that were cancelled.
    pub stopped: usize,
}

/// Runs a group of activities. A failure or the deadline cancels the whole group, and nothing else.
#[workflow]
#[derive(Default)]
pub struct CancellationScopeWorkflow;

#[workflow_methods]
impl CancellationScopeWorkflow {
    /// Returns how many activities were done at the deadline. Fails if one of them fails before.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<CancellationScopeInput>,
    ) -> WorkflowResult<CancellationScopeResult> {
        let input = input.decode(ctx)?;
        // The scope is cancelled with the workflow, but the workflow is not cancelled with the scope. It must stay
        // in a variable: the activities do not keep a token alive, and without it nothing would cancel them.
        let scope = ctx.cancellation_token().child_token();
        let failure = RefCell::new(None);
        let do_work = async |work_ms| {
            let options = work_options(WORK_LIMIT, &scope);
            let work = ctx.execute_activity(OrderActivities::do_work, work_ms, options);
            let Err(error) = work.await else { return true };
            // Only the first failure counts. The others follow from the cancellation.
            if !scope.is_cancelled() {
                failure.replace(Some(error));
                scope.cancel();
            }
            false
        };
        let mut group = pin!(join_all(input.work_ms.into_iter().map(do_work)).fuse());
        let mut deadline = detached_timer(ctx, milliseconds(input.deadline_ms));
        let done = select! {
            done = group => {
                deadline.cancel();
                done
            }
            _ = deadline => {
                scope.cancel();
                group.await
            }
        };
        failure.take().map_or(Ok(()), Err).or_cancelled(ctx)?;
        let (done, stopped): (Vec<_>, Vec<_>) = done.into_iter().partition(|done| *done);
        if !stopped.is_empty() && ctx.cancellation_token().is_cancelled() {
            return Err(WorkflowTermination::cancelled());
        }
        Ok(CancellationScopeResult {
            done: done.len(),
            stopped: stopped.len(),
        })
    }
}

/// The input of [`WorkflowDeadlineWorkflow`]: `{"steps":3,"step_ms":100,"deadline_ms":1000}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct WorkflowDeadlineInput {
    /// Number of steps.
    pub steps: u8,
    /// How long each step takes, in milliseconds.
    pub step_ms: NonZeroU64,
    /// Time limit for all steps, in milliseconds. Cleaning up comes after it.
    pub deadline_ms: NonZeroU64,
}

/// Does some steps, and cleans up if it does not get to their end: at the deadline, after a failure or a cancellation.
#[workflow]
#[derive(Default)]
pub struct WorkflowDeadlineWorkflow;

#[workflow_methods]
impl WorkflowDeadlineWorkflow {
    /// Returns `done`. Fails at the deadline, with the type [`DEADLINE_EXCEEDED`].
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<WorkflowDeadlineInput>,
    ) -> WorkflowResult<String> {
        let input = input.decode(ctx)?;
        let scope = ctx.cancellation_token().child_token();
        let steps = async {
            for _ in 0..input.steps {
                let options = work_options(WORK_LIMIT, &scope);
                let step = ctx.execute_activity(OrderActivities::do_work, input.step_ms, options);
                step.await?;
            }
            Ok::<_, ActivityExecutionError>("done".to_owned())
        };
        let mut steps = pin!(steps.fuse());
        let mut deadline = detached_timer(ctx, milliseconds(input.deadline_ms));
        let mut late = false;
        let ended = select! {
            ended = steps => {
                deadline.cancel();
                ended
            }
            _ = deadline => {
                late = true;
                scope.cancel();
                steps.await
            }
        };
        let error = match ended {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        clean_up(ctx).await?;
        if late && !ctx.cancellation_token().is_cancelled() {
            let failure =
                ApplicationFailure::builder(format!("not done within {} ms", input.deadline_ms))
                    .type_name(DEADLINE_EXCEEDED.to_owned());
            return Err(failure.build().into());
        }
        Err(error).or_cancelled(ctx)
    }
}

/// Cleans up, even if the workflow is cancelled.
async fn clean_up<W>(ctx: &WorkflowContext<W>) -> WorkflowResult<()> {
    // Detached from the workflow's token, which may be cancelled. In a variable, like the scopes above.
    let token = WorkflowCancellationToken::new();
    let limits = ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: CLEANUP_LIMIT,
        start_to_close: CLEANUP_LIMIT / 6,
    };
    let options = ActivityOptions::with_close_timeouts(limits).cancellation_token(token.clone());
    let cleanup = OrderActivities::clean_up;
    // Without `or_cancelled`, so that a failed cleanup fails the workflow.
    Ok(ctx.execute_activity(cleanup, (), options.build()).await?)
}

/// Returns the options of an activity that stops when `token` is cancelled.
fn work_options(limit: Duration, token: &WorkflowCancellationToken) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(limit)
        // The activity learns about a cancellation from its heartbeats, and the server about a dead worker.
        .heartbeat_timeout(Duration::from_secs(2))
        // By default the workflow does not wait for the end of a cancelled activity.
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .cancellation_token(token.clone())
        .build()
}

/// Starts a timer that is not cancelled with the workflow. If it were, and fired in the workflow task in which the
/// cancellation arrives, SDK 1.1.1 would panic at every attempt, and the workflow would never end.
fn detached_timer<W>(
    ctx: &WorkflowContext<W>,
    duration: Duration,
) -> impl CancellableFuture<Output = TimerResult> {
    let token = WorkflowCancellationToken::new();
    ctx.timer(
        TimerOptions::builder(duration)
            .cancellation_token(token)
            .build(),
    )
}

fn milliseconds(number: NonZeroU64) -> Duration {
    Duration::from_millis(number.get())
}
