//! The activity that runs many times side by side.

use std::time::Duration;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// How long a greeting takes. It is long enough to show that five greetings take no longer than one.
pub const GREETING_TIME: Duration = Duration::from_millis(200);

/// Type of the application failure for an empty name.
pub const EMPTY_NAME: &str = "EmptyName";

/// The activities of this sample.
pub struct GreetingActivities;

#[activities]
impl GreetingActivities {
    /// Greets `name`, slowly.
    ///
    /// # Errors
    /// A non-retryable failure of type [`EMPTY_NAME`] if there is no name.
    #[activity(name = "say_hello_activity")]
    pub async fn say_hello_activity(
        _ctx: ActivityContext,
        name: String,
    ) -> Result<String, ActivityError> {
        tracing::info!(name, "greeting");
        if name.is_empty() {
            let failure = ApplicationFailure::builder("a name is empty: leave it out".to_owned());
            return Err(failure
                .type_name(EMPTY_NAME.to_owned())
                .non_retryable(true)
                .build()
                .into());
        }
        tokio::time::sleep(GREETING_TIME).await;
        Ok(format!("Hello, {name}!"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::ActivityEnvironment;

    /// The activity alone, with neither server nor worker.
    #[tokio::test]
    async fn greets() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        assert_eq!(
            env.run(GreetingActivities::say_hello_activity, "user1".into())
                .await?,
            "Hello, user1!"
        );
        let failed = env.run(GreetingActivities::say_hello_activity, "".into());
        let failed = failed.await.expect_err("the name is empty").to_string();
        assert!(failed.contains("a name is empty"), "{failed}");
        Ok(())
    }
}
