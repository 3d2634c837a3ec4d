#![doc = include_str!("../README.md")]

pub mod activities;
pub mod work;
pub mod workflows;

use activities::HandlerActivities;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::{WaitingForHandlersAndCompensationWorkflow, WaitingForHandlersWorkflow};

/// Name of this sample's task queue.
pub const TASK_QUEUE: &str = "waiting-for-handlers-task-queue";

/// Returns the options of the worker, which the worker binary and the tests share.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(
    task_queue: &str,
    activities: HandlerActivities,
) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<WaitingForHandlersWorkflow>()?
        .register_workflow::<WaitingForHandlersAndCompensationWorkflow>()?
        .register_activities(activities)
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}
