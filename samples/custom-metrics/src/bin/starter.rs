//! Starts a workflow, and prints how it changed the worker's metrics.

use clap::Parser;
use custom_metrics::{
    TASK_QUEUE,
    metrics::{ADDRESS, Channel},
    scrape::Scrape,
    workflows::{Order, OrderWorkflow, StartTwoActivitiesWorkflow},
};
use serde_json::Value;
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::net::SocketAddr;
use temporalio_client::WorkflowStartOptions;

/// Starts `StartTwoActivitiesWorkflow`, or `OrderWorkflow` if --pieces is given, and prints its result and
/// the metrics that changed.
#[derive(Parser)]
struct Args {
    /// Number of pieces to order
    #[arg(long)]
    pieces: Option<u32>,

    /// How the order arrived
    #[arg(long, value_enum, default_value = "web", requires = "pieces")]
    channel: Channel,

    /// Address of the worker's metrics
    #[arg(long, default_value = ADDRESS, value_name = "IP:PORT")]
    metrics_address: SocketAddr,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let starter = &args.starter;
    let client = starter.connect().await?;
    let before = Scrape::first(args.metrics_address).await;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options =
        WorkflowStartOptions::new(task_queue, starter.workflow_id("custom-metrics")?).build();
    let result = match args.pieces {
        None => {
            let run = StartTwoActivitiesWorkflow::run;
            let handle = client.start_workflow(run, ().into(), options).await?;
            print_started(&handle, task_queue);
            let result = handle.get_result(Default::default()).await;
            result.map(|()| Value::Null)
        }
        Some(pieces) => {
            let order = Order {
                channel: args.channel,
                pieces,
            };
            let run = OrderWorkflow::run;
            let handle = client.start_workflow(run, order.into(), options).await?;
            print_started(&handle, task_queue);
            handle.get_result(Default::default()).await.map(Value::from)
        }
    };
    let change = match before {
        Ok(before) => Scrape::read(args.metrics_address)
            .await
            .map(|after| after.since(&before)),
        Err(error) => Err(error),
    };
    if let Ok(change) = &change {
        eprint!(
            "metrics  http://{}/metrics, changes:\n{change}",
            args.metrics_address
        );
    }
    print_result(&result?)?;
    // After the result, because a worker in another language may serve its metrics elsewhere.
    change?;
    Ok(())
}
