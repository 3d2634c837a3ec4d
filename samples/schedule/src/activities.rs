//! The activity.

use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// What [`ScheduleActivities::your_activity`] takes: `{"greeting":"Hello","name":"Ada"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Greeting {
    /// How to greet.
    pub greeting: String,
    /// Whom.
    pub name: String,
}

/// The activities of this sample.
pub struct ScheduleActivities;

#[activities]
impl ScheduleActivities {
    /// Greets.
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

    /// The activity alone, with neither server nor worker.
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
