//! The payment. It blocks the amount, sends the transfer to a switch, and debits the account once the switch has moved
//! the money. If anything is unclear, it asks the switch.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{
    activities::PaymentActivities,
    compensations::{compensation_failed, unless_cancelled},
    ledger::Status,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use shared::{Input, OrCancelled, wait_up_to};
use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityExecutionError, ActivityOptions, ApplicationFailure,
    SyncWorkflowContext, WorkflowCancellationToken, WorkflowContext, WorkflowResult,
    WorkflowTermination,
};

/// Type of the failure of a payment that the switch has refused.
pub const SWITCH_REFUSED: &str = "SwitchRefused";

/// Type of the failure of a payment that the switch has not confirmed in time.
pub const NOT_CONFIRMED: &str = "NotConfirmed";

/// Time limit for one attempt at most activities.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Time limit for all attempts to send the transfer to the switch.
const SUBMIT: Duration = Duration::from_secs(10);

/// Time limit for one attempt to debit the account.
const DEBIT: Duration = Duration::from_secs(15);

/// Default time in which the switch has to confirm a transfer.
const SLA: Duration = Duration::from_secs(60);

/// Maximum length of a payment id in bytes, because keys are made from it.
const MAX_PAYMENT_ID: usize = 200;

/// Input of `InterBankPaymentWorkflow`:
/// `{"payment_id":"p-1","source_account":"a","destination_account":"b","amount":100,"currency":"EUR"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Payment {
    /// Number of the payment, which is also the workflow id.
    #[serde(deserialize_with = "payment_id")]
    pub payment_id: String,
    /// Account that pays.
    pub source_account: String,
    /// Account that receives the money.
    pub destination_account: String,
    /// Amount in the smallest unit of the currency.
    pub amount: NonZeroU64,
    /// Currency.
    pub currency: String,
    /// Seconds in which the switch has to confirm the transfer; 60 if absent.
    #[serde(default)]
    pub sla_seconds: Option<NonZeroU32>,
}

/// Input of an activity: the whole payment, and what identifies the request.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PaymentStep {
    /// Input of the workflow.
    #[serde(flatten)]
    pub payment: Payment,
    /// Number of the transfer, once `reserve_and_block` has returned it.
    #[serde(default)]
    pub tx_id: Option<String>,
    /// Tells the bank and the switch which requests are attempts at the same step.
    pub idempotency_key: String,
    /// Of a compensation: the key of the step that it undoes.
    #[serde(default)]
    pub undoes: Option<String>,
}

/// Result of `reserve_and_block`, and input of `ask_switch`: `{"tx_id":"tx-p-1"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Transfer {
    /// Number of the transfer.
    pub tx_id: String,
}

/// Result of `ask_switch` and `cancel_with_switch`: `{"status":"SUCCESS"}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Answer {
    /// State of the transfer.
    pub status: Status,
}

/// The decision of the switch. On the wire: `SUCCESS` or `FAILURE`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Decision {
    /// The money has moved.
    Success,
    /// The money has not moved.
    Failure,
}

/// The argument of `switch_confirmed`: `{"tx_id":"tx-p-1","status":"FAILURE","reason":"account closed"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SwitchConfirmed {
    /// Number of the transfer.
    pub tx_id: String,
    /// What the switch has decided.
    pub status: Decision,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Sends money to another bank, or changes nothing.
#[workflow]
#[derive(Default)]
pub struct InterBankPaymentWorkflow {
    /// The first confirmation of each transfer. It may arrive before `run` begins.
    confirmations: BTreeMap<String, SwitchConfirmed>,
}

#[workflow_methods]
impl InterBankPaymentWorkflow {
    /// Returns the number of the transfer.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        payment: Input<Payment>,
    ) -> WorkflowResult<String> {
        let payment = payment.decode(ctx)?;
        unless_cancelled(ctx)?;
        // For activities that must run in a cancelled workflow, too. They hold it weakly, so it must live until the end.
        let detached = WorkflowCancellationToken::new();

        let tx_id = match reserve(ctx, &payment).await {
            Ok(tx_id) => tx_id,
            Err(error) => {
                unblock(ctx, &payment, None, &detached).await;
                return Err(error);
            }
        };
        if let Err(cancelled) = unless_cancelled(ctx) {
            unblock(ctx, &payment, Some(&tx_id), &detached).await;
            return Err(cancelled);
        }
        if let Err(error) = submit_and_wait(ctx, &payment, &tx_id).await {
            // Whatever has failed, the money may have moved. If the switch does not know either, the amount stays blocked.
            if !has_moved(ctx, &payment, &tx_id, &detached).await? {
                unblock(ctx, &payment, Some(&tx_id), &detached).await;
                return Err(error);
            }
        }
        // The money has moved, so there is no way back. The debit is retried until it succeeds, cancelled or not.
        let debit = step(&payment, Some(&tx_id), format!("{tx_id}:debit"));
        let options = ActivityOptions::with_start_to_close_timeout(DEBIT)
            .cancellation_token(detached.clone())
            .build();
        // Without `or_cancelled`, because a debit that fails for good is more than a cancelled payment.
        ctx.execute_activity(PaymentActivities::debit_and_settle, debit, options)
            .await?;
        Ok(tx_id)
    }

    /// Receives the decision of the switch. Only the first one for a transfer counts.
    #[signal(name = "switch_confirmed")]
    pub fn switch_confirmed(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        confirmation: Input<SwitchConfirmed>,
    ) {
        if let Some(confirmation) = confirmation.or_ignored(ctx, "switch_confirmed") {
            self.confirmations
                .entry(confirmation.tx_id.clone())
                .or_insert(confirmation);
        }
    }
}

type Context = WorkflowContext<InterBankPaymentWorkflow>;

/// Blocks the amount, and returns the number of the transfer.
async fn reserve(ctx: &Context, payment: &Payment) -> WorkflowResult<String> {
    let input = step(payment, None, reserve_key(payment));
    let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT)
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .build();
    let Transfer { tx_id } = ctx
        .execute_activity(PaymentActivities::reserve_and_block, input, options)
        .await
        .or_cancelled(ctx)?;
    Ok(tx_id)
}

/// Sends the transfer to the switch, and waits until the switch confirms it.
async fn submit_and_wait(ctx: &Context, payment: &Payment, tx_id: &str) -> WorkflowResult<()> {
    let input = step(payment, Some(tx_id), submit_key(tx_id));
    let options = ActivityOptions::with_schedule_to_close_timeout(SUBMIT)
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .build();
    ctx.execute_activity(PaymentActivities::submit_to_switch, input, options)
        .await
        .or_cancelled(ctx)?;

    let sla = payment
        .sla_seconds
        .map_or(SLA, |seconds| Duration::from_secs(seconds.get().into()));
    wait_up_to(ctx, sla, |payment| {
        payment.confirmations.contains_key(tx_id)
    })
    .await?;
    match ctx.state(|payment| payment.confirmations.get(tx_id).cloned()) {
        Some(confirmed) if confirmed.status == Decision::Success => Ok(()),
        Some(refused) => {
            let message = format!("the switch refused the transfer: {}", refused.reason);
            Err(failure(SWITCH_REFUSED, message))
        }
        None => {
            let message = format!("the switch did not confirm the transfer within {sla:?}");
            Err(failure(NOT_CONFIRMED, message))
        }
    }
}

/// Asks the switch whether the money has moved, and cancels the transfer if it has not. The answer to the cancellation
/// is final, because the switch may have moved the money after the question.
async fn has_moved(
    ctx: &Context,
    payment: &Payment,
    tx_id: &str,
    detached: &WorkflowCancellationToken,
) -> Result<bool, ActivityExecutionError> {
    let transfer = Transfer {
        tx_id: tx_id.to_owned(),
    };
    // Without `or_cancelled`, because the amount stays blocked, which a cancelled payment would hide.
    let asked = ctx
        .execute_activity(PaymentActivities::ask_switch, transfer, undo(detached))
        .await?;
    if asked.status == Status::Success {
        return Ok(true);
    }
    let mut input = step(payment, Some(tx_id), format!("{tx_id}:comp-submit"));
    input.undoes = Some(submit_key(tx_id));
    // Without `or_cancelled`, for the same reason.
    let cancelled = ctx
        .execute_activity(PaymentActivities::cancel_with_switch, input, undo(detached))
        .await?;
    Ok(cancelled.status == Status::Success)
}

/// Releases the blocked amount. If this fails for good, a person must do it.
async fn unblock(
    ctx: &Context,
    payment: &Payment,
    tx_id: Option<&str>,
    detached: &WorkflowCancellationToken,
) {
    // Without a number, the reservation may have happened or not.
    let key = match tx_id {
        Some(tx_id) => format!("{tx_id}:comp-reserve"),
        None => format!("{}:comp-reserve-unknown", payment.payment_id),
    };
    let mut input = step(payment, tx_id, key);
    input.undoes = Some(reserve_key(payment));
    let name = PaymentActivities::unblock_and_cancel;
    if let Err(error) = ctx.execute_activity(name, input, undo(detached)).await {
        compensation_failed(ctx, "unblock_and_cancel", &error);
    }
}

/// Options of a compensation, which is retried until it succeeds, also in a cancelled workflow.
fn undo(detached: &WorkflowCancellationToken) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(ATTEMPT)
        .cancellation_token(detached.clone())
        .build()
}

fn step(payment: &Payment, tx_id: Option<&str>, idempotency_key: String) -> PaymentStep {
    PaymentStep {
        payment: payment.clone(),
        tx_id: tx_id.map(str::to_owned),
        idempotency_key,
        undoes: None,
    }
}

fn reserve_key(payment: &Payment) -> String {
    format!("{}:reserve", payment.payment_id)
}

fn submit_key(tx_id: &str) -> String {
    format!("{tx_id}:submit")
}

fn failure(type_name: &str, message: String) -> WorkflowTermination {
    let failure = ApplicationFailure::builder(message)
        .type_name(type_name.to_owned())
        .non_retryable(true);
    failure.build().into()
}

fn payment_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    match id.len() {
        0 => Err(D::Error::custom("the payment id is empty")),
        bytes if bytes > MAX_PAYMENT_ID => Err(D::Error::custom(format!(
            "the payment id has {bytes} bytes, more than the limit of {MAX_PAYMENT_ID}"
        ))),
        _ => Ok(id),
    }
}
