//! The workflows. One also exists in samples of other SDKs. The other fails in the way that its input asks for.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::{DataActivities, ProcessingInput, Trouble};
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled};
use std::time::Duration;
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

/// Returns a policy with three attempts, and no retry of errors for which a retry is useless.
fn retry_policy() -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(Duration::from_millis(200))
        .backoff_coefficient(2.0)
        // Without a limit, an activity is retried forever, and the workflow never learns about its errors.
        // Attempts that are lost with their worker count too. If that matters, limit the time instead, with
        // the activity's `schedule_to_close_timeout`.
        .maximum_attempts(3)
        // Matches the type of the failure. An error that is returned with `?` has no type and never matches.
        .non_retryable_error_types(vec!["DataRejected".to_owned()])
        .build()
}

/// Processes data with an activity that fails in each attempt.
#[workflow]
#[derive(Default)]
pub struct DataProcessingWorkflow;

#[workflow_methods]
impl DataProcessingWorkflow {
    /// Fails, and the failure of the activity is the cause.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        data: Input<String>,
    ) -> WorkflowResult<String> {
        let input = ProcessingInput {
            data: data.decode(ctx)?,
            should_fail: true,
            trouble: Trouble::default(),
        };
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(10))
            .retry_policy(retry_policy())
            .build();
        ctx.execute_activity(DataActivities::process_data, input, options)
            .await
            .or_cancelled(ctx)
    }
}

/// The input of [`TypedErrorsWorkflow`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TypedErrorsInput {
    /// Data to process.
    pub data: String,
    /// How processing fails.
    pub trouble: Trouble,
}

/// Processes data with an activity that fails as the input asks.
#[workflow]
#[derive(Default)]
pub struct TypedErrorsWorkflow;

#[workflow_methods]
impl TypedErrorsWorkflow {
    /// Returns the processed data if a retry succeeds. Otherwise fails, with the chain of causes.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<TypedErrorsInput>,
    ) -> WorkflowResult<String> {
        let TypedErrorsInput { data, trouble } = input.decode(ctx)?;
        if trouble == Trouble::WorkflowPanics {
            // This fails the workflow *task*, which is retried until a worker with fixed code polls it.
            // To fail the workflow, return an error instead.
            panic!("unexpected data: {data}");
        }
        let input = ProcessingInput {
            data,
            should_fail: true,
            trouble,
        };
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(1))
            .retry_policy(retry_policy())
            .build();
        ctx.execute_activity(DataActivities::process_data, input, options)
            .await
            .or_cancelled(ctx)
    }
}
