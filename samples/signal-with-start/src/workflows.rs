//! The workflows. Each is started by the first signal, and collects what the following ones bring.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{AccumulatorActivities, OrderItem};
use serde::{Deserialize, Serialize};
use shared::{BAD_INPUT, Input, Inputs4, OrCancelled, wait_up_to};
use std::{collections::BTreeSet, mem, num::NonZeroU32, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, SyncWorkflowContext, WorkflowContext, WorkflowContextView,
    WorkflowResult, WorkflowTermination,
};

/// Default time without a signal after which a batch is processed.
pub const QUIET: Duration = Duration::from_secs(10);

/// Maximum size of an order or a cart, in bytes of JSON. The server accepts at most 2 MiB as the input of
/// an activity or of the next run, and an `Input` 1.5 MiB. A larger one would block the workflow forever.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The optional fourth argument: `{"quiet_seconds":10}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct AccumulatorOptions {
    /// Seconds without a signal after which the batch is processed. Must not be 0.
    pub quiet_seconds: NonZeroU32,
}

/// Collects the items of one order, and processes them when no more arrive.
///
/// The handlers only note what arrives, in fields that `run` does not set: the signal that starts the
/// workflow is handled before the first line of `run`.
#[workflow]
#[derive(Default)]
pub struct AccumulatorWorkflow {
    /// Items that `run` has not looked at yet.
    arrived: Vec<OrderItem>,
    /// Whether to process the batch without waiting.
    flush: bool,
}

#[workflow_methods]
impl AccumulatorWorkflow {
    /// Returns the result of the last batch, which usually is the only one.
    ///
    /// A client sends the order id. A run that continues another one also gets the items of the batch and
    /// the ids of all items so far.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        arguments: Inputs4<String, Vec<OrderItem>, Vec<String>, AccumulatorOptions>,
    ) -> WorkflowResult<String> {
        let (order_id, items, seen, options) = arguments.decode(ctx)?;
        let quiet = options.map_or(QUIET, |options| {
            Duration::from_secs(options.quiet_seconds.get().into())
        });
        let mut order = Order::new(
            order_id,
            items.unwrap_or_default(),
            seen.unwrap_or_default(),
        )?;
        loop {
            let signalled = |workflow: &Self| !workflow.arrived.is_empty() || workflow.flush;
            let quiet_now = !wait_up_to(ctx, quiet, signalled).await?;
            order.take_arrived(ctx);
            if ctx.state_mut(|workflow| mem::take(&mut workflow.flush)) || quiet_now {
                // Taken out of the order, so that an item that arrives in the meantime makes a batch of its
                // own, and nothing is processed twice.
                let batch = (order.id.clone(), mem::take(&mut order.items));
                // A batch needs far less. An attempt whose worker dies is repeated after this time.
                let activity = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
                let processed = ctx
                    .execute_activity(AccumulatorActivities::process_items, batch, activity)
                    .await
                    .or_cancelled(ctx)?;
                // Nothing is awaited between this line and the end. If another signal arrives at the server in
                // the meantime, the server rejects the end, and the SDK runs this part again.
                order.take_arrived(ctx);
                if order.items.is_empty() {
                    return Ok(processed);
                }
            }
            // Only if every signal has been handled, because the next run knows nothing but its input.
            let handled = ctx.state(|workflow| workflow.arrived.is_empty() && !workflow.flush);
            if handled && ctx.continue_as_new_suggested() {
                ends_if_cancelled(ctx)?;
                let seen = order.seen.into_iter().collect();
                let next = (order.id, Some(order.items), Some(seen), options);
                let continued = ctx.continue_as_new(next.into(), Default::default());
                return continued.map(|never| match never {});
            }
        }
    }

    /// Adds an item to the batch.
    #[signal(name = "add-item")]
    pub fn add_item(&mut self, ctx: &mut SyncWorkflowContext<Self>, item: Input<OrderItem>) {
        self.arrived.extend(item.or_ignored(ctx, "add-item"));
    }

    /// Has the batch processed now.
    #[signal(name = "flush")]
    pub fn flush(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.flush = true;
    }
}

/// What `run` knows about the order.
struct Order {
    id: String,
    /// Items that are not processed yet.
    items: Vec<OrderItem>,
    /// Ids of all items so far. In a fixed order, because it goes to the next run.
    seen: BTreeSet<String>,
    bytes: usize,
}

impl Order {
    fn new(id: String, items: Vec<OrderItem>, seen: Vec<String>) -> WorkflowResult<Self> {
        let mut seen = BTreeSet::from_iter(seen);
        seen.extend(items.iter().map(|item| item.item_id.clone()));
        let bytes = json_bytes(&id)
            + items.iter().map(item_bytes).sum::<usize>()
            + seen.iter().map(|id| json_bytes(id)).sum::<usize>();
        if bytes > MAX_BYTES {
            let message = format!(
                "bad input: the order has {bytes} bytes, more than the limit of {MAX_BYTES}"
            );
            return Err(ApplicationFailure::builder(message)
                .type_name(BAD_INPUT.to_owned())
                .non_retryable(true)
                .build()
                .into());
        }
        Ok(Self {
            id,
            items,
            seen,
            bytes,
        })
    }

    /// Takes the items that have arrived, except those that do not belong to a batch.
    fn take_arrived(&mut self, ctx: &WorkflowContext<AccumulatorWorkflow>) {
        for item in ctx.state_mut(|workflow| mem::take(&mut workflow.arrived)) {
            let bytes = item_bytes(&item) + json_bytes(&item.item_id);
            let ignored = if item.order_id != self.id {
                "it belongs to another order"
            } else if self.seen.contains(&item.item_id) {
                "its id has been seen before"
            } else if self.bytes + bytes > MAX_BYTES {
                "the order is full"
            } else {
                self.bytes += bytes;
                self.seen.insert(item.item_id.clone());
                self.items.push(item);
                continue;
            };
            if !ctx.is_replaying() {
                let item_id = at_most_chars(&item.item_id);
                tracing::warn!(item_id, "item ignored: {ignored}");
            }
        }
    }
}

/// An item of a cart: `{"item_id":"item-1","product_id":"widget","quantity":2}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct CartItem {
    /// Id by which a second signal about the same item is recognized.
    pub item_id: String,
    /// Product to buy.
    pub product_id: String,
    /// How many of it.
    pub quantity: NonZeroU32,
}

/// An entry of the list that the cart returns: `{"product_id":"widget","quantity":2}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct CartEntry {
    /// Product to buy.
    pub product_id: String,
    /// How many of it.
    pub quantity: NonZeroU32,
}

/// A shopping cart. It exists from the first item until `checkout`.
#[workflow]
#[derive(Default)]
pub struct ShoppingCartWorkflow {
    items: Vec<CartItem>,
    /// Items that `run` has not looked at yet. A field of its own, because the item that starts the workflow
    /// arrives before the first line of `run`, which sets `items`.
    arrived: Vec<CartItem>,
    checkout: bool,
}

#[workflow_methods]
impl ShoppingCartWorkflow {
    /// Returns the items after `checkout`. A client sends no argument. A run that continues another one gets
    /// the items.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        items: Input<Option<Vec<CartItem>>>,
    ) -> WorkflowResult<Vec<CartEntry>> {
        let items = items.decode(ctx)?.unwrap_or_default();
        ctx.state_mut(|cart| cart.items = items);
        loop {
            ctx.wait_condition(|cart| !cart.arrived.is_empty() || cart.checkout)
                .await?;
            Self::take_arrived(ctx);
            if ctx.state(|cart| cart.checkout) {
                return Ok(ctx.state(Self::entries));
            }
            if ctx.continue_as_new_suggested() {
                ends_if_cancelled(ctx)?;
                let items = Some(ctx.state(|cart| cart.items.clone()));
                let continued = ctx.continue_as_new(items.into(), Default::default());
                return continued.map(|never| match never {});
            }
        }
    }

    /// Puts an item into the cart.
    #[signal(name = "add_item")]
    pub fn add_item(&mut self, ctx: &mut SyncWorkflowContext<Self>, item: Input<CartItem>) {
        self.arrived.extend(item.or_ignored(ctx, "add_item"));
    }

    /// Ends the workflow with the items as its result.
    #[signal(name = "checkout")]
    pub fn checkout(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.checkout = true;
    }

    /// Returns the items in the order of their arrival, also after the end.
    #[query(name = "get_items")]
    pub fn get_items(&self, _ctx: &WorkflowContextView, _nothing: Input<()>) -> Vec<CartEntry> {
        self.entries()
    }
}

impl ShoppingCartWorkflow {
    fn take_arrived(ctx: &WorkflowContext<Self>) {
        ctx.state_mut(|cart| {
            let mut bytes = cart.items.iter().map(CartItem::bytes).sum::<usize>();
            for item in mem::take(&mut cart.arrived) {
                let seen = cart.items.iter().any(|known| known.item_id == item.item_id);
                if seen || bytes + item.bytes() > MAX_BYTES {
                    if !ctx.is_replaying() {
                        let reason = match seen {
                            true => "its id has been seen before",
                            false => "the cart is full",
                        };
                        let item_id = at_most_chars(&item.item_id);
                        tracing::warn!(item_id, "item ignored: {reason}");
                    }
                    continue;
                }
                bytes += item.bytes();
                cart.items.push(item);
            }
        });
    }

    fn entries(&self) -> Vec<CartEntry> {
        let entry = |item: &CartItem| CartEntry {
            product_id: item.product_id.clone(),
            quantity: item.quantity,
        };
        self.items.iter().map(entry).collect()
    }
}

impl CartItem {
    /// Its size as JSON.
    fn bytes(&self) -> usize {
        // Names of the fields, quantity and comma.
        60 + json_bytes(&self.item_id) + json_bytes(&self.product_id)
    }
}

/// The next run would not know that this one has been cancelled.
fn ends_if_cancelled<W>(ctx: &WorkflowContext<W>) -> WorkflowResult<()> {
    match ctx.cancellation_token().is_cancelled() {
        true => Err(WorkflowTermination::cancelled()),
        false => Ok(()),
    }
}

/// The size of an item as JSON, without its place in the list of ids.
fn item_bytes(item: &OrderItem) -> usize {
    // Names of the fields, and comma.
    40 + json_bytes(&item.order_id) + json_bytes(&item.item_id) + json_bytes(&item.name)
}

/// The most bytes that a text needs as JSON, with quotation marks and a comma.
fn json_bytes(text: &str) -> usize {
    let bytes = |char: char| match char {
        '"' | '\\' => 2,
        '\0'..' ' => 6,
        other => other.len_utf8(),
    };
    3 + text.chars().map(bytes).sum::<usize>()
}

/// The beginning of a text from outside, for a log line.
fn at_most_chars(text: &str) -> &str {
    text.char_indices()
        .nth(100)
        .map_or(text, |(end, _)| &text[..end])
}
