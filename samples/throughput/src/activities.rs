//! The activity that does nothing, so that what is measured is what surrounds it.

use shared::Input;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
pub struct ThroughputActivities;

#[activities]
impl ThroughputActivities {
    /// Returns what it is given.
    #[activity(name = "echo")]
    pub async fn echo(
        _ctx: ActivityContext,
        payload: Input<String>,
    ) -> Result<String, ActivityError> {
        Ok(payload.valid()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::ActivityEnvironment;

    /// The activity alone, with neither server nor worker.
    #[tokio::test]
    async fn echoes() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let echoed = env
            .run(ThroughputActivities::echo, "payload".into())
            .await?;
        assert_eq!(echoed, "payload");
        Ok(())
    }
}
