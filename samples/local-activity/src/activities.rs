//! Activities short enough to run inside the worker, as part of a workflow task.

use serde::{Deserialize, Serialize};
use shared::Input;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Input of `compose_greeting`: `{"greeting":"Hello","name":"World"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ComposeGreetingInput {
    /// The word of greeting.
    pub greeting: String,
    /// Whom to greet.
    pub name: String,
}

/// The activities of this sample.
pub struct GreetingActivities;

#[activities]
impl GreetingActivities {
    /// Puts a greeting together.
    #[activity(name = "compose_greeting")]
    pub async fn compose_greeting(
        _ctx: ActivityContext,
        input: Input<ComposeGreetingInput>,
    ) -> Result<String, ActivityError> {
        let ComposeGreetingInput { greeting, name } = input.valid()?;
        Ok(format!("{greeting}, {name}!"))
    }

    /// Tells whether there is anything in the text.
    #[activity(name = "validate_input")]
    pub async fn validate_input(
        _ctx: ActivityContext,
        text: Input<String>,
    ) -> Result<bool, ActivityError> {
        Ok(!text.valid()?.trim().is_empty())
    }

    /// Fails its first `failures` attempts, then returns the number of the one that succeeded.
    #[activity(name = "fail_at_first")]
    pub async fn fail_at_first(
        ctx: ActivityContext,
        failures: Input<u32>,
    ) -> Result<u32, ActivityError> {
        let (failures, attempt) = (failures.valid()?, ctx.info().attempt);
        if attempt <= failures {
            let failure =
                ApplicationFailure::builder(format!("attempt {attempt} fails, as it was told to"));
            return Err(failure.type_name("AsTold".to_owned()).build().into());
        }
        Ok(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::{ActivityEnvironment, TestActivityInfoOptions};

    /// Each activity alone, with neither server nor worker.
    #[tokio::test]
    async fn composes_and_validates() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let input = ComposeGreetingInput {
            greeting: "Hello".to_owned(),
            name: "World".to_owned(),
        };
        assert_eq!(
            env.run(GreetingActivities::compose_greeting, input.into())
                .await?,
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

    /// The failing attempts fail, and the next one does not.
    #[tokio::test]
    async fn fails_as_told() {
        for (attempt, succeeds) in [(1, false), (2, false), (3, true)] {
            let info = TestActivityInfoOptions::builder().attempt(attempt).build();
            let env = ActivityEnvironment::builder().info(info).build();
            let result = env.run(GreetingActivities::fail_at_first, 2.into()).await;
            assert_eq!(result.is_ok(), succeeds, "attempt {attempt}");
        }
    }
}
