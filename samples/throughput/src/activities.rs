//! An activity that does no work, so that a load measures only Temporal itself.

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
pub struct ThroughputActivities;

#[activities]
impl ThroughputActivities {
    /// Returns its input.
    #[activity(name = "echo")]
    pub async fn echo(_ctx: ActivityContext, payload: String) -> Result<String, ActivityError> {
        Ok(payload)
    }
}
