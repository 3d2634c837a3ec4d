//! A lock for handlers: what one handler does across its awaits, no other one interrupts.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use std::{cell::RefCell, collections::VecDeque, rc::Rc};
use temporalio_sdk::{WorkflowCancellationError, WorkflowContext};

/// A lock in the state of a workflow, for handlers that must run one at a time.
///
/// The handlers of a workflow take turns at every `await`. A handler that reads the state, awaits an activity
/// and then changes the state needs a lock, because another handler may have changed the state meanwhile.
/// `tokio::sync::Mutex` and `futures::lock::Mutex` do not work here: at the first contention, the workflow
/// task fails with `TMPRL1100`.
///
/// Handlers get the lock in the order in which they asked for it. Let each activity that runs under the lock
/// have a limited number of attempts or a `schedule_to_close_timeout`, because all other handlers wait.
/// A handler that asks for a lock that it already holds waits forever.
///
/// ```
/// # use shared::{Input, Lock, sleep};
/// # use std::{error::Error, time::Duration};
/// # use temporalio_macros::{workflow, workflow_methods};
/// # use temporalio_sdk::{WorkflowContext, WorkflowResult};
/// #[workflow]
/// #[derive(Default)]
/// pub struct CounterWorkflow {
///     count: u32,
///     lock: Lock,
/// }
///
/// #[workflow_methods]
/// impl CounterWorkflow {
///     # #[run]
///     # pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
///     #     Ok(ctx.wait_condition(|workflow| workflow.count > 9).await?)
///     # }
///     #[update(name = "increment")]
///     pub async fn increment(
///         ctx: &mut WorkflowContext<Self>,
///         _nothing: Input<()>,
///     ) -> Result<u32, Box<dyn Error + Send + Sync>> {
///         let lock = ctx.state(|workflow| workflow.lock.clone());
///         let _guard = lock.lock(ctx).await?;
///         let count = ctx.state(|workflow| workflow.count) + 1;
///         // Here an activity would take its time.
///         ctx.state_mut(|workflow| workflow.count = count);
///         Ok(count)
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Lock(Rc<RefCell<Queue>>);

/// The holder of the lock, followed by the handlers that wait for it.
#[derive(Debug, Default)]
struct Queue {
    tickets: VecDeque<u64>,
    next: u64,
}

/// Holds a [`Lock`] until it is dropped. Keep it in a variable: `_guard` holds the lock, `_` does not.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<W> {
    lock: Lock,
    ctx: WorkflowContext<W>,
    ticket: u64,
}

impl<W> Drop for LockGuard<W> {
    fn drop(&mut self) {
        // Through the context, which wakes the handlers that wait.
        self.ctx.state_mut(|_| {
            let mut queue = self.lock.0.borrow_mut();
            queue.tickets.retain(|ticket| *ticket != self.ticket);
        });
    }
}

impl Lock {
    /// Waits for the lock, and returns a guard that releases it.
    ///
    /// # Errors
    /// If the workflow is cancelled before the lock is free. The handler then no longer waits in the queue.
    pub async fn lock<W>(
        &self,
        ctx: &WorkflowContext<W>,
    ) -> Result<LockGuard<W>, WorkflowCancellationError> {
        let ticket = {
            let mut queue = self.0.borrow_mut();
            queue.next += 1;
            let ticket = queue.next;
            queue.tickets.push_back(ticket);
            ticket
        };
        // From here on, so that a handler that stops waiting leaves the queue.
        let (lock, ctx) = (self.clone(), ctx.clone());
        let guard = LockGuard { lock, ctx, ticket };
        let is_next = |_: &W| self.0.borrow().tickets.front() == Some(&ticket);
        guard.ctx.wait_condition(is_next).await?;
        Ok(guard)
    }

    /// Returns whether a handler holds the lock.
    pub fn is_locked(&self) -> bool {
        !self.0.borrow().tickets.is_empty()
    }
}
