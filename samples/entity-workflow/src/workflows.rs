//! The workflow. It is a user account: it lives as long as the account, and all changes go through it.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{
    account::{AccountState, MAX_TEXT, Profile, Status, short_text},
    activities::UserActivities,
    recent_updates::{RecentUpdates, UpdateFailure, UpdateIds},
};
use serde::{Deserialize, Serialize};
use shared::{Input, Lock, handlers_finished};
use std::{
    error::Error,
    time::{Duration, SystemTime},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCloseTimeouts, ActivityOptions, SyncWorkflowContext, WorkflowContext,
    WorkflowContextView, WorkflowResult, WorkflowTermination,
};

/// Type of the failure of an update of an account that is deleted.
pub const USER_DELETED: &str = "UserDeleted";

/// Type of the failure of an update that arrives while a run ends. The next run takes it: send it again.
pub const BETWEEN_RUNS: &str = "BetweenRuns";

/// Time limit for one attempt to validate a profile.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Time limit for all attempts. All other updates wait meanwhile.
const VALIDATION_TIMEOUT: Duration = Duration::from_secs(120);

/// Minimum of `continue_after_events`. The first workflow task of a run has three events, and a run that does nothing
/// but continue as new would do so forever.
const MIN_EVENTS: u32 = 10;

/// Error of a handler.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// The input: `{"user_id":"42"}`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct UserAccountInput {
    /// Id of the user.
    #[serde(deserialize_with = "short_text::<_, MAX_TEXT>")]
    pub user_id: String,
    /// State of the account. A client sends none, and a run passes it to the next one.
    pub state: Option<AccountState>,
    /// Updates that earlier runs have completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recent_updates: Option<RecentUpdates>,
    /// Number of events, at least 10, at which to continue as new, even if the server does not suggest it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_after_events: Option<u32>,
}

/// Keeps the state of one account, applies updates one at a time, and ends when the account is deleted.
#[workflow]
#[derive(Default)]
pub struct UserAccountWorkflow {
    account: AccountState,
    recent: RecentUpdates,
    /// Whether `run` has restored the two from its input. Updates can arrive before its first line, and wait for it.
    restored: bool,
    /// A field of its own, because the signal can also arrive before `run` restores the state.
    deleted: bool,
    /// Whether the run ends as soon as the handlers that have begun have finished.
    ending: bool,
    lock: Lock,
}

#[workflow_methods]
impl UserAccountWorkflow {
    /// Returns when the account is deleted.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<UserAccountInput>,
    ) -> WorkflowResult<()> {
        let input = input.decode(ctx)?;
        let new = AccountState {
            created_at: iso_8601(ctx.workflow_time()),
            ..Default::default()
        };
        ctx.state_mut(|user| {
            user.account = input.state.unwrap_or(new);
            user.recent = input.recent_updates.unwrap_or_default();
            user.deleted |= user.account.status == Status::Deleted;
            user.restored = true;
        });
        let limit = input.continue_after_events;
        let limit = limit.map_or(u32::MAX, |events| events.max(MIN_EVENTS));
        if Self::run_is_over(ctx, limit).await.is_err() {
            // The end of the workflow would abort updates that are not finished, so a cancelled workflow waits for
            // them, too.
            handlers_finished(ctx).await?;
            return Err(WorkflowTermination::cancelled());
        }
        // Nothing is awaited between the end of the last handler and the end of the run, so no change is lost.
        if ctx.state(|user| user.deleted) {
            ctx.state_mut(|user| user.account.status = Status::Deleted);
            return Ok(());
        }
        let next = ctx.state(|user| UserAccountInput {
            state: Some(user.account.clone()),
            recent_updates: Some(user.recent.clone()),
            ..input
        });
        match ctx.continue_as_new(next.into(), Default::default())? {}
    }

    /// Rejects an update of a deleted account, and bad input.
    #[update_validator(update_profile)]
    pub fn check_profile(
        &self,
        _ctx: &WorkflowContextView,
        profile: &Input<Profile>,
    ) -> Result<(), HandlerError> {
        profile.clone().into_result()?;
        self.check()
    }

    /// Changes the profile, if the activity finds it valid.
    #[update(name = "update_profile")]
    pub async fn update_profile(
        ctx: &mut WorkflowContext<Self>,
        profile: Input<Profile>,
    ) -> Result<(), HandlerError> {
        let profile = profile.into_result()?;
        let change = async {
            let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
                schedule_to_close: VALIDATION_TIMEOUT,
                start_to_close: ATTEMPT_TIMEOUT,
            };
            let options = ActivityOptions::with_close_timeouts(timeouts).build();
            let validate = UserActivities::validate_profile;
            // Without `or_cancelled`, because an error ends the update and not the workflow.
            ctx.execute_activity(validate, profile.clone(), options)
                .await?;
            Self::apply(ctx, |account| account.profile = Some(profile))
        };
        Self::once(ctx, change).await
    }

    /// Rejects an update of a deleted account.
    #[update_validator(suspend)]
    pub fn check_suspend(
        &self,
        _ctx: &WorkflowContextView,
        _nothing: &Input<()>,
    ) -> Result<(), HandlerError> {
        self.check()
    }

    /// Suspends an active account.
    #[update(name = "suspend")]
    pub async fn suspend(
        ctx: &mut WorkflowContext<Self>,
        _nothing: Input<()>,
    ) -> Result<(), HandlerError> {
        let change = async { Self::apply(ctx, |account| account.status = Status::Suspended) };
        Self::once(ctx, change).await
    }

    /// Rejects an update of a deleted account.
    #[update_validator(reactivate)]
    pub fn check_reactivate(
        &self,
        _ctx: &WorkflowContextView,
        _nothing: &Input<()>,
    ) -> Result<(), HandlerError> {
        self.check()
    }

    /// Reactivates a suspended account.
    #[update(name = "reactivate")]
    pub async fn reactivate(
        ctx: &mut WorkflowContext<Self>,
        _nothing: Input<()>,
    ) -> Result<(), HandlerError> {
        let change = async { Self::apply(ctx, |account| account.status = Status::Active) };
        Self::once(ctx, change).await
    }

    /// Deletes the account, which ends the workflow.
    #[signal(name = "delete")]
    pub fn delete(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.deleted = true;
    }

    /// Returns the state, also after the end.
    #[query(name = "get_state")]
    pub fn get_state(&self, _ctx: &WorkflowContextView, _nothing: Input<()>) -> AccountState {
        let mut account = self.account.clone();
        if self.deleted {
            account.status = Status::Deleted;
        }
        account
    }
}

impl UserAccountWorkflow {
    /// Waits until the account is deleted or the run is long enough, and all handlers have finished.
    async fn run_is_over(ctx: &WorkflowContext<Self>, limit: u32) -> WorkflowResult<()> {
        let long_enough = || ctx.continue_as_new_suggested() || ctx.history_length() >= limit;
        ctx.wait_condition(|user| user.deleted || long_enough())
            .await?;
        // From now on, the validators reject updates. Otherwise a steady stream of updates would leave no moment at
        // which all handlers have finished.
        ctx.state_mut(|user| user.ending = true);
        ctx.wait_condition(|_| ctx.all_handlers_finished()).await?;
        // Both can happen in one workflow task, and the next run would not know that this one was cancelled.
        match ctx.cancellation_token().is_cancelled() {
            true => Err(WorkflowTermination::cancelled()),
            false => Ok(()),
        }
    }

    /// Makes a change when it is its turn, unless an earlier run has completed an update with this id. In that case,
    /// returns how that update ended.
    async fn once(
        ctx: &WorkflowContext<Self>,
        change: impl Future<Output = Result<(), UpdateFailure>>,
    ) -> Result<(), HandlerError> {
        let id = UpdateIds::current(ctx)?;
        let lock = ctx.state(|user| user.lock.clone());
        let _turn = lock.lock(ctx).await?;
        ctx.wait_condition(|user| user.restored).await?;
        let outcome = match ctx.state(|user| user.recent.outcome(&id)) {
            Some(known) => known,
            None => {
                let outcome = change.await;
                ctx.state_mut(|user| user.recent.remember(&id, &outcome));
                outcome
            }
        };
        outcome.map_err(UpdateFailure::into_error)
    }

    /// Changes the account, unless it has been deleted while the update waited.
    fn apply(
        ctx: &WorkflowContext<Self>,
        change: impl FnOnce(&mut AccountState),
    ) -> Result<(), UpdateFailure> {
        let now = iso_8601(ctx.workflow_time());
        ctx.state_mut(|user| {
            if user.deleted {
                return Err(deleted());
            }
            let before = user.account.clone();
            change(&mut user.account);
            if user.account != before {
                user.account.updated_at = now;
            }
            user.account.updates_applied = before.updates_applied.saturating_add(1);
            Ok(())
        })
    }

    /// Checks whether the run takes another update.
    fn check(&self) -> Result<(), HandlerError> {
        if self.deleted {
            return Err(deleted().into_error());
        }
        if self.ending {
            let message = "this run of the account ends, send the update again";
            return Err(UpdateFailure::new(BETWEEN_RUNS, message).into_error());
        }
        Ok(())
    }
}

fn deleted() -> UpdateFailure {
    UpdateFailure::new(USER_DELETED, "User account is deleted")
}

fn iso_8601(time: Option<SystemTime>) -> Option<String> {
    time.map(|time| humantime::format_rfc3339_micros(time).to_string())
}
