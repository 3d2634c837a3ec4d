//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, bail};
use futures::future::try_join_all;
use serde_json::{Value, json};
use shared::{describe, was_rejected};
use temporalio_client::{
    Client, UntypedSignal, UntypedUpdate, UntypedWorkflow, WorkflowHandle,
    WorkflowIdConflictPolicy,
    WorkflowIdConflictPolicy::{Fail, UseExisting},
    WorkflowUpdateWithStartOptions,
    errors::{
        WorkflowGetResultError, WorkflowStartError, WorkflowUpdateError,
        WorkflowUpdateWithStartError,
    },
};
use temporalio_common::protos::temporal::api::enums::v1::EventType::{
    self, ActivityTaskScheduled, WorkflowExecutionSignaled, WorkflowExecutionUpdateAccepted,
    WorkflowTaskCompleted,
};
use testing::{TestEnv, activity_types, event_types, raw_json, until, with_worker};
use update_with_start::{
    activities::ShoppingCartItem,
    worker_options,
    workflows::{FinalizedOrder, ShoppingCartWorkflow},
};

type Cart = WorkflowHandle<Client, ShoppingCartWorkflow>;

/// Returns a new cart, which no item has started yet.
fn new_cart(env: &TestEnv) -> Cart {
    env.client
        .get_workflow_handle(env.start_options().workflow_id)
}

fn item(sku: &str, quantity: u32) -> ShoppingCartItem {
    let sku = sku.to_owned();
    ShoppingCartItem { sku, quantity }
}

async fn add_with(
    env: &TestEnv,
    cart: &Cart,
    item: ShoppingCartItem,
    policy: WorkflowIdConflictPolicy,
) -> Result<u64, WorkflowUpdateWithStartError> {
    let id = cart.info().workflow_id.clone();
    let options = WorkflowUpdateWithStartOptions::new(&env.task_queue, id, policy).build();
    env.client
        .execute_update_with_start_workflow(
            ShoppingCartWorkflow::run,
            ().into(),
            ShoppingCartWorkflow::add_item,
            item.into(),
            options,
        )
        .await
}

async fn add(env: &TestEnv, cart: &Cart, sku: &str) -> Result<u64, WorkflowUpdateWithStartError> {
    add_with(env, cart, item(sku, 1), UseExisting).await
}

async fn checkout(cart: &Cart) -> anyhow::Result<()> {
    let signal = ShoppingCartWorkflow::checkout;
    Ok(cart.signal(signal, ().into(), Default::default()).await?)
}

async fn order(cart: &Cart) -> anyhow::Result<FinalizedOrder> {
    Ok(cart.get_result(Default::default()).await?)
}

/// Checks how an update-with-start has failed.
fn failed(added: Result<u64, WorkflowUpdateWithStartError>, reason: &str) {
    let failure = added.map_err(|error| describe(&error));
    assert_eq!(failure, Err(format!("update failed: {reason}")));
}

/// The first item starts the cart, in one workflow task, and the next ones find the same run. An unavailable item fails
/// its update with the type on which clients depend, and the cart goes on without it. Both are what the published
/// starter does.
#[tokio::test]
async fn items_share_a_cart() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cart = new_cart(&env);
        assert_eq!(add(&env, &cart, "sku-123").await?, 599);
        let history = event_types(&cart).await?;
        let at = |event: EventType| history.iter().position(|other| *other == event);
        let (accepted, scheduled) = (at(WorkflowExecutionUpdateAccepted), at(ActivityTaskScheduled));
        let first_task = at(WorkflowTaskCompleted).context("no workflow task")?;
        assert_eq!((accepted, scheduled), (Some(first_task + 1), Some(first_task + 2)));

        let unavailable = add(&env, &cart, "sku-456").await;
        failed(unavailable, "Item unavailable: sku-456 (ItemUnavailableError)");
        assert_eq!(add_with(&env, &cart, item("sku-7", 2), UseExisting).await?, 1797);
        checkout(&cart).await?;
        let expected = FinalizedOrder {
            id: cart.info().workflow_id.clone(),
            items: vec![(item("sku-123", 1), 599), (item("sku-7", 2), 1198)],
            total: 1797,
        };
        assert_eq!(order(&cart).await?, expected);
        let json = json!({
            "id": expected.id,
            "items": [[{"sku": "sku-123", "quantity": 1}, 599], [{"sku": "sku-7", "quantity": 2}, 1198]],
            "total": 1797,
        });
        assert_eq!(serde_json::to_value(&expected)?, json);
        assert_eq!(activity_types(&cart).await?, ["get_price"; 3]);
        Ok(())
    })
    .await
}

/// The first item may be the unavailable one. Then the update fails, but the cart has been started: update-with-start
/// does both or only the first.
#[tokio::test]
async fn a_failed_update_leaves_a_cart() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cart = new_cart(&env);
        let unavailable = add(&env, &cart, "sku-456").await;
        failed(
            unavailable,
            "Item unavailable: sku-456 (ItemUnavailableError)",
        );
        checkout(&cart).await?;
        let FinalizedOrder { items, total, .. } = order(&cart).await?;
        assert_eq!((items, total), (vec![], 0));
        Ok(())
    })
    .await
}

/// Many requests at the same time start one cart, and none of their items is lost.
#[tokio::test]
async fn concurrent_requests_share_a_cart() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cart = new_cart(&env);
        let skus: Vec<String> = (0..8).map(|index| format!("sku-{index}")).collect();
        let subtotals = try_join_all(skus.iter().map(|sku| add(&env, &cart, sku))).await?;
        assert_eq!(subtotals.iter().max(), Some(&(8 * 599)));
        checkout(&cart).await?;
        let FinalizedOrder { items, total, .. } = order(&cart).await?;
        let mut added: Vec<String> = items.into_iter().map(|(item, _)| item.sku).collect();
        added.sort();
        assert_eq!((added, total), (skus, 8 * 599));
        Ok(())
    })
    .await
}

/// An item whose price is not known at the checkout is still in the order. One that comes later is rejected. When the
/// cart has closed, an item starts a new cart under the same id.
#[tokio::test]
async fn items_around_the_checkout() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cart = new_cart(&env);
        add(&env, &cart, "sku-1").await?;
        let pending = cart
            .start_update(
                ShoppingCartWorkflow::add_item,
                item("sku-2", 1).into(),
                Default::default(),
            )
            .await?;
        checkout(&cart).await?;
        until(&cart, WorkflowExecutionSignaled).await?;
        let late = cart
            .start_update(
                ShoppingCartWorkflow::add_item,
                item("sku-3", 1).into(),
                Default::default(),
            )
            .await;
        match late {
            // On a slow machine, the cart has already closed.
            Err(WorkflowUpdateError::NotFound(_)) => {}
            late => {
                let late = late?;
                let error = late
                    .get_result(Default::default())
                    .await
                    .err()
                    .context("added")?;
                let reason = "update failed: Order already submitted (OrderAlreadySubmitted)";
                assert_eq!(describe(&error), reason);
                assert!(was_rejected(&env.client, &late).await?);
            }
        }
        assert_eq!(pending.get_result(Default::default()).await?, 1198);
        assert_eq!(order(&cart).await?.total, 1198);

        assert_eq!(add(&env, &cart, "sku-4").await?, 599);
        checkout(&cart).await?;
        assert_eq!(order(&cart).await?.items, [(item("sku-4", 1), 599)]);
        Ok(())
    })
    .await
}

/// With the conflict policy `Fail`, an item for a running cart is refused, and the cart does not change.
#[tokio::test]
async fn the_policy_decides() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cart = new_cart(&env);
        assert_eq!(add_with(&env, &cart, item("sku-1", 1), Fail).await?, 599);
        let refused = add_with(&env, &cart, item("sku-2", 1), Fail).await;
        let already = matches!(
            refused,
            Err(WorkflowUpdateWithStartError::Start(
                WorkflowStartError::AlreadyStarted { .. }
            ))
        );
        assert!(already, "{refused:?}");
        checkout(&cart).await?;
        assert_eq!(order(&cart).await?.total, 599);
        Ok(())
    })
    .await
}

/// A cancelled cart lets its update end before it ends itself, CANCELED.
#[tokio::test]
async fn cancelled_during_an_update() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cart: Cart = env.start_json("ShoppingCartWorkflow", &[]).await?;
        let method = ShoppingCartWorkflow::add_item;
        let input = item("sku-1", 1).into();
        let update = cart.start_update(method, input, Default::default()).await?;
        until(&cart, ActivityTaskScheduled).await?;
        cart.cancel(Default::default()).await?;
        match update.get_result(Default::default()).await {
            Err(WorkflowUpdateError::Failed(failure)) => {
                assert!(!failure.message.contains("completed before"), "{failure:?}");
            }
            // The price was there before the cancellation.
            Ok(subtotal) => assert_eq!(subtotal, 599),
            Err(other) => bail!("{other:?}"),
        }
        let ended = cart.get_result(Default::default()).await;
        assert!(
            matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
            "{ended:?}"
        );
        Ok(())
    })
    .await
}

/// A cart that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn ends_cancelled() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let cart: Cart = env.start_json("ShoppingCartWorkflow", &[]).await?;
    env.ends_cancelled(&cart, worker_options).await
}

/// An item that does not decode is rejected, and the caller learns which field is wrong. Arguments that the workflow and
/// the signal do not take are ignored.
#[tokio::test]
async fn refuses_bad_items() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let cart: Cart = env
            .start_json("ShoppingCartWorkflow", &[json!("cart")])
            .await?;
        let untyped = env
            .client
            .get_workflow_handle::<UntypedWorkflow>(&cart.info().workflow_id);
        let cases: [(&[Value], &str); 4] = [
            (&[], "the argument is missing"),
            (&[json!({"quantity": 1})], "missing field `sku`"),
            (
                &[json!({"sku": 123, "quantity": 1})],
                "`sku`: invalid type: integer `123`, expected a string",
            ),
            (
                &[json!({"sku": "sku-1", "quantity": -1})],
                "`quantity`: invalid value: integer `-1`, expected u32",
            ),
        ];
        for (arguments, reason) in cases {
            let update = untyped
                .start_update(
                    UntypedUpdate::new("add_item"),
                    raw_json(arguments),
                    Default::default(),
                )
                .await?;
            let error = update
                .get_result(Default::default())
                .await
                .err()
                .context("added")?;
            assert_eq!(
                describe(&error),
                format!("update failed: bad input: {reason} (BadInput)")
            );
            assert!(was_rejected(&env.client, &update).await?);
        }
        let checkout = UntypedSignal::new("checkout");
        let arguments = raw_json(&[json!("now")]);
        untyped
            .signal(checkout, arguments, Default::default())
            .await?;
        assert_eq!(order(&cart).await?.total, 0);
        Ok(())
    })
    .await
}
