//! Activities that are short enough to run inside the worker, as part of a workflow task.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Input of `compose_greeting`: `{"greeting":"Hello","name":"World"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ComposeGreetingInput {
    /// Word to greet with.
    pub greeting: String,
    /// Name to greet.
    pub name: String,
}

/// Time limit for an attempt of `fail_at_first`.
pub const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);

/// The activities of this sample.
pub struct GreetingActivities;

#[activities]
impl GreetingActivities {
    /// Composes a greeting.
    #[activity(name = "compose_greeting")]
    pub async fn compose_greeting(
        _ctx: ActivityContext,
        input: ComposeGreetingInput,
    ) -> Result<String, ActivityError> {
        let ComposeGreetingInput { greeting, name } = input;
        Ok(format!("{greeting}, {name}!"))
    }

    /// Returns whether the text is more than white space.
    #[activity(name = "validate_input")]
    pub async fn validate_input(
        _ctx: ActivityContext,
        text: String,
    ) -> Result<bool, ActivityError> {
        Ok(!text.trim().is_empty())
    }

    /// Fails its first `failures` attempts, and then returns the number of the attempt that succeeded.
    #[activity(name = "fail_at_first")]
    pub async fn fail_at_first(ctx: ActivityContext, failures: u32) -> Result<u32, ActivityError> {
        let attempt = ctx.info().attempt;
        let work = async {
            if attempt <= failures {
                let text = format!("attempt {attempt} failed on request");
                let failure =
                    ApplicationFailure::builder(text).type_name("RequestedFailure".to_owned());
                return Err(failure.build().into());
            }
            Ok(attempt)
        };
        with_time_limit(ATTEMPT_LIMIT, work).await
    }
}

/// Runs `work` with a time limit. If the time runs out, the error is one that the worker retries.
///
/// A local activity that is retried inside the worker needs its time limit here. If the workflow set a
/// `start_to_close_timeout` instead, the SDK would not stop the timer after a failed attempt, and the timer would
/// cancel the next attempt.
async fn with_time_limit<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ActivityError>>,
) -> Result<T, ActivityError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!("the attempt took longer than {limit:?}");
            let failure = ApplicationFailure::builder(text).type_name("AttemptTooLong".to_owned());
            Err(failure.build().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::{ActivityEnvironment, TestActivityInfoOptions};

    /// Each activity runs without a server and without a worker.
    #[tokio::test]
    async fn composes_and_validates() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let input = ComposeGreetingInput {
            greeting: "Hello".to_owned(),
            name: "World".to_owned(),
        };
        assert_eq!(
            env.run(GreetingActivities::compose_greeting, input).await?,
            "Hello, World!"
        );
        for (text, valid) in [("Hello, World!", true), ("", false), (" \t\n", false)] {
            assert_eq!(
                env.run(GreetingActivities::validate_input, text.into())
                    .await?,
                valid,
                "{text:?}"
            );
        }
        Ok(())
    }

    /// The activity fails as many attempts as the input asks for, and succeeds in the next one.
    #[tokio::test]
    async fn fails_as_often_as_asked() {
        for (attempt, succeeds) in [(1, false), (2, false), (3, true)] {
            let info = TestActivityInfoOptions::builder().attempt(attempt).build();
            let env = ActivityEnvironment::builder().info(info).build();
            let result = env.run(GreetingActivities::fail_at_first, 2).await;
            assert_eq!(result.is_ok(), succeeds, "attempt {attempt}");
        }
    }

    /// An attempt that hangs ends with an error that is retried. An attempt that ends in time keeps its result.
    #[tokio::test]
    async fn limits_an_attempt() {
        let in_time = with_time_limit(Duration::from_secs(60), async { Ok(1) }).await;
        assert!(matches!(in_time, Ok(1)));
        let hangs = std::future::pending::<Result<(), _>>();
        let error = with_time_limit(Duration::from_millis(10), hangs).await;
        let Err(ActivityError::Application(failure)) = error else {
            panic!("{error:?}");
        };
        assert_eq!(failure.to_string(), "the attempt took longer than 10ms");
        assert!(!failure.is_non_retryable());
    }
}
