//! Starts the workflow, signals that its order has been delivered, and waits for its result. Can also do only
//! the first or the second half of that, so that another worker can take over between the two.

use clap::Parser;
use shared::{MainResult, StarterArgs, print_result, print_started, printable};
use std::time::Duration;
use temporalio_client::{Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowStartOptions};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use versioning::{
    TASK_QUEUE,
    workflows::{Order, OrderWorkflow},
};

/// Starts `OrderWorkflow`, delivers its order, and prints its result.
#[derive(Parser)]
struct Args {
    /// Stop when the order has been shipped, and leave its workflow waiting for the delivery
    #[arg(long)]
    ship: bool,

    /// Deliver the order of --workflow-id, which --ship has shipped
    #[arg(long, requires = "workflow_id", conflicts_with = "ship")]
    deliver: bool,

    /// Price of the order
    #[arg(long, default_value_t = 4200, value_name = "CENTS")]
    cents: u64,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        ship,
        deliver,
        cents,
        starter,
    } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let workflow_id = starter.workflow_id("versioning")?;
    if !deliver {
        let order = Order {
            number: "A-17".to_owned(),
            cents,
        };
        let options = WorkflowStartOptions::new(task_queue, workflow_id.clone())
            // How long the server waits for a worker that has a task and may be dead. The default is ten
            // seconds, which is better for tasks that may take long.
            .task_timeout(Duration::from_secs(2))
            .build();
        client
            .start_workflow(OrderWorkflow::run, order.into(), options)
            .await?;
    }
    let handle = client.get_workflow_handle(workflow_id);
    print_started(&handle, task_queue);

    let shipped = deliver || until_shipped(&handle).await?;
    if ship && shipped {
        return print_result("shipped");
    }
    if shipped {
        handle
            .signal(OrderWorkflow::delivered, ().into(), Default::default())
            .await?;
    }
    let receipt = handle.get_result(Default::default()).await?;
    eprintln!(
        "ran      {}",
        printable(&activities(&handle).await?.join(", "))
    );
    print_result(&receipt)
}

/// Waits until the order has been shipped. Returns false if its workflow ended before that.
async fn until_shipped(handle: &WorkflowHandle<Client, OrderWorkflow>) -> anyhow::Result<bool> {
    loop {
        let description = handle.describe(Default::default()).await?;
        if description.status() != WorkflowExecutionStatus::Running {
            return Ok(false);
        }
        let pending = description.raw();
        // If there is no task for a worker, the workflow waits for the delivery.
        if pending.pending_activities.is_empty() && pending.pending_workflow_task.is_none() {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the types of the activities that the workflow has scheduled.
async fn activities(handle: &WorkflowHandle<Client, OrderWorkflow>) -> anyhow::Result<Vec<String>> {
    let events = handle
        .fetch_history(Default::default())
        .into_events()
        .await?;
    let scheduled = events
        .into_iter()
        .filter_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(a)) => {
                Some(a.activity_type?.name)
            }
            _ => None,
        });
    Ok(scheduled.collect())
}
