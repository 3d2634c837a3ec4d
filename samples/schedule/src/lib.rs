#![doc = include_str!("../README.md")]

pub mod activities;
pub mod options;
pub mod report;
pub mod schedules;
pub mod starts;
pub mod workflows;

use activities::ScheduleActivities;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::YourSchedulesWorkflow;

/// The queue on which the server hands out this sample's tasks.
pub const TASK_QUEUE: &str = "schedule-task-queue";

/// Default id of the schedule.
pub const SCHEDULE_ID: &str = "workflow-schedule-id";

/// Returns the options of the worker, which the worker binary and the tests share.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<YourSchedulesWorkflow>()?
        .register_activities(ScheduleActivities)
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}
