#![doc = include_str!("../README.md")]

pub mod activities;
pub mod workflows;

use activities::GreetingActivities;
use reqwest::Url;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::WorkerOptions;
use workflows::{GreetingWorkflow, PollGreetingWorkflow};

/// Name of this sample's task queue.
pub const TASK_QUEUE: &str = "polling-periodic-task-queue";

/// Returns the options of the worker, which the worker binary and the tests share. The worker polls `service`.
///
/// # Errors
/// If two workflows have the same type, or the HTTP client cannot be set up.
pub fn worker_options(task_queue: &str, service: Url) -> anyhow::Result<WorkerOptions> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<GreetingWorkflow>()?
        .register_workflow::<PollGreetingWorkflow>()?
        .register_activities(GreetingActivities::new(service)?)
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}
