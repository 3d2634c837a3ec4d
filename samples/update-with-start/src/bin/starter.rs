//! Adds items to a cart, which the first item creates, and checks out.

use clap::Parser;
use shared::{MainResult, StarterArgs, print_result, print_started};
use temporalio_client::{
    Client,
    WorkflowIdConflictPolicy::UseExisting,
    WorkflowUpdateWithStartOptions,
    errors::{WorkflowUpdateError, WorkflowUpdateWithStartError},
};
use update_with_start::{
    TASK_QUEUE,
    activities::ShoppingCartItem,
    workflows::{ITEM_UNAVAILABLE, ShoppingCartWorkflow},
};

/// Adds items to a cart, checks out, and prints the order.
#[derive(Parser)]
struct Args {
    /// Item to add; can be given several times [default: sku-123 and sku-456, which is unavailable]
    #[arg(long = "item", value_name = "SKU")]
    items: Vec<String>,

    /// Number of articles of each item
    #[arg(long, value_name = "N", default_value = "1")]
    quantity: u32,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let mut args = Args::parse();
    if args.items.is_empty() {
        args.items = ["sku-123", "sku-456"].map(str::to_owned).into();
    }
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    // The id comes from the session, so that each request of the session finds the cart.
    let cart_id = args.starter.workflow_id("cart")?;
    // By the id, because the cart may have been started although the update fails.
    let cart = client.get_workflow_handle::<ShoppingCartWorkflow>(&cart_id);
    print_started(&cart, task_queue);
    for sku in args.items {
        let quantity = args.quantity;
        let item = ShoppingCartItem { sku, quantity };
        match add_item(&client, task_queue, &cart_id, item.clone()).await? {
            Some(subtotal) => eprintln!("added    {}, subtotal {subtotal}", item.sku),
            None => eprintln!("missing  {} is unavailable", item.sku),
        }
    }
    cart.signal(
        ShoppingCartWorkflow::checkout,
        ().into(),
        Default::default(),
    )
    .await?;
    print_result(&cart.get_result(Default::default()).await?)
}

/// Adds an item to the cart, and starts the cart if it is not running. Returns the subtotal, or nothing if the item is
/// unavailable.
async fn add_item(
    client: &Client,
    task_queue: &str,
    cart_id: &str,
    item: ShoppingCartItem,
) -> Result<Option<u64>, WorkflowUpdateWithStartError> {
    let options = WorkflowUpdateWithStartOptions::new(task_queue, cart_id, UseExisting).build();
    let added = client.execute_update_with_start_workflow(
        ShoppingCartWorkflow::run,
        ().into(),
        ShoppingCartWorkflow::add_item,
        item.into(),
        options,
    );
    match added.await {
        Ok(subtotal) => Ok(Some(subtotal)),
        Err(WorkflowUpdateWithStartError::Update(WorkflowUpdateError::Failed(failure)))
            if failure
                .maybe_application_failure()
                .is_some_and(|info| info.r#type == ITEM_UNAVAILABLE) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
