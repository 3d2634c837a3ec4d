#![doc = include_str!("../README.md")]

pub mod close_policy;
pub mod many;
pub mod workflows;

use close_policy::LeavingParentWorkflow;
use many::{GreetEachWorkflow, GreetManyWorkflow};
use shared::{GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::{AdvancedParentWorkflow, ComposeGreetingWorkflow, GreetingWorkflow};

/// Name of this sample's task queue. Children inherit it from their parent.
pub const TASK_QUEUE: &str = "child-workflow-task-queue";

/// Returns the options of the worker, which the worker binary and the tests share.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<ComposeGreetingWorkflow>()?
        .register_workflow::<GreetingWorkflow>()?
        .register_workflow::<AdvancedParentWorkflow>()?
        .register_workflow::<LeavingParentWorkflow>()?
        .register_workflow::<GreetManyWorkflow>()?
        .register_workflow::<GreetEachWorkflow>()?
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .build())
}
