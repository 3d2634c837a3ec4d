#![doc = include_str!("../README.md")]

pub mod activities;
pub mod metrics;
pub mod scrape;
pub mod workflows;

use activities::MetricsActivities;
use metrics::Metrics;
use shared::{AbsentResults, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use temporalio_sdk::{
    WorkerOptions, WorkflowRegistrationError,
    runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder},
};
use workflows::{OrderWorkflow, StartTwoActivitiesWorkflow};

/// Name of this sample's task queue.
pub const TASK_QUEUE: &str = "custom-metrics-task-queue";

/// Returns the options of the worker, which the worker binary and the tests share. The worker records on `metrics`.
///
/// # Errors
/// If two workflows have the same type.
pub fn worker_options(
    task_queue: &str,
    metrics: Metrics,
) -> Result<WorkerOptions, WorkflowRegistrationError> {
    // One activity at a time, so that the second one waits. The other values are the SDK's defaults.
    let tuner = TunerHolder::builder()
        .workflow_task_slot_supplier(FixedSizeSlotSupplier::new(100))
        .activity_task_slot_supplier(FixedSizeSlotSupplier::new(1))
        .local_activity_task_slot_supplier(FixedSizeSlotSupplier::new(100))
        .nexus_task_slot_supplier(FixedSizeSlotSupplier::new(100))
        .build();
    let orders = metrics.clone();
    let mut options = WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .tuner(tuner)
        .register_workflow::<StartTwoActivitiesWorkflow>()?
        .register_workflow_with_factory(move || OrderWorkflow::new(orders.clone()))?
        .register_activities(MetricsActivities)
        .build();
    // The registered types are the only ones that become labels.
    let metrics = metrics.with_workflow_types(&options.workflows());
    options
        .activity_inbound_interceptor(metrics)
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .workflow_interceptor(AbsentResults::in_workflows());
    Ok(options)
}
