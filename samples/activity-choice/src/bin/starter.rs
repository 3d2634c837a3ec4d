//! Starts the workflow with a shopping list and prints its result.

use activity_choice::{
    TASK_QUEUE,
    workflows::{Fruit, Item, PurchaseFruitsWorkflow, ShoppingList},
};
use anyhow::Context;
use clap::Parser;
use shared::{MainResult, StarterArgs, print_result, print_started};
use temporalio_client::WorkflowStartOptions;

/// Starts `PurchaseFruitsWorkflow` and prints its result.
#[derive(Parser)]
struct Args {
    /// Fruit and amount to order; repeat the flag for more items
    #[arg(
        long = "item",
        value_name = "FRUIT=AMOUNT",
        value_parser = parse_item,
        default_values = ["apple=8", "banana=5", "cherry=1", "orange=4"],
    )]
    items: Vec<Item>,

    #[command(flatten)]
    starter: StarterArgs,
}

fn parse_item(text: &str) -> anyhow::Result<Item> {
    let (fruit, amount) = text
        .split_once('=')
        .context("expected FRUIT=AMOUNT, such as apple=8")?;
    let fruit = match fruit {
        "apple" => Fruit::Apple,
        "banana" => Fruit::Banana,
        "cherry" => Fruit::Cherry,
        "orange" => Fruit::Orange,
        _ => anyhow::bail!("unknown fruit `{fruit}`; choose apple, banana, cherry or orange"),
    };
    let amount = amount
        .parse()
        .with_context(|| format!("`{amount}` is not a valid amount"))?;
    Ok(Item { fruit, amount })
}

#[tokio::main]
async fn main() -> MainResult {
    let Args { items, starter } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options =
        WorkflowStartOptions::new(task_queue, starter.workflow_id("activity-choice")?).build();
    let list = ShoppingList { items };
    let handle = client
        .start_workflow(PurchaseFruitsWorkflow::run, list.into(), options)
        .await?;
    print_started(&handle, task_queue);
    let result = handle.get_result(Default::default()).await?;
    print_result(&result)
}
