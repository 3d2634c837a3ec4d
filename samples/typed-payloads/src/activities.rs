//! The activity: it checks what it is given, and leaves its result to be checked by the workflow.

use crate::models::MyModels;
use shared::Json;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
pub struct MyActivities;

#[activities]
impl MyActivities {
    /// Hands back what it was given.
    // The result is an `Input` too, for the workflow that decodes it: a `MyModels` that does not
    // decode fails the workflow task, which is then retried for ever. A worker in another language
    // may well return one.
    #[activity(name = "my_activity")]
    pub async fn my_activity(
        _ctx: ActivityContext,
        models: Json<MyModels>,
    ) -> Result<Json<MyModels>, ActivityError> {
        Ok(models)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MyModel;
    use temporalio_sdk::testing::ActivityEnvironment;

    /// The activity alone, with neither server nor worker.
    #[tokio::test]
    async fn hands_back() -> anyhow::Result<()> {
        let models = MyModels::try_from(vec![MyModel {
            some_ip: "127.0.0.1".parse()?,
            some_date: "2000-01-02T03:04:05".parse()?,
            lease: None,
            fee: None,
            kind: None,
        }])?;
        let env = ActivityEnvironment::builder().build();
        let returned = env.run(MyActivities::my_activity, models.clone().into());
        assert_eq!(returned.await?.0, models);
        Ok(())
    }
}
