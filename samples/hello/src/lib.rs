#![doc = include_str!("../README.md")]

pub mod activities;
pub mod workflows;

use activities::HelloActivities;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::HelloWorkflow;

/// The queue on which the server hands out this sample's tasks.
pub const TASK_QUEUE: &str = "hello-task-queue";

/// What the worker runs, for the worker binary and the tests alike.
///
/// # Errors
/// If two workflows had the same type.
pub fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<HelloWorkflow>()?
        .register_activities(HelloActivities)
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}
