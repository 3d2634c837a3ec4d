#![doc = include_str!("../README.md")]

pub mod activities;
mod check;
mod diagram;
pub mod document;
pub mod workflows;

use activities::DSLActivities;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::DSLWorkflow;

/// Name of this sample's task queue.
pub const TASK_QUEUE: &str = "dsl-task-queue";

/// Returns the options of the worker, which the worker binary and the tests share.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<DSLWorkflow>()?
        .register_activities(DSLActivities)
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}
