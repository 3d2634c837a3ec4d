//! The activity, its error type, and the conversion of errors into failures.

use serde::{Deserialize, Serialize};
use shared::Traced;
use std::time::Duration;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Input of `process_data`: `{"data":"test-data","should_fail":true}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ProcessingInput {
    /// Data to process.
    pub data: String,
    /// Whether the activity fails.
    #[serde(default)]
    pub should_fail: bool,
    /// How it fails.
    #[serde(default, skip_serializing_if = "Trouble::is_default")]
    pub trouble: Trouble,
}

/// The ways to fail.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The activity fails in every attempt
    #[default]
    Fails,
    /// The activity rejects the data, so a retry cannot help
    Rejects,
    /// In the first attempt the service is busy, and says when to retry
    Busy,
    /// The activity takes too long
    TooSlow,
    /// The activity panics
    Panics,
    /// The workflow panics
    WorkflowPanics,
}

impl Trouble {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Details of a failure, in addition to its message.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ProcessingDetails {
    /// Data that was not processed.
    pub data: String,
    /// Number of the attempt, which Temporal's failures do not contain.
    pub attempt: u32,
}

/// The reasons why data was not processed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessingError {
    /// Processing failed, and a retry may succeed.
    #[error("Processing failed for: {0}")]
    Failed(String),
    /// The data is invalid, so a retry is useless.
    #[error("invalid data: {0}")]
    Rejected(String),
    /// The service is busy for this long, and then a retry can succeed.
    #[error("the service is busy; retry in {0:?}")]
    Busy(Duration),
}

/// Converts an error into a failure, with everything that Temporal must know: the type, which retry
/// policies and clients match on, and the delay of the next attempt. An error that is returned with `?` has
/// neither.
fn failure(error: Traced<ProcessingError>, details: ProcessingDetails) -> ApplicationFailure {
    let (kind, next_retry_delay) = match error.error() {
        ProcessingError::Failed(_) => ("ProcessingFailed", None),
        ProcessingError::Rejected(_) => ("DataRejected", None),
        ProcessingError::Busy(delay) => ("ServiceBusy", Some(*delay)),
    };
    ApplicationFailure::builder(error)
        .type_name(kind.to_owned())
        .maybe_next_retry_delay(next_retry_delay)
        .details(details)
        .build()
}

/// The activities of this sample.
pub struct DataActivities;

#[activities]
impl DataActivities {
    /// Processes data, unless the input asks for a failure.
    #[activity(name = "process_data")]
    pub async fn process_data(
        ctx: ActivityContext,
        input: ProcessingInput,
    ) -> Result<String, ActivityError> {
        let details = ProcessingDetails {
            data: input.data.clone(),
            attempt: ctx.info().attempt,
        };
        if input.should_fail && input.trouble == Trouble::TooSlow {
            // Longer than the timeout that the workflow sets. The server ignores the late result.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        process(input, details.attempt).map_err(|error| failure(error, details).into())
    }
}

/// Does the work itself, without any Temporal types.
fn process(input: ProcessingInput, attempt: u32) -> Result<String, Traced<ProcessingError>> {
    let ProcessingInput { data, trouble, .. } = input;
    if !input.should_fail || (trouble == Trouble::Busy && attempt > 1) {
        return Ok(format!("Processed: {data}"));
    }
    Err(match trouble {
        Trouble::Rejects => ProcessingError::Rejected(data),
        Trouble::Busy => ProcessingError::Busy(Duration::from_millis(50)),
        Trouble::Panics => panic!("unexpected data: {data}"),
        _ => ProcessingError::Failed(data),
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::{ActivityEnvironment, ActivityEnvironmentError};

    /// Returns the failure of the activity.
    async fn failure_of(trouble: Trouble) -> anyhow::Result<Box<ApplicationFailure>> {
        let input = ProcessingInput {
            data: "x".into(),
            should_fail: true,
            trouble,
        };
        let env = ActivityEnvironment::builder().build();
        match env.run(DataActivities::process_data, input).await {
            Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) => {
                Ok(failure)
            }
            other => anyhow::bail!("no application failure: {other:?}"),
        }
    }

    /// Each error has its own type, and a busy service also sets the delay of the next attempt.
    #[tokio::test]
    async fn errors_have_types() -> anyhow::Result<()> {
        let failed = failure_of(Trouble::Fails).await?;
        assert_eq!(failed.to_string(), "Processing failed for: x");
        assert_eq!(failed.type_name(), Some("ProcessingFailed"));
        assert_eq!(failed.next_retry_delay(), None);
        let rejected = failure_of(Trouble::Rejects).await?;
        assert_eq!(rejected.type_name(), Some("DataRejected"));
        let busy = failure_of(Trouble::Busy).await?;
        assert_eq!(busy.type_name(), Some("ServiceBusy"));
        assert_eq!(busy.next_retry_delay(), Some(Duration::from_millis(50)));
        Ok(())
    }

    /// The activity processes data unless the input asks for a failure.
    #[tokio::test]
    async fn processes_data() -> anyhow::Result<()> {
        let input = serde_json::from_str::<ProcessingInput>(r#"{"data":"x"}"#)?;
        let env = ActivityEnvironment::builder().build();
        let processed = env.run(DataActivities::process_data, input).await?;
        assert_eq!(processed, "Processed: x");
        Ok(())
    }
}
