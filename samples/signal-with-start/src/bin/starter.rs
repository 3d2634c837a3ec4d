//! Sends items by signal-with-start, and prints the result of the workflow that they have started.

use anyhow::Context;
use clap::Parser;
use shared::{MainResult, StarterArgs, print_result, print_started};
use signal_with_start::{
    TASK_QUEUE,
    activities::OrderItem,
    workflows::{AccumulatorOptions, AccumulatorWorkflow, CartItem, QUIET, ShoppingCartWorkflow},
};
use std::{collections::BTreeSet, num::NonZeroU32};
use temporalio_client::{Client, WorkflowStartOptions};

/// Items that the starter sends. The third repeats the first, as a client does that got no answer.
const ITEMS: [(&str, &str); 4] = [
    ("item-1", "Widget"),
    ("item-2", "Gizmo"),
    ("item-1", "Widget"),
    ("item-3", "Thingamajig"),
];

/// Sends the items of an order, or of a cart, and prints the result.
#[derive(Parser)]
struct Args {
    /// Process the batch after this many seconds without a signal; with 10, the workflow's default, the
    /// argument is not sent
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    quiet_seconds: NonZeroU32,

    /// Send the `flush` signal after the items
    #[arg(long)]
    flush: bool,

    /// Send one more item when the workflow has ended
    #[arg(long)]
    late: bool,

    /// Fill a shopping cart instead, query it, and check out
    #[arg(long, conflicts_with_all = ["quiet_seconds", "flush", "late"])]
    cart: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    match args.cart {
        true => cart(&client, &args.starter).await,
        false => order(&client, &args).await,
    }
}

async fn order(client: &Client, args: &Args) -> MainResult {
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    // The id of the workflow follows from that of the order, so that all items of the order reach it, whoever
    // sends them.
    let workflow_id = args.starter.workflow_id("accumulator-order")?;
    let order_id = workflow_id
        .strip_prefix("accumulator-")
        .unwrap_or(&workflow_id);
    let shortened = u64::from(args.quiet_seconds.get()) != QUIET.as_secs();
    let options = shortened.then_some(AccumulatorOptions {
        quiet_seconds: args.quiet_seconds,
    });
    let add = async |item_id: &str, name: &str| {
        let item = OrderItem {
            order_id: order_id.to_owned(),
            item_id: item_id.to_owned(),
            name: name.to_owned(),
        };
        let arguments = (order_id.to_owned(), None, None, options);
        let handle = client
            .signal_with_start_workflow(
                AccumulatorWorkflow::run,
                arguments.into(),
                AccumulatorWorkflow::add_item,
                item.into(),
                WorkflowStartOptions::new(task_queue, workflow_id.clone()).build(),
            )
            .await?;
        let run_id = handle.run_id().context("no run id")?;
        anyhow::Ok(run_id.to_owned())
    };
    // By the id. The handle that signal-with-start returns is bound to one run.
    let handle = client.get_workflow_handle::<AccumulatorWorkflow>(workflow_id.clone());
    print_started(&handle, task_queue);
    let mut runs = BTreeSet::new();
    for (item_id, name) in ITEMS {
        runs.insert(add(item_id, name).await?);
    }
    eprintln!(
        "signals  {}, which have started {} workflow",
        ITEMS.len(),
        runs.len()
    );
    if args.flush {
        let flush = AccumulatorWorkflow::flush;
        handle.signal(flush, ().into(), Default::default()).await?;
    }
    let mut result = handle.get_result(Default::default()).await?;
    if args.late {
        eprintln!("first    {result}");
        runs.insert(add("item-1", "Widget").await?);
        eprintln!(
            "late     item-1 again, which has started workflow {}",
            runs.len()
        );
        result = handle.get_result(Default::default()).await?;
    }
    print_result(&result)
}

async fn cart(client: &Client, starter: &StarterArgs) -> MainResult {
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let workflow_id = starter.workflow_id("cart")?;
    let handle = client.get_workflow_handle::<ShoppingCartWorkflow>(workflow_id.clone());
    print_started(&handle, task_queue);
    for (item_id, product) in ITEMS {
        let item = CartItem {
            item_id: item_id.to_owned(),
            product_id: product.to_lowercase(),
            quantity: NonZeroU32::MIN,
        };
        client
            .signal_with_start_workflow(
                ShoppingCartWorkflow::run,
                None.into(),
                ShoppingCartWorkflow::add_item,
                item.into(),
                WorkflowStartOptions::new(task_queue, workflow_id.clone()).build(),
            )
            .await?;
    }
    let get_items = ShoppingCartWorkflow::get_items;
    let items = handle.query(get_items, ().into(), Default::default());
    eprintln!("cart     {} items, not checked out yet", items.await?.len());
    let checkout = ShoppingCartWorkflow::checkout;
    handle
        .signal(checkout, ().into(), Default::default())
        .await?;
    print_result(&handle.get_result(Default::default()).await?)
}
