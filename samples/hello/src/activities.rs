//! The activity: ordinary Rust, free to do what a workflow must not.

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
pub struct HelloActivities;

#[activities]
impl HelloActivities {
    /// Greets `name`.
    // Without a name of its own the type would be `HelloActivities::greet`, in Rust alone.
    #[activity(name = "greet")]
    pub async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
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
            env.run(HelloActivities::greet, "Ada".into()).await?,
            "Hello, Ada!"
        );
        Ok(())
    }
}
