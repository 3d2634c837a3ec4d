#![doc = include_str!("../README.md")]

pub mod workflows;

use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::UpdatableTimerWorkflow;

/// The task queue of this sample.
pub const TASK_QUEUE: &str = "updatable-timer-task-queue";

/// Returns the options of this sample's worker, for the worker binary and the tests.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<UpdatableTimerWorkflow>()?
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}
