//! The activities. They stand in for the work of an update, and for what undoes it.

use std::{sync::Arc, time::Duration};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
#[derive(Clone, Copy, Debug)]
pub struct HandlerActivities {
    /// How long each activity takes.
    pub work_time: Duration,
}

impl Default for HandlerActivities {
    fn default() -> Self {
        Self {
            work_time: Duration::from_secs(1),
        }
    }
}

#[activities]
impl HandlerActivities {
    /// Does the work of the update.
    #[activity(name = "activity_executed_by_update_handler")]
    pub async fn do_update(self: Arc<Self>, _ctx: ActivityContext) -> Result<(), ActivityError> {
        tokio::time::sleep(self.work_time).await;
        Ok(())
    }

    /// Undoes the work of the update, as far as there is any.
    #[activity(name = "activity_executed_by_update_handler_to_perform_compensation")]
    pub async fn undo_update(self: Arc<Self>, _ctx: ActivityContext) -> Result<(), ActivityError> {
        tokio::time::sleep(self.work_time).await;
        Ok(())
    }

    /// Undoes the work of the workflow.
    #[activity(name = "activity_executed_to_perform_workflow_compensation")]
    pub async fn undo_workflow(
        self: Arc<Self>,
        _ctx: ActivityContext,
    ) -> Result<(), ActivityError> {
        tokio::time::sleep(self.work_time).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::ActivityEnvironment;

    /// Each activity can be run again, because it may have been done or not when its worker died.
    #[tokio::test]
    async fn can_be_repeated() -> anyhow::Result<()> {
        let work_time = Duration::ZERO;
        let env = ActivityEnvironment::builder()
            .register_activities(HandlerActivities { work_time })
            .build();
        for _ in 0..2 {
            env.run(HandlerActivities::do_update, ()).await?;
            env.run(HandlerActivities::undo_update, ()).await?;
            env.run(HandlerActivities::undo_workflow, ()).await?;
        }
        Ok(())
    }
}
