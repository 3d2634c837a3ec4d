#![doc = include_str!("../README.md")]

pub mod activities;
pub mod ledger;
pub mod workflows;

use activities::ResourceActivities;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::{ResourcePoolWorkflow, ResourceUserWorkflow};

/// The task queue of this sample.
pub const TASK_QUEUE: &str = "resource-pool-task-queue";

/// Returns the options of this sample's worker, for the worker binary and the tests.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(
    task_queue: &str,
    activities: ResourceActivities,
) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<ResourcePoolWorkflow>()?
        .register_workflow::<ResourceUserWorkflow>()?
        .register_activities(activities)
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}
