//! The activity. It validates its input, and the workflow validates its result.

use crate::models::MyModels;
use shared::Json;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
pub struct MyActivities;

#[activities]
impl MyActivities {
    /// Returns its input.
    // Input and result are `Json`, because a worker in another language may be on the other side. `Json` accepts what such
    // workers send, and its errors name the path to the wrong value.
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

    /// Runs the activity alone, without a server or a worker.
    #[tokio::test]
    async fn returns_its_input() -> anyhow::Result<()> {
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
