//! The workflows: one as the other SDKs have it, one that goes through all that can go wrong.

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

/// Three attempts, unless an error says that more are in vain.
fn retry_policy() -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(Duration::from_millis(200))
        .backoff_coefficient(2.0)
        // Without a limit, an activity is retried forever, and the workflow never learns about it. Attempts
        // that are lost with their worker count too. Where that matters, limit the time instead, with the
        // activity's `schedule_to_close_timeout`.
        .maximum_attempts(3)
        // By the type that the failure was given; an error by `?` has none and never matches.
        .non_retryable_error_types(vec!["DataRejected".to_owned()])
        .build()
}

/// Has data processed, by an activity that fails at each attempt.
#[workflow]
#[derive(Default)]
pub struct DataProcessingWorkflow;

#[workflow_methods]
impl DataProcessingWorkflow {
    /// Fails, with the activity's failure as its cause.
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
    /// What to process.
    pub data: String,
    /// What is to go wrong.
    pub trouble: Trouble,
}

/// Has data processed, with the trouble that its input asks for.
#[workflow]
#[derive(Default)]
pub struct TypedErrorsWorkflow;

#[workflow_methods]
impl TypedErrorsWorkflow {
    /// Returns what was processed after all, or fails with what went wrong as its cause.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<TypedErrorsInput>,
    ) -> WorkflowResult<String> {
        let TypedErrorsInput { data, trouble } = input.decode(ctx)?;
        if trouble == Trouble::WorkflowPanics {
            // Fails the workflow *task*, which is retried until a worker with other code comes.
            // What is to fail the workflow returns an error instead.
            panic!("no idea what to do with {data}");
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
