#![doc = include_str!("../README.md")]

pub mod activities;
pub mod encryption;
pub mod load;
pub mod usage;
pub mod workflows;

use activities::ThroughputActivities;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::{EchoWorkflow, ThroughputWorkflow};

/// The queue on which the server hands out this sample's tasks.
pub const TASK_QUEUE: &str = "throughput-task-queue";

/// Returns the options of the worker, which the worker binary and the tests share.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<ThroughputWorkflow>()?
        .register_workflow::<EchoWorkflow>()?
        .register_activities(ThroughputActivities)
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}
