#![doc = include_str!("../README.md")]

pub mod activities;
pub mod stages;
pub mod workflows;

use activities::OrderActivities;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use stages::{Stage, incompatible, v1_initial, v2_patched, v3_deprecated, v4_removed};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};

/// Name of this sample's task queue.
pub const TASK_QUEUE: &str = "versioning-task-queue";

/// Returns the options of the worker at this `stage`, which the worker binary and the tests share.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(
    task_queue: &str,
    stage: Stage,
) -> Result<WorkerOptions, WorkflowRegistrationError> {
    let options = WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_activities(OrderActivities)
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows());
    let options = match stage {
        Stage::Initial => options.register_workflow::<v1_initial::OrderWorkflow>()?,
        Stage::Patched => options.register_workflow::<v2_patched::OrderWorkflow>()?,
        Stage::Deprecated => options.register_workflow::<v3_deprecated::OrderWorkflow>()?,
        Stage::Removed => options.register_workflow::<v4_removed::OrderWorkflow>()?,
        Stage::Incompatible => options.register_workflow::<incompatible::OrderWorkflow>()?,
    };
    Ok(options.build())
}
