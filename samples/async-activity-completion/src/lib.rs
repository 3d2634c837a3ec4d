#![doc = include_str!("../README.md")]

pub mod activities;
pub mod greeting;
pub mod service;
pub mod service_client;
pub mod webhooks;
pub mod workflows;

use activities::ExpenseActivities;
use greeting::{GreetingActivities, GreetingWorkflow};
use service_client::ServiceClient;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::WorkerOptions;
use webhooks::{DelayedCallbackWorkflow, OrderWorkflow, WebhookActivities};
use workflows::SampleExpenseWorkflow;

/// Name of this sample's task queue.
pub const TASK_QUEUE: &str = "async-activity-completion-task-queue";

/// Returns the options of the worker, which the worker binary and the tests share.
///
/// The activities call `service`. Callbacks go only to `callback_hosts`.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(
    task_queue: &str,
    service: ServiceClient,
    callback_hosts: Vec<String>,
) -> anyhow::Result<WorkerOptions> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<SampleExpenseWorkflow>()?
        .register_workflow::<GreetingWorkflow>()?
        .register_workflow::<OrderWorkflow>()?
        .register_workflow::<DelayedCallbackWorkflow>()?
        .register_activities(ExpenseActivities::new(service.clone()))
        .register_activities(GreetingActivities::new(service))
        .register_activities(WebhookActivities::new(callback_hosts))
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows())
        .build())
}
