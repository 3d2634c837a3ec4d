//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, ensure};
use futures::future::{try_join, try_join_all};
use serde_json::{Value, json};
use signal_with_start::{
    activities::OrderItem,
    worker_options,
    workflows::{
        AccumulatorOptions, AccumulatorWorkflow, CartEntry, CartItem, MAX_BYTES,
        ShoppingCartWorkflow,
    },
};
use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc, time::Duration};
use temporalio_client::{
    Client, UntypedSignal, WorkflowHandle, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
    WorkflowStartOptions,
    errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowStartError},
    tonic::Code,
};
use temporalio_common::{
    data_converters::MultiArgs2,
    protos::temporal::api::{
        common::v1::Payload,
        enums::v1::EventType::{
            self, ActivityTaskScheduled, TimerCanceled, TimerFired, TimerStarted,
            WorkflowExecutionCanceled, WorkflowExecutionSignaled, WorkflowExecutionStarted,
        },
        history::v1::history_event::Attributes,
    },
};
use temporalio_macros::activities;
use temporalio_sdk::{
    WorkerOptions,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, event_types, events, operate, raw_json, until, with_worker,
};
use tokio::sync::Semaphore;

type Order = WorkflowHandle<Client, AccumulatorWorkflow>;
type Cart = WorkflowHandle<Client, ShoppingCartWorkflow>;

fn options(env: &TestEnv, workflow_id: &str) -> WorkflowStartOptions {
    WorkflowStartOptions::new(env.task_queue.clone(), workflow_id).build()
}

fn item(order_id: &str, item_id: &str, name: &str) -> OrderItem {
    let [order_id, item_id, name] = [order_id, item_id, name].map(str::to_owned);
    OrderItem {
        order_id,
        item_id,
        name,
    }
}

fn quiet(seconds: u32) -> Option<AccumulatorOptions> {
    NonZeroU32::new(seconds).map(|quiet_seconds| AccumulatorOptions { quiet_seconds })
}

/// Sends an item of order A by signal-with-start. The handle is bound to the run that got the signal.
async fn add_item(
    env: &TestEnv,
    workflow_id: &str,
    item: OrderItem,
    options: WorkflowStartOptions,
) -> Result<Order, WorkflowStartError> {
    assert_eq!(options.workflow_id, workflow_id);
    let arguments = ("A".to_owned(), None, None, quiet(60));
    let (run, add_item) = (AccumulatorWorkflow::run, AccumulatorWorkflow::add_item);
    let sent = env.client.signal_with_start_workflow(
        run,
        arguments.into(),
        add_item,
        item.into(),
        options,
    );
    let info = sent.await?.info().clone();
    Ok(WorkflowHandle::new(env.client.clone(), info))
}

async fn add(env: &TestEnv, id: &str, item_id: &str, name: &str) -> anyhow::Result<Order> {
    Ok(add_item(env, id, item("A", item_id, name), options(env, id)).await?)
}

async fn flush(order: &Order) -> Result<(), WorkflowInteractionError> {
    let flush = AccumulatorWorkflow::flush;
    order.signal(flush, ().into(), Default::default()).await
}

async fn result(order: &Order) -> anyhow::Result<String> {
    Ok(order.get_result(Default::default()).await?)
}

/// Sends a signal as a client in another language can.
async fn send<W: temporalio_common::HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    signal: &str,
    arguments: &[Value],
) -> anyhow::Result<()> {
    let signal = UntypedSignal::new(signal);
    Ok(handle
        .signal(signal, raw_json(arguments), Default::default())
        .await?)
}

fn count(events: &[EventType], which: EventType) -> usize {
    events.iter().filter(|event| **event == which).count()
}

/// A new workflow id, and the handle that always reaches the current run.
fn order(env: &TestEnv) -> (String, Order) {
    let id = env.start_options().workflow_id;
    (id.clone(), env.client.get_workflow_handle(id))
}

/// Items that arrive before the first line of `run` are processed. All signals reach the one workflow that the first
/// has started, and one activity processes them. An item of another order and an item seen before are ignored.
#[tokio::test]
async fn collects_one_order() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (id, order) = order(&env);
    let mut runs = BTreeSet::new();
    for (order_id, item_id, name) in [
        ("A", "item-1", "Widget"),
        ("B", "item-2", "Gadget"),
        ("A", "item-3", "Gizmo"),
        ("A", "item-1", "Widget"),
        ("A", "item-5", "Thingamajig"),
    ] {
        let item = item(order_id, item_id, name);
        let started = add_item(&env, &id, item, options(&env, &id)).await?;
        runs.insert(started.run_id().context("no run")?.to_owned());
    }
    assert_eq!(runs.len(), 1);
    env.work(worker_options, async {
        until(&order, TimerStarted).await?;
        flush(&order).await?;
        assert_eq!(
            result(&order).await?,
            "Order A fulfilled with 3 item(s): Widget, Gizmo, Thingamajig"
        );
        let events = event_types(&order).await?;
        assert_eq!(count(&events, WorkflowExecutionStarted), 1);
        assert_eq!(count(&events, WorkflowExecutionSignaled), 6);
        assert_eq!(activity_types(&order).await?, ["process_items"]);
        Ok(())
    })
    .await
}

/// A batch is processed when no signal has arrived for the given time. Each signal, even a duplicate, starts the time
/// again with a timer of its own, and cancels the previous one. The default is ten seconds.
#[tokio::test]
async fn waits_until_it_is_quiet() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let quick = json!({"quiet_seconds": 1});
        let cases = [
            (vec![json!("A")], 10),
            (vec![json!("A"), json!(null), json!(null), json!(null)], 10),
            (vec![json!("A"), json!([]), json!([]), quick], 1),
        ];
        for (arguments, seconds) in cases {
            let order: Order = env.start_json("AccumulatorWorkflow", &arguments).await?;
            until(&order, TimerStarted).await?;
            send(&order, "add-item", &[json!(item("A", "item-1", "Widget"))]).await?;
            until(&order, TimerCanceled).await?;
            let timers =
                events(&order)
                    .await?
                    .into_iter()
                    .filter_map(|event| match event.attributes {
                        Some(Attributes::TimerStartedEventAttributes(timer)) => {
                            timer.start_to_fire_timeout
                        }
                        _ => None,
                    });
            let expected = Duration::from_secs(seconds).try_into()?;
            assert_eq!(timers.collect::<Vec<_>>(), [expected; 2]);
            if seconds == 10 {
                order.terminate(Default::default()).await?;
                continue;
            }
            assert_eq!(
                result(&order).await?,
                "Order A fulfilled with 1 item(s): Widget"
            );
            let events = event_types(&order).await?;
            assert_eq!(count(&events, TimerFired), 1);
        }
        Ok(())
    })
    .await
}

/// Stands in for `AccumulatorActivities`: it waits for a permit.
pub struct SlowActivities(Arc<Semaphore>);

#[activities]
impl SlowActivities {
    #[activity(name = "process_items")]
    pub async fn process_items(
        self: Arc<Self>,
        _ctx: ActivityContext,
        batch: MultiArgs2<String, Vec<OrderItem>>,
    ) -> Result<String, ActivityError> {
        self.0
            .acquire()
            .await
            .map_err(anyhow::Error::from)?
            .forget();
        let ids = batch.1.iter().map(|item| item.item_id.as_str());
        Ok(ids.collect::<Vec<_>>().join(" "))
    }
}

/// Items that arrive while a batch is processed make a batch of their own, without those that are processed already.
/// If nothing new has arrived, the workflow ends.
#[tokio::test]
async fn late_items_are_a_batch_of_their_own() -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(0));
    let slow = |queue: &str| -> anyhow::Result<WorkerOptions> {
        Ok(WorkerOptions::new(queue)
            .register_workflow::<AccumulatorWorkflow>()?
            .register_activities(SlowActivities(permits.clone()))
            .build())
    };
    with_worker(slow, async |env| {
        let (id, order) = order(&env);
        add(&env, &id, "item-1", "Widget").await?;
        add(&env, &id, "item-2", "Gizmo").await?;
        flush(&order).await?;
        until(&order, ActivityTaskScheduled).await?;
        add(&env, &id, "item-1", "Widget").await?;
        add(&env, &id, "item-3", "Gadget").await?;
        flush(&order).await?;
        permits.add_permits(1);
        testing::eventually("the second batch", async || {
            let events = event_types(&order).await?;
            Ok((count(&events, ActivityTaskScheduled) == 2).then_some(()))
        })
        .await?;
        add(&env, &id, "item-3", "Gadget").await?;
        flush(&order).await?;
        permits.add_permits(1);
        assert_eq!(result(&order).await?, "item-3");
        assert_eq!(activity_types(&order).await?.len(), 2);
        Ok(())
    })
    .await
}

/// The ids of the items in all batches of a run.
async fn processed(run: &Order) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for event in events(run).await? {
        if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = event.attributes
        {
            let payloads = scheduled.input.unwrap_or_default().payloads;
            let items = payloads.get(1).context("no items")?;
            let items: Vec<OrderItem> = serde_json::from_slice(&items.data)?;
            ids.extend(items.into_iter().map(|item| item.item_id));
        }
    }
    Ok(ids)
}

/// Two clients send an item and `flush`, wait for the end of the workflow, and begin again. Each meets the workflows of
/// the other at any moment, also at their end, yet each item is processed exactly once.
#[tokio::test]
async fn loses_no_item_between_two_workflows() -> anyhow::Result<()> {
    const ITEMS: usize = 15;
    with_worker(worker_options, async |env| {
        let (id, order) = order(&env);
        let client = async |name: &'static str| {
            let mut runs = BTreeSet::new();
            for number in 0..ITEMS {
                let run = add(&env, &id, &format!("{name}-{number}"), "Widget").await?;
                runs.insert(run.run_id().context("no run")?.to_owned());
                match flush(&order).await {
                    // The other client's `flush` has ended the workflow.
                    Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                // The next item arrives at any moment of the other client's workflow, also at its end.
                result(&run).await?;
            }
            anyhow::Ok(runs)
        };
        let (mut runs, more) = try_join(client("a"), client("b")).await?;
        runs.extend(more);
        ensure!(runs.len() > 1, "there was only one workflow");
        let ids = runs.iter().map(async |run| {
            let mut info = order.info().clone();
            info.run_id = Some(run.clone());
            processed(&WorkflowHandle::new(env.client.clone(), info)).await
        });
        let mut ids = try_join_all(ids).await?.concat();
        ids.sort();
        let mut expected = Vec::new();
        for name in ["a", "b"] {
            expected.extend((0..ITEMS).map(|number| format!("{name}-{number}")));
        }
        expected.sort();
        assert_eq!(ids, expected);
        Ok(())
    })
    .await
}

/// The end of a workflow is the end of its memory: the next item, even one that it has seen, starts another.
#[tokio::test]
async fn a_signal_after_the_end_starts_another_workflow() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let (id, order) = order(&env);
        let first = add(&env, &id, "item-1", "Widget").await?;
        flush(&order).await?;
        let expected = "Order A fulfilled with 1 item(s): Widget";
        assert_eq!(result(&order).await?, expected);
        let second = add(&env, &id, "item-1", "Widget").await?;
        assert_ne!(first.run_id(), second.run_id());
        flush(&order).await?;
        assert_eq!(result(&order).await?, expected);
        Ok(())
    })
    .await
}

/// Signals that do not decode are ignored, whatever they are, and so are arguments of `flush` and `checkout`.
#[tokio::test]
async fn survives_any_signal() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (id, order) = order(&env);
    add(&env, &id, "item-1", "Widget").await?;
    let cart: Cart = env.start_json("ShoppingCartWorkflow", &[]).await?;
    let bad = [
        vec![],
        vec![json!(null)],
        vec![json!("item-2")],
        vec![json!({"order_id": "A", "item_id": 2, "name": "Widget"})],
        vec![json!({"item_id": "item-2", "product_id": "gizmo", "quantity": 0})],
        vec![json!({"item_id": "item-2", "product_id": "gizmo", "quantity": -1})],
        vec![json!({"padding": "x".repeat(1_900_000)})],
    ];
    for arguments in &bad {
        send(&order, "add-item", arguments).await?;
        send(&cart, "add_item", arguments).await?;
    }
    send(&order, "unknown", &[]).await?;
    env.work(worker_options, async {
        until(&order, TimerStarted).await?;
        send(&order, "flush", &[json!({"now": true})]).await?;
        assert_eq!(
            result(&order).await?,
            "Order A fulfilled with 1 item(s): Widget"
        );
        send(&cart, "checkout", &[json!(null)]).await?;
        assert_eq!(cart.get_result(Default::default()).await?, []);
        Ok(())
    })
    .await
}

/// When the server suggests it, here because of 4 MB of history, the workflow continues as new with its items and the
/// ids that it has seen. A duplicate is still recognized, and nothing is processed twice.
#[tokio::test]
async fn continues_as_new_with_its_items() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (id, order) = order(&env);
    let padding = json!({"padding": "x".repeat(1_500_000)});
    add(&env, &id, "item-2", "Widget").await?;
    for _ in 0..3 {
        send(&order, "add-item", std::slice::from_ref(&padding)).await?;
    }
    add(&env, &id, "item-1", "Gizmo").await?;
    let cart: Cart = env.start_json("ShoppingCartWorkflow", &[]).await?;
    let widget = json!({"item_id": "item-1", "product_id": "widget", "quantity": 2});
    for _ in 0..3 {
        send(&cart, "add_item", std::slice::from_ref(&padding)).await?;
    }
    send(&cart, "add_item", std::slice::from_ref(&widget)).await?;
    let first = async |id: &str| -> anyhow::Result<Vec<Payload>> {
        let handle = env.client.get_workflow_handle::<AccumulatorWorkflow>(id);
        testing::eventually("the next run", async || {
            let events = events(&handle).await?;
            Ok(match &events[0].attributes {
                Some(Attributes::WorkflowExecutionStartedEventAttributes(started))
                    if !started.continued_execution_run_id.is_empty() =>
                {
                    started.input.clone().map(|input| input.payloads)
                }
                _ => None,
            })
        })
        .await
    };
    env.work(worker_options, async {
        let input = first(&id).await?;
        let input: Vec<Value> = input
            .iter()
            .map(|payload| serde_json::from_slice(&payload.data))
            .collect::<Result<_, _>>()?;
        let items = [item("A", "item-2", "Widget"), item("A", "item-1", "Gizmo")];
        assert_eq!(
            input,
            [
                json!("A"),
                json!(items),
                json!(["item-1", "item-2"]),
                json!({"quiet_seconds": 60})
            ]
        );
        add(&env, &id, "item-1", "Gizmo").await?;
        add(&env, &id, "item-3", "Gadget").await?;
        flush(&order).await?;
        assert_eq!(
            result(&order).await?,
            "Order A fulfilled with 3 item(s): Widget, Gizmo, Gadget"
        );
        assert_eq!(activity_types(&order).await?, ["process_items"]);

        first(&cart.info().workflow_id).await?;
        send(&cart, "add_item", &[widget]).await?;
        send(&cart, "checkout", &[]).await?;
        let items = cart.get_result(Default::default()).await?;
        assert_eq!(items, [entry("widget", 2)]);
        Ok(())
    })
    .await
}

/// Without a limit, the batch of an order would become too large for the server, and the workflow would wait forever. An
/// item beyond the limit is ignored.
#[tokio::test]
async fn limits_the_size_of_an_order() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (id, order) = order(&env);
    let long = "\u{1}".repeat(MAX_BYTES / 6 / 3);
    let cart: Cart = env.start_json("ShoppingCartWorkflow", &[]).await?;
    for number in 0..4 {
        add(&env, &id, &format!("item-{number}"), &long).await?;
        let item = json!({"item_id": number.to_string(), "product_id": long, "quantity": 1});
        send(&cart, "add_item", &[item]).await?;
    }
    add(&env, &id, "item-4", "Widget").await?;
    flush(&order).await?;
    send(&cart, "checkout", &[]).await?;
    env.work(worker_options, async {
        let processed = result(&order).await?;
        assert!(
            processed.starts_with("Order A fulfilled with 3 item(s): ")
                && processed.ends_with(", Widget"),
        );
        assert_eq!(cart.get_result(Default::default()).await?.len(), 2);
        let large = item("A", "item-1", &"x".repeat(MAX_BYTES));
        let order: Order = env
            .start_json("AccumulatorWorkflow", &[json!("A"), json!([large])])
            .await?;
        let reason = bad_input(&order).await?;
        assert!(
            reason.contains("more than the limit of 1048576"),
            "{reason}"
        );
        Ok(())
    })
    .await
}

/// Input that does not decode fails the workflow at once, and the failure says which argument and why.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let a = || json!("A");
        let cases = [
            (vec![], "argument 1: the argument is missing"),
            (
                vec![json!(["A"])],
                "argument 1: invalid type: sequence, expected a string",
            ),
            (
                vec![a(), json!([{"order_id": "A"}])],
                "argument 2: `[0]`: missing field `item_id`",
            ),
            (
                vec![a(), json!(null), json!("item-1")],
                "argument 3: invalid type: string \"item-1\", expected a sequence",
            ),
            (
                vec![a(), json!([]), json!([]), json!({"quiet_seconds": 0})],
                "argument 4: `quiet_seconds`: invalid value: integer `0`, expected a nonzero u32",
            ),
        ];
        for (arguments, reason) in cases {
            let order: Order = env.start_json("AccumulatorWorkflow", &arguments).await?;
            assert_eq!(bad_input(&order).await?, reason);
        }
        let cart: Cart = env
            .start_json("ShoppingCartWorkflow", &[json!("A")])
            .await?;
        assert_eq!(
            bad_input(&cart).await?,
            "invalid type: string \"A\", expected a sequence"
        );
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED, and its items are not processed.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (id, order) = order(&env);
    add(&env, &id, "item-1", "Widget").await?;
    flush(&order).await?;
    let cart: Cart = env.start_json("ShoppingCartWorkflow", &[]).await?;
    order.cancel(Default::default()).await?;
    cart.cancel(Default::default()).await?;
    // The worker must run until both have ended.
    env.work(worker_options, async {
        until(&order, WorkflowExecutionCanceled).await?;
        until(&cart, WorkflowExecutionCanceled).await
    })
    .await?;
    Ok(())
}

/// The activity fails for good, and before a worker knows, the workflow is cancelled. It ends CANCELED.
#[tokio::test]
async fn fails_and_ends_cancelled() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (id, order) = order(&env);
    add(&env, &id, "item-1", "Widget").await?;
    flush(&order).await?;
    let workflow_only = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let options = WorkerOptions::new(queue).register_workflow::<AccumulatorWorkflow>()?;
        Ok(options.build())
    };
    operate::fails_and_ends_cancelled(&env, &order, workflow_only, worker_options).await
}

/// The handle of a signal-with-start that has started nothing cannot cancel the workflow. A handle by the id can.
/// Waiting ends at once.
#[tokio::test]
async fn cancelled_by_its_id() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let (id, order) = order(&env);
        add(&env, &id, "item-1", "Widget").await?;
        until(&order, TimerStarted).await?;
        order.cancel(Default::default()).await?;
        assert_cancelled(&order).await?;
        assert_eq!(activity_types(&order).await?, Vec::<String>::new());

        // The workflow continues as new, and the next signal reaches the second run.
        let first = add(&env, &id, "item-1", "Widget").await?;
        for _ in 0..3 {
            let padding = json!({"padding": "x".repeat(1_500_000)});
            send(&order, "add-item", &[padding]).await?;
        }
        let last = testing::eventually("the next run", async || {
            let last = add(&env, &id, "item-2", "Gizmo").await?;
            Ok((last.run_id() != first.run_id()).then_some(last))
        })
        .await?;
        let refused = last.cancel(Default::default()).await;
        assert!(
            matches!(refused, Err(WorkflowInteractionError::NotFound(_))),
            "{refused:?}"
        );
        order.cancel(Default::default()).await?;
        assert_cancelled(&order).await
    })
    .await
}

async fn assert_cancelled(order: &Order) -> anyhow::Result<()> {
    let ended = order.get_result(Default::default()).await;
    ensure!(
        matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
        "{ended:?}"
    );
    Ok(())
}

/// The server refuses a signal-with-start that must not find a running workflow. One that must not find an ended
/// workflow fails with an error of gRPC, and not with `AlreadyStarted`.
#[tokio::test]
async fn refusals_are_grpc_errors() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let (id, order) = order(&env);
        let refused =
            async |options| match add_item(&env, &id, item("A", "item-1", "Widget"), options).await
            {
                Err(WorkflowStartError::Rpc(status)) => Ok(status.code()),
                other => Err(anyhow::anyhow!("{:?}", other.map(|_| ()))),
            };
        let fail = WorkflowStartOptions::new(env.task_queue.clone(), &id)
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .build();
        assert_eq!(refused(fail).await?, Code::InvalidArgument);
        add(&env, &id, "item-1", "Widget").await?;
        flush(&order).await?;
        result(&order).await?;
        let once = WorkflowStartOptions::new(env.task_queue.clone(), &id)
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .build();
        assert_eq!(refused(once).await?, Code::AlreadyExists);
        Ok(())
    })
    .await
}

fn entry(product_id: &str, quantity: u32) -> CartEntry {
    CartEntry {
        product_id: product_id.to_owned(),
        quantity: NonZeroU32::new(quantity).unwrap_or(NonZeroU32::MIN),
    }
}

/// The item that starts the cart is in it, a second signal about the same item adds nothing, and `get_items` answers
/// before and after `checkout`.
#[tokio::test]
async fn fills_a_cart() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let id = env.start_options().workflow_id;
        let cart: Cart = env.client.get_workflow_handle(&id);
        for (item_id, product_id, quantity) in
            [("1", "widget", 2), ("2", "gizmo", 1), ("1", "widget", 2)]
        {
            let CartEntry {
                product_id,
                quantity,
            } = entry(product_id, quantity);
            let item = CartItem {
                item_id: item_id.to_owned(),
                product_id,
                quantity,
            };
            let (run, add_item) = (ShoppingCartWorkflow::run, ShoppingCartWorkflow::add_item);
            let options = options(&env, &id);
            env.client
                .signal_with_start_workflow(run, None.into(), add_item, item.into(), options)
                .await?;
        }
        let items = [entry("widget", 2), entry("gizmo", 1)];
        let get_items = async || {
            let get_items = ShoppingCartWorkflow::get_items;
            let items = cart.query(get_items, ().into(), Default::default());
            anyhow::Ok(items.await?)
        };
        assert_eq!(get_items().await?, items);
        send(&cart, "checkout", &[]).await?;
        assert_eq!(cart.get_result(Default::default()).await?, items);
        assert_eq!(get_items().await?, items);
        Ok(())
    })
    .await
}
