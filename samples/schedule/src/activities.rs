//! The activity.

use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The input of [`ScheduleActivities::your_activity`]: `{"greeting":"Hello","name":"Ada"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Greeting {
    /// Word to greet with.
    pub greeting: String,
    /// Name to greet.
    pub name: String,
}

/// The activities of this sample.
pub struct ScheduleActivities;

#[activities]
impl ScheduleActivities {
    /// Returns the greeting and the name as one sentence.
    #[activity(name = "your_activity")]
    pub async fn your_activity(
        _ctx: ActivityContext,
        input: Greeting,
    ) -> Result<String, ActivityError> {
        let Greeting { greeting, name } = input;
        Ok(format!("{greeting}, {name}!"))
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
        let input = Greeting {
            greeting: "Hello".to_owned(),
            name: "Ada".to_owned(),
        };
        let greeting = env.run(ScheduleActivities::your_activity, input);
        assert_eq!(greeting.await?, "Hello, Ada!");
        Ok(())
    }
}
