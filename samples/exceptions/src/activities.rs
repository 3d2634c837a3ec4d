//! The activity, its error type, and what Temporal is told of each error.

use serde::{Deserialize, Serialize};
use shared::Traced;
use std::time::Duration;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// The activity's input: `{"data":"test-data","should_fail":true}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ProcessingInput {
    /// What to process.
    pub data: String,
    /// Whether to fail.
    #[serde(default)]
    pub should_fail: bool,
    /// In which way.
    #[serde(default, skip_serializing_if = "Trouble::is_default")]
    pub trouble: Trouble,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The activity fails, and would fail again
    #[default]
    Fails,
    /// The data is no good: no retry will help
    Rejects,
    /// The service is busy at the first attempt, and says when to come back
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

/// What the failure of a processing carries besides its message.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ProcessingDetails {
    /// What was to be processed.
    pub data: String,
    /// Which attempt it was. Temporal's failures do not tell.
    pub attempt: u32,
}

/// Why data was not processed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessingError {
    /// It may go better the next time.
    #[error("Processing failed for: {0}")]
    Failed(String),
    /// It will not.
    #[error("not fit for processing: {0}")]
    Rejected(String),
    /// It will, but not before this long.
    #[error("busy, free again in {0:?}")]
    Busy(Duration),
}

/// What Temporal is to know: the type, by which retry policies and clients tell errors apart, and
/// when to try again. An error left to `?` has neither, only its message.
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
    /// Processes data, unless it is told to fail.
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
            // Longer than the workflow lets it. What it returns then, nobody waits for any more.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        process(input, details.attempt).map_err(|error| failure(error, details).into())
    }
}

/// The work itself, which knows nothing of Temporal.
fn process(input: ProcessingInput, attempt: u32) -> Result<String, Traced<ProcessingError>> {
    let ProcessingInput { data, trouble, .. } = input;
    if !input.should_fail || (trouble == Trouble::Busy && attempt > 1) {
        return Ok(format!("Processed: {data}"));
    }
    Err(match trouble {
        Trouble::Rejects => ProcessingError::Rejected(data),
        Trouble::Busy => ProcessingError::Busy(Duration::from_millis(50)),
        Trouble::Panics => panic!("no idea what to do with {data}"),
        _ => ProcessingError::Failed(data),
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::{ActivityEnvironment, ActivityEnvironmentError};

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

    /// Each error has its own type, and the one that knows when to come back says so.
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

    /// Without trouble it does its work.
    #[tokio::test]
    async fn processes() -> anyhow::Result<()> {
        let input = serde_json::from_str::<ProcessingInput>(r#"{"data":"x"}"#)?;
        let env = ActivityEnvironment::builder().build();
        let processed = env.run(DataActivities::process_data, input).await?;
        assert_eq!(processed, "Processed: x");
        Ok(())
    }
}
