//! The workflow. It parks when its transfer fails, until an operator corrects the account.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{
    activities::{Transfer, TransferActivities},
    search_attribute::TRANSFER_STATUS,
};
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled};
use std::{fmt, time::Duration};
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityOptions, SyncWorkflowContext, WorkflowContext,
    WorkflowContextView, WorkflowResult, WorkflowTermination,
};

/// Number of corrections after which a transfer that fails again is given up.
pub const MAX_CORRECTIONS: u32 = 5;

/// Time limit for one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of attempts before the workflow waits for an operator.
const ATTEMPTS: u32 = 3;

/// Status of a transfer. For the query and in the search attribute it is written as `AWAITING_CORRECTION`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The workflow has not begun.
    #[default]
    Pending,
    /// The activity runs.
    Transferring,
    /// The transfer has failed, and waits until an operator corrects the account.
    AwaitingCorrection,
    /// The transfer is done, and waits until the client approves it.
    AwaitingApproval,
    /// The client has approved.
    Completed,
    /// The client has not approved.
    Rejected,
    /// The transfer has failed again after the last correction.
    Failed,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "PENDING",
            Self::Transferring => "TRANSFERRING",
            Self::AwaitingCorrection => "AWAITING_CORRECTION",
            Self::AwaitingApproval => "AWAITING_APPROVAL",
            Self::Completed => "COMPLETED",
            Self::Rejected => "REJECTED",
            Self::Failed => "FAILED",
        })
    }
}

/// Transfers money. If that fails, it waits for a correction of the account and tries again.
#[workflow]
#[derive(Default)]
pub struct TransferWorkflow {
    status: Status,
    /// Account for the next attempt. It may arrive before the workflow waits for it.
    correction: Option<String>,
    /// The client's first answer. It may arrive before the workflow waits for it.
    approved: Option<bool>,
}

#[workflow_methods]
impl TransferWorkflow {
    /// Returns a sentence that says how the transfer ended.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        transfer: Input<Transfer>,
    ) -> WorkflowResult<String> {
        let mut transfer = transfer.decode(ctx)?;
        let mut corrections = 0;
        loop {
            Self::enter(ctx, Status::Transferring);
            match Self::execute(ctx, &transfer).await {
                Ok(()) => break,
                Err(cancelled @ WorkflowTermination::Cancelled { .. }) => return Err(cancelled),
                Err(error) if corrections == MAX_CORRECTIONS => {
                    Self::enter(ctx, Status::Failed);
                    return Err(error);
                }
                Err(_) => Self::enter(ctx, Status::AwaitingCorrection),
            }
            // Without a deadline, because an operator may need days. It costs nothing.
            ctx.wait_condition(|workflow| workflow.correction.is_some())
                .await?;
            // Taken, so that the next wait needs another correction.
            if let Some(account) = ctx.state_mut(|workflow| workflow.correction.take()) {
                transfer.to_account = account;
            }
            corrections += 1;
        }
        Self::enter(ctx, Status::AwaitingApproval);
        ctx.wait_condition(|workflow| workflow.approved.is_some())
            .await?;
        if ctx.state(|workflow| workflow.approved == Some(false)) {
            Self::enter(ctx, Status::Rejected);
            return Ok("Transfer rejected by client".to_owned());
        }
        Self::enter(ctx, Status::Completed);
        let Transfer {
            amount, to_account, ..
        } = transfer;
        // `{:?}` writes `500.0`, as other languages do, and `{}` would write `500`.
        Ok(format!("Transfer of {amount:?} to {to_account} completed"))
    }

    /// Corrects the account. A later correction replaces one that the workflow has not used yet.
    #[signal(name = "retry_with_correction")]
    pub fn retry_with_correction(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        account: Input<String>,
    ) {
        match account.or_ignored(ctx, "retry_with_correction") {
            Some(account) if account.trim().is_empty() => {
                ignored(ctx, "retry_with_correction", "the account is empty");
            }
            Some(account) => self.correction = Some(account),
            None => {}
        }
    }

    /// Approves or rejects. The first answer counts.
    #[signal(name = "approve")]
    pub fn approve(&mut self, ctx: &mut SyncWorkflowContext<Self>, approved: Input<bool>) {
        let Some(approved) = approved.or_ignored(ctx, "approve") else {
            return;
        };
        match self.approved {
            None => self.approved = Some(approved),
            Some(_) => ignored(ctx, "approve", "the client has answered"),
        }
    }

    /// Returns the status, also after the end.
    #[query(name = "get_status")]
    pub fn get_status(&self, _ctx: &WorkflowContextView, _nothing: Input<()>) -> Status {
        self.status
    }
}

impl TransferWorkflow {
    /// Shows the new status to the query, and to operators who list workflows by the search attribute.
    fn enter(ctx: &WorkflowContext<Self>, status: Status) {
        ctx.state_mut(|workflow| workflow.status = status);
        ctx.upsert_search_attributes([TRANSFER_STATUS.value_set(status.to_string())]);
    }

    async fn execute(ctx: &WorkflowContext<Self>, transfer: &Transfer) -> WorkflowResult<()> {
        let retry_policy = RetryPolicy::builder().maximum_attempts(ATTEMPTS);
        let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT_TIMEOUT)
            .retry_policy(retry_policy.build())
            // By default a cancelled workflow would end while the transfer may still succeed.
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .build();
        let execute_transfer = TransferActivities::execute_transfer;
        ctx.execute_activity(execute_transfer, transfer.clone(), options)
            .await
            .or_cancelled(ctx)
    }
}

fn ignored<W>(ctx: &SyncWorkflowContext<W>, signal: &str, reason: &str) {
    if !ctx.is_replaying() {
        tracing::warn!(
            workflow_id = ctx.workflow_id(),
            "{signal} ignored: {reason}"
        );
    }
}
