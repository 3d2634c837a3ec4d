//! The activity that runs many times side by side.

#![allow(clippy::disallowed_methods, reason = "an activity may wait in earnest")]

use shared::Input;
use std::time::Duration;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// How long a greeting takes: enough to see that five take no longer than one.
pub const GREETING_TIME: Duration = Duration::from_millis(200);

/// The activities of this sample.
pub struct GreetingActivities;

#[activities]
impl GreetingActivities {
    /// Greets `name`, slowly.
    #[activity(name = "say_hello_activity")]
    pub async fn say_hello_activity(
        _ctx: ActivityContext,
        name: Input<String>,
    ) -> Result<String, ActivityError> {
        let name = name.valid()?;
        tracing::info!(name, "greeting");
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
        Ok(())
    }
}
