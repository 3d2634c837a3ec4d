//! The workflow. An update returns how the fast phase 1 has ended, while the slow phase 2 still runs.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{InitActivity, Transaction, TransactionActivities, TransactionRequest};
use shared::{Input, Json, OrCancelled, handlers_finished};
use std::{error::Error, time::Duration};
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityCloseTimeouts, ActivityExecutionError, ActivityOptions,
    ApplicationFailure, LocalActivityOptions, WorkflowCancellationToken, WorkflowContext,
    WorkflowResult,
};

/// Time limit for phase 1. The caller waits for it.
const INIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for one attempt of a regular activity in phase 1. If a worker dies, there is time for another attempt.
const INIT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limit for one attempt to complete or cancel a transaction.
const PHASE_2_TIMEOUT: Duration = Duration::from_secs(30);

/// Time after which the server considers the worker that completes a transaction dead.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks a transaction, lets its update return, and completes the transaction.
#[workflow]
#[derive(Default)]
pub struct TransactionWorkflow {
    /// How phase 1 has ended. Nothing while it runs, also before the first line of `run`.
    initialized: Option<Result<Transaction, InitFailure>>,
}

#[workflow_methods]
impl TransactionWorkflow {
    /// Returns the completed transaction. If a phase fails or the workflow is cancelled, cancels the transaction first.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        request: Input<TransactionRequest>,
    ) -> WorkflowResult<Transaction> {
        let request = request.decode(ctx)?;
        let transaction = Self::process(ctx, request).await;
        if transaction.is_err() {
            // The workflow's own token may be cancelled, and then the activity would not start.
            let token = WorkflowCancellationToken::new();
            let initialized = ctx.state(|workflow| workflow.initialized.clone());
            let transaction = initialized.and_then(Result::ok);
            let options = ActivityOptions::with_start_to_close_timeout(PHASE_2_TIMEOUT)
                .cancellation_token(token.clone())
                .build();
            let cancel = TransactionActivities::cancel_transaction;
            // Without `or_cancelled`, so that a failed cleanup fails the workflow.
            ctx.execute_activity(cancel, Json(transaction), options)
                .await?;
        }
        // The end of the workflow would abort an update that has not finished.
        handlers_finished(ctx).await?;
        transaction
    }

    /// Returns the transaction as soon as phase 1 has ended, or fails if phase 1 has failed.
    #[update(name = "return_init_result")]
    pub async fn return_init_result(
        ctx: &mut WorkflowContext<Self>,
        _nothing: Input<()>,
    ) -> Result<Transaction, Box<dyn Error + Send + Sync>> {
        ctx.wait_condition(|workflow| workflow.initialized.is_some())
            .await?;
        let initialized = ctx.state(|workflow| workflow.initialized.clone());
        let initialized = initialized.ok_or("phase 1 has not ended")?;
        Ok(initialized.map_err(ApplicationFailure::from)?)
    }
}

impl TransactionWorkflow {
    /// Runs both phases.
    async fn process(
        ctx: &WorkflowContext<Self>,
        request: TransactionRequest,
    ) -> WorkflowResult<Transaction> {
        let initialized = Self::initialize(ctx, request)
            .await
            .map_err(InitFailure::from);
        // Now the update returns.
        ctx.state_mut(|workflow| workflow.initialized = Some(initialized.clone()));
        let transaction = initialized
            .map_err(ApplicationFailure::from)
            .or_cancelled(ctx)?;

        let options = ActivityOptions::with_start_to_close_timeout(PHASE_2_TIMEOUT)
            .heartbeat_timeout(HEARTBEAT_TIMEOUT)
            // Otherwise the transaction could be cancelled and completed at the same time.
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .build();
        let complete = TransactionActivities::complete_transaction;
        ctx.execute_activity(complete, transaction, options)
            .await
            .or_cancelled(ctx)
    }

    /// Runs phase 1, by a local or by a regular activity.
    async fn initialize(
        ctx: &WorkflowContext<Self>,
        request: TransactionRequest,
    ) -> Result<Transaction, ActivityExecutionError> {
        let init = TransactionActivities::init_transaction;
        // Three attempts and the waits between them (1 s and 2 s) end before the time limit. If the time ran out first,
        // the caller would not learn why the attempts failed.
        let retry_policy = RetryPolicy::builder().maximum_attempts(3).build();
        match request.init.unwrap_or_default() {
            InitActivity::Local => {
                let options = LocalActivityOptions::builder()
                    .schedule_to_close_timeout(INIT_TIMEOUT)
                    .retry_policy(retry_policy)
                    // A timer of the workflow waits before a retry. While the worker itself waits, it would not notice
                    // the time limit.
                    .timer_backoff_threshold(Duration::ZERO)
                    .build();
                ctx.execute_local_activity(init, request, options).await
            }
            InitActivity::Regular => {
                let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
                    schedule_to_close: INIT_TIMEOUT,
                    start_to_close: INIT_ATTEMPT_TIMEOUT,
                };
                let options = ActivityOptions::with_close_timeouts(timeouts)
                    .retry_policy(retry_policy)
                    .build();
                ctx.execute_activity(init, request, options).await
            }
        }
    }
}

/// Why phase 1 has failed. The update and the workflow fail with the same type and text, and an [`ApplicationFailure`]
/// cannot be copied.
#[derive(Clone, Debug)]
struct InitFailure {
    type_name: String,
    message: String,
}

/// The failure of a regular activity is around that of the activity itself, and the failure of a local one is not.
impl From<ActivityExecutionError> for InitFailure {
    fn from(error: ActivityExecutionError) -> Self {
        let cause = error.cause().map(|cause| cause.failure());
        let Some(failure) = cause.or(error.failure()) else {
            return Self {
                type_name: String::new(),
                message: error.to_string(),
            };
        };
        let application = failure.maybe_application_failure();
        Self {
            type_name: application.map_or_else(String::new, |info| info.r#type.clone()),
            message: failure.message.clone(),
        }
    }
}

impl From<InitFailure> for ApplicationFailure {
    fn from(failure: InitFailure) -> Self {
        Self::builder(failure.message)
            .type_name(failure.type_name)
            .non_retryable(true)
            .build()
    }
}
