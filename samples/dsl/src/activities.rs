//! The activities that a document can call.

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// Name of each activity, and the number of strings that it takes. A document can call no others.
///
/// The SDK has no handler for all other names, so an activity that nobody registers would be retried forever.
pub const ACTIVITIES: [(&str, usize); 5] = [
    ("activity1", 1),
    ("activity2", 1),
    ("activity3", 2),
    ("activity4", 1),
    ("activity5", 2),
];

/// The activities of this sample.
pub struct DSLActivities;

#[activities]
impl DSLActivities {
    /// Returns a text with its name and its argument.
    #[activity(name = "activity1")]
    pub async fn activity1(_ctx: ActivityContext, arg: String) -> Result<String, ActivityError> {
        Ok(format!("[result from activity1: {arg}]"))
    }

    /// Returns a text with its name and its argument.
    #[activity(name = "activity2")]
    pub async fn activity2(_ctx: ActivityContext, arg: String) -> Result<String, ActivityError> {
        Ok(format!("[result from activity2: {arg}]"))
    }

    /// Returns a text with its name and its arguments.
    #[activity(name = "activity3")]
    pub async fn activity3(
        _ctx: ActivityContext,
        arg1: String,
        arg2: String,
    ) -> Result<String, ActivityError> {
        Ok(format!("[result from activity3: {arg1} {arg2}]"))
    }

    /// Returns a text with its name and its argument.
    #[activity(name = "activity4")]
    pub async fn activity4(_ctx: ActivityContext, arg: String) -> Result<String, ActivityError> {
        Ok(format!("[result from activity4: {arg}]"))
    }

    /// Returns a text with its name and its arguments.
    #[activity(name = "activity5")]
    pub async fn activity5(
        _ctx: ActivityContext,
        arg1: String,
        arg2: String,
    ) -> Result<String, ActivityError> {
        Ok(format!("[result from activity5: {arg1} {arg2}]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::ActivityEnvironment;

    /// The activities return their names and arguments.
    #[tokio::test]
    async fn return_their_arguments() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let one = env.run(DSLActivities::activity1, "a".to_owned()).await?;
        assert_eq!(one, "[result from activity1: a]");
        let two = ("a".to_owned(), "b".to_owned());
        let five = env.run(DSLActivities::activity5, two.into()).await?;
        assert_eq!(five, "[result from activity5: a b]");
        Ok(())
    }
}
