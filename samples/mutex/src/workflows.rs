//! The workflows. One is the lock. The other asks for it, uses the resource alone, and releases the lock.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::MutexActivities;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use shared::{BAD_INPUT, Input, Inputs, Inputs4, OrCancelled, check_id, wait_up_to};
use std::{
    collections::VecDeque,
    mem,
    num::NonZeroU32,
    time::{Duration, UNIX_EPOCH},
};
use temporalio_common::data_converters::{MultiArgs2, MultiArgs3};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityCloseTimeouts, ActivityOptions, ApplicationFailure,
    SignalWorkflowOptions, SyncWorkflowContext, TimerOptions, WaitConditionOptions,
    WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowResult,
    WorkflowTermination, workflows::select,
};

/// Most requesters that can wait at the same time. All of them must fit into the input of the lock's next run.
pub const MAX_WAITERS: usize = 1000;

/// Time limit for one attempt at a short activity. If its worker is killed, the server tries again after this time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time without a heartbeat after which the server gives an attempt up. A killed worker is noticed after this time.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);

/// The workflow id of a resource's lock begins with this.
const LOCK: &str = "mutex:";

/// Returns the workflow id of a resource's lock.
pub fn lock_id(resource_id: &str) -> String {
    format!("{LOCK}{resource_id}")
}

/// The argument of `lock-requested`: `{"initiatorId":"order-1","timeoutMs":1000}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockRequest {
    /// Workflow id of the requester.
    #[serde(deserialize_with = "workflow_id")]
    pub initiator_id: String,
    /// Time of the lease, in milliseconds.
    pub timeout_ms: NonZeroU32,
}

/// The argument of `lock-acquired`:
/// `{"releaseSignalName":"release-lock","token":"1764000000000","expiresAtMs":1764000001000}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Name of the signal that releases the lock.
    pub release_signal_name: String,
    /// Names this lease. Each token of a lock is larger than the tokens before.
    pub token: String,
    /// When the lease is over, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// The argument of `release-lock`: `{"token":"1764000000000"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Token of the lease that is given back.
    pub token: String,
}

/// A requester that holds the lock.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Workflow id of the requester.
    pub initiator_id: String,
    /// Its lease.
    pub lease: Lease,
}

/// The lock of one resource. It grants a lease to one requester at a time, in the order of the requests, and ends when
/// nobody asks for the lock.
#[workflow]
#[derive(Default)]
pub struct LockWorkflow {
    holder: Option<Holder>,
    /// Requests that are not granted yet, in the order of their arrival.
    waiters: VecDeque<LockRequest>,
    /// Tokens that came back since the last grant. Not only that of the holder, because a release can arrive before the
    /// first line of `run`, which sets the holder.
    released: Vec<String>,
    /// When the lock was granted last, in milliseconds since 1970.
    granted_at_ms: u64,
}

#[workflow_methods]
impl LockWorkflow {
    /// Grants leases. A client sends no arguments. A run that continues another one gets the requests that wait, and
    /// the holder.
    #[run(name = "lockWorkflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        arguments: Inputs<Option<Vec<LockRequest>>, Holder>,
    ) -> WorkflowResult<()> {
        let (waiters, holder) = arguments.decode(ctx)?;
        ctx.state_mut(|lock| {
            lock.holder = holder;
            // Requests from the previous run come before those that arrived before this line.
            let arrived = mem::take(&mut lock.waiters);
            for request in waiters.into_iter().flatten().chain(arrived) {
                lock.enqueue(request);
            }
        });
        loop {
            if let Some(holder) = ctx.state(|lock| lock.holder.clone()) {
                Self::wait_for_release(ctx, &holder).await;
            }
            // Nothing is awaited between these lines and an end of the run. If a signal arrives at the server in the
            // meantime, the server rejects the end, and the SDK runs this part again.
            if ctx.cancellation_token().is_cancelled() {
                return Err(WorkflowTermination::cancelled());
            }
            if ctx.continue_as_new_suggested() {
                let (waiters, holder) =
                    ctx.state_mut(|lock| (mem::take(&mut lock.waiters).into(), lock.holder.take()));
                let continued =
                    ctx.continue_as_new((Some(waiters), holder).into(), Default::default());
                return continued.map(|never| match never {});
            }
            match ctx.state_mut(|lock| lock.waiters.pop_front()) {
                Some(request) => Self::grant(ctx, request).await,
                // The next request starts the lock again.
                None => return Ok(()),
            }
        }
    }

    /// Asks for the lock.
    #[signal(name = "lock-requested")]
    pub fn lock_requested(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        request: Input<LockRequest>,
    ) {
        if let Some(request) = request.or_ignored(ctx, "lock-requested") {
            self.enqueue(request);
        }
    }

    /// Gives the lock back. Only the token of the current lease does so. A late release would otherwise free the lock
    /// of somebody else.
    #[signal(name = "release-lock")]
    pub fn release_lock(&mut self, ctx: &mut SyncWorkflowContext<Self>, release: Input<Release>) {
        if let Some(release) = release.or_ignored(ctx, "release-lock") {
            self.released.push(release.token);
        }
    }

    /// Returns the workflow id of the holder.
    #[query(name = "current-workflow-id")]
    pub fn current_workflow_id(
        &self,
        _ctx: &WorkflowContextView,
        _nothing: Input<()>,
    ) -> Option<String> {
        let holder = self.holder.as_ref();
        holder.map(|holder| holder.initiator_id.clone())
    }
}

impl LockWorkflow {
    /// Adds a request, unless the requester waits or holds the lock already. A requester that got no place asks again.
    fn enqueue(&mut self, request: LockRequest) {
        let holder = self.holder.iter();
        let holds = holder.filter(|holder| !self.released.contains(&holder.lease.token));
        let waits = self.waiters.iter().map(|waiter| &waiter.initiator_id);
        let mut known = holds.map(|holder| &holder.initiator_id).chain(waits);
        if !known.any(|id| *id == request.initiator_id) && self.waiters.len() < MAX_WAITERS {
            self.waiters.push_back(request);
        }
    }

    /// Sends a lease to the requester. A requester that cannot be reached does not get the lock.
    async fn grant(ctx: &WorkflowContext<Self>, request: LockRequest) {
        let now = now_ms(ctx);
        let holder = ctx.state_mut(|lock| {
            // Larger than before in this run, even if the server's clock goes back.
            lock.granted_at_ms = now.max(lock.granted_at_ms + 1);
            let lease = Lease {
                release_signal_name: "release-lock".to_owned(),
                token: lock.granted_at_ms.to_string(),
                expires_at_ms: now + u64::from(request.timeout_ms.get()),
            };
            let holder = Holder {
                initiator_id: request.initiator_id,
                lease,
            };
            // Before the signal is sent, because the answer of a fast requester arrives before the server's.
            lock.released.clear();
            lock.holder = Some(holder.clone());
            holder
        });
        // A token of its own: a lock that is cancelled meanwhile must know whether somebody holds it.
        let token = WorkflowCancellationToken::new();
        let options = SignalWorkflowOptions::builder().cancellation_token(token.clone());
        let requester = ctx.external_workflow(&holder.initiator_id, None);
        let lock_acquired = OneAtATimeWorkflow::lock_acquired;
        let lease = holder.lease.into();
        let granted = requester
            .signal(lock_acquired, lease, options.build())
            .await;
        if let Err(error) = granted {
            ctx.state_mut(|lock| lock.holder = None);
            if !ctx.is_replaying() {
                let initiator_id = holder.initiator_id;
                tracing::warn!(initiator_id, "requester skipped: {error}");
            }
        }
    }

    /// Waits until the holder releases the lock, but no longer than its lease. Returns earlier only if the history gets
    /// too long.
    ///
    /// The wait goes on when the lock is cancelled. Otherwise the next lock, which knows nothing of the holder, would
    /// grant a second lease.
    async fn wait_for_release(ctx: &WorkflowContext<Self>, holder: &Holder) {
        let token = WorkflowCancellationToken::new();
        let timer = TimerOptions::builder(holder.lease.time_left(ctx));
        let timer = timer.cancellation_token(token.clone()).build();
        let options = WaitConditionOptions::builder().cancellation_token(token.clone());
        let released = |lock: &Self| lock.released.contains(&holder.lease.token);
        let too_long =
            || ctx.continue_as_new_suggested() && !ctx.cancellation_token().is_cancelled();
        let wait = |lock: &Self| released(lock) || too_long();
        let expired = select! {
            _ = ctx.wait_condition_with_options(wait, options.build()) => {
                token.cancel();
                false
            }
            _ = ctx.timer(timer) => true,
        };
        if expired && !ctx.is_replaying() {
            let initiator_id = &holder.initiator_id;
            tracing::warn!(
                initiator_id,
                "the lease is over, and the holder has not released the lock"
            );
        }
        if expired || ctx.state(released) {
            ctx.state_mut(|lock| lock.holder = None);
        }
    }
}

impl Lease {
    /// Returns the rest of the lease. At least a millisecond, because zero means no timeout, and the server refuses an
    /// activity without one by failing the workflow task. At most the longest lease that can be requested.
    fn time_left<W>(&self, ctx: &WorkflowContext<W>) -> Duration {
        let left = self.expires_at_ms.saturating_sub(now_ms(ctx));
        Duration::from_millis(left.clamp(1, u32::MAX.into()))
    }

    fn is_over<W>(&self, ctx: &WorkflowContext<W>) -> bool {
        self.expires_at_ms <= now_ms(ctx)
    }
}

/// Uses a resource while no other workflow uses it.
#[workflow]
#[derive(Default)]
pub struct OneAtATimeWorkflow {
    /// The last lease that the lock has granted.
    lease: Option<Lease>,
}

#[workflow_methods]
impl OneAtATimeWorkflow {
    /// Takes the id of the resource, and optionally three times in milliseconds: how long it uses the resource (500),
    /// the longest time that it may hold the lock (1000), and how long it waits before it asks for the lock again
    /// (60000).
    #[run(name = "oneAtATimeWorkflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        arguments: Inputs4<String, u32, NonZeroU32, NonZeroU32>,
    ) -> WorkflowResult<()> {
        let (resource_id, work_ms, lease_ms, ask_again_ms) = arguments.decode(ctx)?;
        check_id("the resource id", &resource_id, LOCK.len()).map_err(bad_input)?;
        check_id("the workflow id", ctx.workflow_id(), 0).map_err(bad_input)?;

        let used = async {
            let lease = Self::acquire(ctx, &resource_id, lease_ms, ask_again_ms).await?;
            Self::use_resource(ctx, &resource_id, work_ms.unwrap_or(500), &lease).await
        };
        let used = used.await;
        // Whatever happened, and also if the lock was granted in the moment of a cancellation.
        Self::release(ctx, &resource_id).await;
        used?;
        let options = ActivityOptions::start_to_close_timeout(ATTEMPT_TIMEOUT);
        ctx.execute_activity(MutexActivities::notify_unlocked, resource_id, options)
            .await
            .or_cancelled(ctx)
    }

    /// Grants the lock.
    #[signal(name = "lock-acquired")]
    pub fn lock_acquired(&mut self, ctx: &mut SyncWorkflowContext<Self>, lease: Input<Lease>) {
        if let Some(lease) = lease.or_ignored(ctx, "lock-acquired") {
            self.lease = Some(lease);
        }
    }
}

impl OneAtATimeWorkflow {
    /// Asks for the lock until it is granted. It asks more than once if the lock was terminated with its queue.
    async fn acquire(
        ctx: &WorkflowContext<Self>,
        resource_id: &str,
        lease_ms: Option<NonZeroU32>,
        ask_again_ms: Option<NonZeroU32>,
    ) -> WorkflowResult<Lease> {
        let lease_ms = lease_ms
            .or(NonZeroU32::new(1000))
            .unwrap_or(NonZeroU32::MIN);
        let ask_again = ask_again_ms.map_or(60_000, NonZeroU32::get);
        let ask_again = Duration::from_millis(ask_again.into());
        // The requester may have got the lease while no worker was running.
        let usable = |workflow: &Self| {
            let lease = workflow.lease.clone();
            lease.filter(|lease| !lease.is_over(ctx))
        };
        loop {
            let request = MultiArgs3(
                resource_id.to_owned(),
                lease_ms,
                ctx.task_queue().to_owned(),
            );
            let options = ActivityOptions::start_to_close_timeout(ATTEMPT_TIMEOUT);
            let ask = MutexActivities::signal_with_start_lock_workflow;
            ctx.execute_activity(ask, request, options)
                .await
                .or_cancelled(ctx)?;
            wait_up_to(ctx, ask_again, |workflow| usable(workflow).is_some()).await?;
            if let Some(lease) = ctx.state(usable) {
                return Ok(lease);
            }
        }
    }

    /// Uses the resource. The activities have no more time than the lease, so that nobody uses the resource when the
    /// lock is granted to somebody else.
    async fn use_resource(
        ctx: &WorkflowContext<Self>,
        resource_id: &str,
        work_ms: u32,
        lease: &Lease,
    ) -> WorkflowResult<()> {
        let within_lease = |start_to_close| {
            ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
                schedule_to_close: lease.time_left(ctx),
                start_to_close,
            })
        };
        let locked = MultiArgs2(resource_id.to_owned(), lease.token.clone());
        let options = within_lease(ATTEMPT_TIMEOUT).build();
        ctx.execute_activity(MutexActivities::notify_locked, locked, options)
            .await
            .or_cancelled(ctx)?;
        let options = within_lease(lease.time_left(ctx))
            .heartbeat_timeout(HEARTBEAT_TIMEOUT)
            // Otherwise a cancelled workflow would release the lock while its activity still uses the resource.
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted);
        let work = MultiArgs2(work_ms, lease.token.clone());
        ctx.execute_activity(MutexActivities::use_api, work, options.build())
            .await
            .or_cancelled(ctx)
    }

    /// Releases the lock, if it was granted.
    async fn release(ctx: &WorkflowContext<Self>, resource_id: &str) {
        let Some(Lease { token, .. }) = ctx.state(|workflow| workflow.lease.clone()) else {
            return;
        };
        // A token of its own, because that of the workflow may be cancelled.
        let detached = WorkflowCancellationToken::new();
        let options = SignalWorkflowOptions::builder().cancellation_token(detached.clone());
        let lock = ctx.external_workflow(lock_id(resource_id), None);
        let release = Release { token }.into();
        let released = lock
            .signal(LockWorkflow::release_lock, release, options.build())
            .await;
        // Usually because the lease was over, and the lock has ended since. The lock never waits longer than the lease.
        if let Err(error) = released
            && !ctx.is_replaying()
        {
            tracing::warn!("lock not released: {error}");
        }
    }
}

/// Returns the time of the workflow in milliseconds since 1970. It is the same on every replay.
fn now_ms<W>(ctx: &WorkflowContext<W>) -> u64 {
    let time = ctx.workflow_time();
    let now = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    now.and_then(|now| u64::try_from(now.as_millis()).ok())
        .unwrap_or_default()
}

/// Reads a workflow id that can be signalled. The server refuses a signal to another one by failing the workflow task,
/// again and again.
fn workflow_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    check_id("the workflow id", &id, 0).map_err(D::Error::custom)?;
    Ok(id)
}

fn bad_input(reason: anyhow::Error) -> ApplicationFailure {
    ApplicationFailure::builder(format!("bad input: {reason}"))
        .type_name(BAD_INPUT.to_owned())
        .non_retryable(true)
        .build()
}
