//! Kills the real worker binary between two items.

#![cfg(unix)]

use serde_json::json;
use temporalio_client::{WorkflowIdConflictPolicy::UseExisting, WorkflowUpdateWithStartOptions};
use testing::{TestEnv, address, faults::WorkerProcess, forget_cache, within};
use update_with_start::{activities::ShoppingCartItem, workflows::ShoppingCartWorkflow};

const WORKER: &str = env!("CARGO_BIN_EXE_update-with-start-worker");

/// After its worker has died, the next worker rebuilds the cart from the history. The second item goes into the same
/// cart, and an update that is sent again is not handled again.
#[tokio::test]
async fn the_next_worker_has_the_cart() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let id = env.start_options().workflow_id;
    let no_arguments: [&str; 0] = [];
    let start = || WorkerProcess::start(WORKER, address()?, &env.task_queue, &no_arguments);
    let add = async |sku: &str| {
        let item = ShoppingCartItem {
            sku: sku.to_owned(),
            quantity: 1,
        };
        let options = WorkflowUpdateWithStartOptions::new(&env.task_queue, &id, UseExisting)
            .update_id(format!("add-{sku}"));
        let added = env.client.execute_update_with_start_workflow(
            ShoppingCartWorkflow::run,
            ().into(),
            ShoppingCartWorkflow::add_item,
            item.into(),
            options.build(),
        );
        within("the item", async { Ok(added.await?) }).await
    };
    let mut first = start()?;
    assert_eq!(add("sku-1").await?, 599);
    first.kill().await?;
    forget_cache(&env.client, &id).await?;

    let _second = start()?;
    assert_eq!(add("sku-1").await?, 599);
    assert_eq!(add("sku-2").await?, 1198);
    let cart = env.client.get_workflow_handle::<ShoppingCartWorkflow>(&id);
    let checkout = ShoppingCartWorkflow::checkout;
    cart.signal(checkout, ().into(), Default::default()).await?;
    let order = within("the order", async {
        Ok(cart.get_result(Default::default()).await?)
    });
    let expected = json!({
        "id": id,
        "items": [
            [{"sku": "sku-1", "quantity": 1}, 599],
            [{"sku": "sku-2", "quantity": 1}, 599],
        ],
        "total": 1198,
    });
    assert_eq!(serde_json::to_value(order.await?)?, expected);
    Ok(())
}
