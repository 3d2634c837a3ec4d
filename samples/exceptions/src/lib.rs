#![doc = include_str!("../README.md")]

pub mod activities;
pub mod causes;
pub mod workflows;

use activities::DataActivities;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit, StackTraces};
use temporalio_common::data_converters::DataConverter;
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::{DataProcessingWorkflow, TypedErrorsWorkflow};

/// Name of this sample's task queue.
pub const TASK_QUEUE: &str = "exceptions-task-queue";

/// Returns the options of the worker, which the worker binary and the tests share.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<DataProcessingWorkflow>()?
        .register_workflow::<TypedErrorsWorkflow>()?
        .register_activities(DataActivities)
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}

/// Returns the SDK's data converter, with a failure converter that adds stack traces to the errors of this crate.
pub fn data_converter() -> DataConverter {
    StackTraces::new(&[env!("CARGO_CRATE_NAME")]).into_data_converter()
}
