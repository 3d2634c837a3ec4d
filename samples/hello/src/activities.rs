//! The activity: ordinary Rust code, which may do everything that a workflow must not.

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
pub struct HelloActivities;

#[activities]
impl HelloActivities {
    /// Greets `name`.
    // The default would be `HelloActivities::greet`, a name that only Rust programs would expect.
    #[activity(name = "greet")]
    pub async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(format!("Hello, {name}!"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::ActivityEnvironment;

    /// Runs the activity alone, without a server or a worker.
    #[tokio::test]
    async fn greets() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        assert_eq!(
            env.run(HelloActivities::greet, "Ada".into()).await?,
            "Hello, Ada!"
        );
        Ok(())
    }
}
