//! The workflows. One is the pool. The other asks it for a resource, uses the resource alone, and releases it.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{Iteration, ResourceActivities, UseResource};
use anyhow::anyhow;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use shared::{BAD_INPUT, Input, OrCancelled, at_most, check_id, wait_up_to};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    num::NonZeroU32,
    time::{Duration, UNIX_EPOCH},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityOptions, ApplicationFailure, SignalWorkflowOptions,
    SyncWorkflowContext, TimerOptions, WaitConditionOptions, WorkflowCancellationToken,
    WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowSignalError, WorkflowTermination,
    workflows::select,
};

/// Workflow id of the pool for which the published samples name their signals.
pub const POOL_ID: &str = "resource_pool";

/// Type of the failure of a user that fails on purpose.
pub const FAIL_WORKFLOW: &str = "FailWorkflowException";

/// Type of the failure of a user that got no resource in time.
pub const NO_RESOURCE: &str = "NoResource";

/// Most users that can wait at the same time. All of them must fit into the input of the pool's next run.
pub const MAX_WAITERS: usize = 1000;

/// Most resources of a pool, for the same reason.
pub const MAX_RESOURCES: usize = 500;

/// Time limit for one use of a resource.
const USE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without a heartbeat after which the server gives an attempt up. A killed worker is noticed after this time.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);

/// A user that holds a resource, or waits for one: `{"workflow_id":"user-1","release_signal":"1764000000000"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Workflow id of the user.
    #[serde(deserialize_with = "workflow_id")]
    pub workflow_id: String,
    /// Key that releases the resource. Each key of a pool is larger than the keys before. A user that waits has none.
    pub release_signal: Option<String>,
}

/// Input of the pool: `{"resources":{"resource_a":null},"waiters":[]}`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct PoolInput {
    /// Resources with their holders.
    pub resources: BTreeMap<String, Option<Holder>>,
    /// Users that wait, in the order of their requests.
    #[serde(default, deserialize_with = "at_most::<_, _, MAX_WAITERS>")]
    pub waiters: Vec<Holder>,
    /// Resources that leave the pool when their holders release them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leaving: BTreeSet<String>,
    /// While users wait and no resource is free, the pool looks after this time whether its holders still run. The
    /// default is a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_seconds: Option<NonZeroU32>,
}

/// The argument of `acquire_resource`: `{"workflow_id":"user-1"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct AcquireRequest {
    /// Workflow id of the user.
    #[serde(deserialize_with = "workflow_id")]
    pub workflow_id: String,
}

/// A resource that a user holds: `{"resource":"resource_a","release_key":"1764000000000"}`. The argument of
/// `assign_resource` and `release_resource`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct AcquiredResource {
    /// Name of the resource. To release it, the key is enough.
    #[serde(default)]
    pub resource: String,
    /// Key that releases the resource.
    pub release_key: String,
}

/// A pool of resources. It assigns each resource to one user at a time, and serves users in the order of their
/// requests. It ends only when it is cancelled.
#[workflow]
#[derive(Default)]
pub struct ResourcePoolWorkflow {
    resources: BTreeMap<String, Option<Holder>>,
    /// Users that have no resource yet, in the order of their requests.
    waiters: VecDeque<Holder>,
    leaving: BTreeSet<String>,
    /// Keys that came back. A list, because a release can arrive before the first line of `run`, which sets the
    /// holders.
    released: Vec<String>,
    /// Whether a signal has arrived since `run` looked last.
    changed: bool,
    /// When a resource was assigned last, in milliseconds since 1970.
    assigned_at_ms: u64,
}

#[workflow_methods]
impl ResourcePoolWorkflow {
    /// Assigns resources. A run that continues another one gets the holders and the users that wait.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<PoolInput>,
    ) -> WorkflowResult<()> {
        let input = input.decode(ctx)?;
        input.check().map_err(bad_input)?;
        let check = input.check_seconds.map_or(60, NonZeroU32::get);
        let check = Duration::from_secs(check.into());
        let check_seconds = input.check_seconds;
        ctx.state_mut(|pool| pool.begin(input));
        let mut checked_at_ms = now_ms(ctx);
        while !ctx.cancellation_token().is_cancelled() {
            ctx.state_mut(Self::take_released);
            // Nothing is awaited between the last line and this end of the run. If a signal arrives at the server in
            // the meantime, the server rejects the end, and the SDK runs this part again.
            if ctx.continue_as_new_suggested() {
                let next = ctx.state_mut(|pool| PoolInput {
                    resources: mem::take(&mut pool.resources),
                    waiters: mem::take(&mut pool.waiters).into(),
                    leaving: mem::take(&mut pool.leaving),
                    check_seconds,
                });
                let continued = ctx.continue_as_new(next.into(), Default::default());
                return continued.map(|never| match never {});
            }
            if let Some((resource, user)) = ctx.state_mut(Self::next) {
                Self::assign(ctx, resource, user).await;
                continue;
            }
            let changed = |pool: &Self| pool.changed || ctx.continue_as_new_suggested();
            // An error means that the pool is cancelled, which ends the loop.
            if ctx.state(|pool| pool.waiters.is_empty()) {
                let _ = ctx.wait_condition(changed).await;
                continue;
            }
            // From check to check, however many signals arrive in between.
            let since = Duration::from_millis(now_ms(ctx).saturating_sub(checked_at_ms));
            let left = check.saturating_sub(since);
            if let Ok(false) = wait_up_to(ctx, left, changed).await {
                Self::take_back(ctx).await;
                checked_at_ms = now_ms(ctx);
            }
        }
        // The next pool would know nothing of the holders, and assign their resources again.
        while ctx.state_mut(|pool| {
            pool.take_released();
            pool.resources.values().any(Option::is_some)
        }) {
            if !Self::changes_within(ctx, check).await {
                Self::take_back(ctx).await;
            }
        }
        Err(WorkflowTermination::cancelled())
    }

    /// Asks for a resource.
    #[signal(name = "acquire_resource")]
    pub fn acquire_resource(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        request: Input<AcquireRequest>,
    ) {
        let Some(AcquireRequest { workflow_id }) = request.or_ignored(ctx, "acquire_resource")
        else {
            return;
        };
        if self.waiters.len() >= MAX_WAITERS {
            return ignored(ctx, "acquire_resource", "too many users wait");
        }
        self.waiters.push_back(Holder {
            workflow_id,
            release_signal: None,
        });
        self.changed = true;
    }

    /// Gives a resource back. Only the key of the current holder does so. A late release would otherwise free the
    /// resource of somebody else.
    #[signal(name = "release_resource")]
    pub fn release_resource(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        release: Input<AcquiredResource>,
    ) {
        if let Some(release) = release.or_ignored(ctx, "release_resource") {
            self.released.push(release.release_key);
            self.changed = true;
        }
    }

    /// Adds resources. Known names are ignored, except that they no longer leave the pool.
    #[signal(name = "add_resources")]
    pub fn add_resources(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        names: Input<Vec<String>>,
    ) {
        for name in names.or_ignored(ctx, "add_resources").unwrap_or_default() {
            if let Err(reason) = check_id("the name of a resource", &name, 0) {
                ignored(ctx, "add_resources", &reason.to_string());
            } else if self.resources.len() >= MAX_RESOURCES {
                ignored(ctx, "add_resources", "the pool is full");
            } else {
                self.leaving.remove(&name);
                self.resources.entry(name).or_default();
            }
        }
        self.changed = true;
    }

    /// Removes resources. A resource that somebody holds leaves the pool when it is released.
    #[signal(name = "remove_resources")]
    pub fn remove_resources(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        names: Input<Vec<String>>,
    ) {
        let names = names.or_ignored(ctx, "remove_resources");
        self.leaving.extend(names.unwrap_or_default());
        self.changed = true;
    }

    /// Returns the resources with their holders.
    #[query(name = "get_current_holders")]
    pub fn get_current_holders(
        &self,
        _ctx: &WorkflowContextView,
        _nothing: Input<()>,
    ) -> BTreeMap<String, Option<Holder>> {
        self.resources.clone()
    }
}

impl ResourcePoolWorkflow {
    /// Adds what the input says to what signals have said before the first line of `run`.
    fn begin(&mut self, input: PoolInput) {
        let added = mem::replace(&mut self.resources, input.resources);
        for name in added.into_keys() {
            self.resources.entry(name).or_default();
        }
        // Users from the previous run come before those that arrived before this line.
        let arrived = mem::replace(&mut self.waiters, input.waiters.into());
        self.waiters.extend(arrived);
        self.leaving.extend(input.leaving);
    }

    /// Frees the resources whose keys came back, and drops the free ones that must leave. A key that nobody holds has
    /// no effect.
    fn take_released(&mut self) {
        self.changed = false;
        let released = mem::take(&mut self.released);
        for holder in self.resources.values_mut() {
            let key = holder
                .as_ref()
                .and_then(|holder| holder.release_signal.as_ref());
            if key.is_some_and(|key| released.contains(key)) {
                *holder = None;
            }
        }
        let leaving = &mut self.leaving;
        self.resources
            .retain(|name, holder| holder.is_some() || !leaving.contains(name));
        leaving.retain(|name| self.resources.contains_key(name));
    }

    /// Returns a free resource and the first user that waits, if there are both.
    fn next(&mut self) -> Option<(String, Holder)> {
        let mut resources = self.resources.iter();
        let (resource, _) = resources.find(|(_, holder)| holder.is_none())?;
        Some((resource.clone(), self.waiters.pop_front()?))
    }

    /// Sends the resource to the user. A user that cannot be reached does not get it.
    async fn assign(ctx: &WorkflowContext<Self>, resource: String, user: Holder) {
        let now = now_ms(ctx);
        let key = ctx.state_mut(|pool| {
            // Larger than before in this run, even if the server's clock goes back.
            pool.assigned_at_ms = now.max(pool.assigned_at_ms + 1);
            let key = pool.assigned_at_ms.to_string();
            let holder = Holder {
                workflow_id: user.workflow_id.clone(),
                release_signal: Some(key.clone()),
            };
            // Before the signal is sent, because the answer of a fast user arrives before the server's.
            pool.resources.insert(resource.clone(), Some(holder));
            key
        });
        let acquired = AcquiredResource {
            resource,
            release_key: key.clone(),
        };
        // A token of its own: a pool that is cancelled meanwhile must know whether somebody holds the resource.
        let token = WorkflowCancellationToken::new();
        let options = SignalWorkflowOptions::builder().cancellation_token(token.clone());
        let (acquired, options) = (acquired.into(), options.build());
        let to = ctx.external_workflow(&user.workflow_id, None);
        let assigned = if ctx.workflow_id() == POOL_ID {
            let assign = ResourceUserWorkflow::assign_resource_resource_pool;
            to.signal(assign, acquired, options).await
        } else {
            let assign = ResourceUserWorkflow::assign_resource;
            to.signal(assign, acquired, options).await
        };
        if let Err(error) = assigned {
            ctx.state_mut(|pool| pool.released.push(key));
            if !ctx.is_replaying() {
                tracing::warn!(user = user.workflow_id, "user skipped: {error}");
            }
        }
    }

    /// Takes the resources back from users that no longer run, for example because they were terminated.
    async fn take_back(ctx: &WorkflowContext<Self>) {
        let holders: Vec<Holder> =
            ctx.state(|pool| pool.resources.values().flatten().cloned().collect());
        for holder in holders {
            let token = WorkflowCancellationToken::new();
            let options = SignalWorkflowOptions::builder().cancellation_token(token.clone());
            let user = ctx.external_workflow(&holder.workflow_id, None);
            let are_you_there = ResourceUserWorkflow::are_you_there;
            let reached = user.signal(are_you_there, ().into(), options.build()).await;
            // Another error does not say that the user is gone.
            if let Err(WorkflowSignalError::NotFound(_)) = reached {
                if !ctx.is_replaying() {
                    tracing::warn!(
                        user = holder.workflow_id,
                        "gone, and takes no resource with it"
                    );
                }
                ctx.state_mut(|pool| pool.released.extend(holder.release_signal));
            }
        }
    }

    /// Waits for a signal, but no longer than `limit`, and returns whether one has arrived. The wait goes on when the
    /// pool is cancelled.
    async fn changes_within(ctx: &WorkflowContext<Self>, limit: Duration) -> bool {
        let token = WorkflowCancellationToken::new();
        let timer = TimerOptions::builder(limit).cancellation_token(token.clone());
        let options = WaitConditionOptions::builder().cancellation_token(token.clone());
        select! {
            _ = ctx.wait_condition_with_options(|pool| pool.changed, options.build()) => {
                token.cancel();
                true
            }
            _ = ctx.timer(timer.build()) => false,
        }
    }
}

impl PoolInput {
    /// Checks what the next run would otherwise not be able to read.
    fn check(&self) -> anyhow::Result<()> {
        if self.resources.len() > MAX_RESOURCES {
            return Err(anyhow!(
                "`resources`: {} resources, and at most {MAX_RESOURCES} fit into one pool",
                self.resources.len()
            ));
        }
        for (name, holder) in &self.resources {
            check_id("`resources`: the name of a resource", name, 0)?;
            if let Some(key) = holder
                .as_ref()
                .and_then(|holder| holder.release_signal.as_ref())
            {
                check_id("`resources`: a release signal", key, 0)?;
            }
        }
        Ok(())
    }
}

/// Input of the user: `{"resource_pool_workflow_id":"resource_pool","iteration_to_fail_after":null,
/// "should_continue_as_new":false}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct UserInput {
    /// Workflow id of the pool.
    #[serde(deserialize_with = "workflow_id")]
    pub resource_pool_workflow_id: String,
    /// When the user fails on purpose.
    #[serde(default)]
    pub iteration_to_fail_after: Option<Iteration>,
    /// Whether the user continues as new after its work, and works again in the next run.
    #[serde(default)]
    pub should_continue_as_new: bool,
    /// The resource that the previous run has handed over.
    #[serde(default)]
    pub already_acquired_resource: Option<AcquiredResource>,
    /// How long the user waits for a resource. The default is five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait_seconds: Option<NonZeroU32>,
}

/// Uses a resource while no other workflow uses it.
#[workflow]
#[derive(Default)]
pub struct ResourceUserWorkflow {
    /// The resource that the pool has assigned.
    acquired: Option<AcquiredResource>,
}

#[workflow_methods]
impl ResourceUserWorkflow {
    /// Acquires a resource, uses it twice, and releases it.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<UserInput>,
    ) -> WorkflowResult<()> {
        let input = input.decode(ctx)?;
        check_id("the workflow id", ctx.workflow_id(), 0).map_err(bad_input)?;
        refuse_timeouts(ctx)?;
        let used = async {
            let acquired = Self::acquire(ctx, &input).await?;
            Self::use_resource(ctx, &input, &acquired).await?;
            WorkflowResult::Ok(acquired)
        };
        let used = used.await;
        if let Ok(acquired) = &used
            && input.should_continue_as_new
            && !ctx.cancellation_token().is_cancelled()
        {
            // The next run has the same workflow id, and so it keeps the resource and releases it.
            let next = UserInput {
                should_continue_as_new: false,
                already_acquired_resource: Some(acquired.clone()),
                ..input
            };
            let continued = ctx.continue_as_new(next.into(), Default::default());
            return continued.map(|never| match never {});
        }
        // Whatever happened, and also if a resource was assigned in the moment of a cancellation.
        Self::release(ctx, &input).await;
        used.map(drop)
    }

    /// Assigns a resource. Pools with another id than `resource_pool` send this signal.
    #[signal(name = "assign_resource")]
    pub fn assign_resource(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        acquired: Input<AcquiredResource>,
    ) {
        let acquired = acquired.or_ignored(ctx, "assign_resource");
        self.acquired = acquired.or_else(|| self.acquired.take());
    }

    /// Assigns a resource. The pool `resource_pool` sends this signal.
    #[signal(name = "assign_resource_resource_pool")]
    pub fn assign_resource_resource_pool(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        acquired: Input<AcquiredResource>,
    ) {
        let acquired = acquired.or_ignored(ctx, "assign_resource_resource_pool");
        self.acquired = acquired.or_else(|| self.acquired.take());
    }

    /// Does nothing. The pool learns from the server whether this workflow still runs.
    #[signal(name = "are_you_there")]
    pub fn are_you_there(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {}
}

impl ResourceUserWorkflow {
    /// Asks for a resource and waits until it is assigned. Returns the one of the previous run, if there is one.
    async fn acquire(
        ctx: &WorkflowContext<Self>,
        input: &UserInput,
    ) -> WorkflowResult<AcquiredResource> {
        if let Some(acquired) = input.already_acquired_resource.clone() {
            ctx.state_mut(|user| user.acquired = Some(acquired.clone()));
            return Ok(acquired);
        }
        let token = WorkflowCancellationToken::new();
        let options = SignalWorkflowOptions::builder().cancellation_token(token.clone());
        let pool_id = &input.resource_pool_workflow_id;
        let pool = ctx.external_workflow(pool_id, None);
        let request = AcquireRequest {
            workflow_id: ctx.workflow_id().to_owned(),
        };
        let acquire = ResourcePoolWorkflow::acquire_resource;
        let asked = pool.signal(acquire, request.into(), options.build()).await;
        let asked = asked.map_err(|error| {
            let reason = format!("cannot ask the pool {pool_id} for a resource: {error}");
            failure(NO_RESOURCE, reason)
        });
        asked.or_cancelled(ctx)?;
        let limit = input.max_wait_seconds.map_or(300, NonZeroU32::get);
        let limit = Duration::from_secs(limit.into());
        wait_up_to(ctx, limit, |user| user.acquired.is_some()).await?;
        let acquired = ctx.state(|user| user.acquired.clone());
        acquired.ok_or_else(|| {
            let reason = format!("the pool {pool_id} has assigned no resource within {limit:?}");
            failure(NO_RESOURCE, reason).into()
        })
    }

    /// Uses the resource twice.
    async fn use_resource(
        ctx: &WorkflowContext<Self>,
        input: &UserInput,
        acquired: &AcquiredResource,
    ) -> WorkflowResult<()> {
        for iteration in [Iteration::First, Iteration::Second] {
            let use_it = UseResource {
                resource: acquired.resource.clone(),
                iteration,
                release_key: acquired.release_key.clone(),
            };
            let options = ActivityOptions::with_start_to_close_timeout(USE_TIMEOUT)
                .heartbeat_timeout(HEARTBEAT_TIMEOUT)
                // Otherwise a cancelled workflow would release the resource while its activity still uses it.
                .cancellation_type(ActivityCancellationType::WaitCancellationCompleted);
            ctx.execute_activity(ResourceActivities::use_resource, use_it, options.build())
                .await
                .or_cancelled(ctx)?;
            if input.iteration_to_fail_after == Some(iteration) {
                let reason = format!("fails after the {iteration:?} iteration").to_lowercase();
                return Err(failure(FAIL_WORKFLOW, reason).into());
            }
        }
        Ok(())
    }

    /// Releases the resource, if one was assigned.
    async fn release(ctx: &WorkflowContext<Self>, input: &UserInput) {
        let Some(acquired) = ctx.state(|user| user.acquired.clone()) else {
            return;
        };
        // A token of its own, because that of the workflow may be cancelled.
        let token = WorkflowCancellationToken::new();
        let options = SignalWorkflowOptions::builder().cancellation_token(token.clone());
        let pool = ctx.external_workflow(&input.resource_pool_workflow_id, None);
        let release = ResourcePoolWorkflow::release_resource;
        let released = pool.signal(release, acquired.into(), options.build()).await;
        // The pool has ended, or takes no more signals. It takes the resource back when this workflow has ended.
        if let Err(error) = released
            && !ctx.is_replaying()
        {
            tracing::warn!("resource not released: {error}");
        }
    }
}

/// A user that times out cannot release its resource, so it must not have such a time limit.
fn refuse_timeouts<W>(ctx: &WorkflowContext<W>) -> WorkflowResult<()> {
    let run = ctx.info();
    // In this order, because the server limits the run, too, if only the execution has a limit.
    let limits = [
        ("an execution timeout", run.execution_timeout()),
        ("a run timeout", run.run_timeout()),
    ];
    for (what, limit) in limits {
        if limit.is_some_and(|limit| !limit.is_zero()) {
            let reason = anyhow!(
                "the workflow has {what}: start it without one, because a user that times out does not release \
                 its resource"
            );
            return Err(bad_input(reason).into());
        }
    }
    Ok(())
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

fn ignored<W>(ctx: &SyncWorkflowContext<W>, signal: &str, reason: &str) {
    if !ctx.is_replaying() {
        let workflow_id = ctx.workflow_id();
        tracing::warn!(workflow_id, "{signal} ignored: {reason}");
    }
}

fn failure(type_name: &str, reason: String) -> ApplicationFailure {
    ApplicationFailure::builder(anyhow!(reason))
        .type_name(type_name.to_owned())
        .non_retryable(true)
        .build()
}

fn bad_input(reason: anyhow::Error) -> ApplicationFailure {
    failure(BAD_INPUT, format!("bad input: {reason}"))
}
