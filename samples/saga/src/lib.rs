#![doc = include_str!("../README.md")]

pub mod activities;
pub mod compensations;
pub mod ledger;
pub mod payment;
pub mod workflows;

use activities::{AccountActivities, PaymentActivities};
use ledger::Ledger;
use payment::InterBankPaymentWorkflow;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_client::{WorkflowIdReusePolicy, WorkflowStartOptions};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::OpenAccountWorkflow;

/// Name of this sample's task queue.
pub const TASK_QUEUE: &str = "saga-task-queue";

/// Returns the options of the worker, which the worker binary and the tests share.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(
    task_queue: &str,
    ledger: Ledger,
) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<OpenAccountWorkflow>()?
        .register_workflow::<InterBankPaymentWorkflow>()?
        .register_activities(AccountActivities {
            ledger: ledger.clone(),
        })
        .register_activities(PaymentActivities { ledger })
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}

/// Returns the options with which to start a payment. The server refuses a second start, also after the first payment
/// has ended. So a client may send a payment again if it does not know whether it has arrived.
pub fn payment_options(task_queue: &str, payment_id: &str) -> WorkflowStartOptions {
    WorkflowStartOptions::new(task_queue, payment_id)
        .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
        .build()
}
