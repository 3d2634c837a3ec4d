//! The activity that does nothing, so that what is measured is what surrounds it.

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
pub struct ThroughputActivities;

#[activities]
impl ThroughputActivities {
    /// Returns what it is given.
    #[activity(name = "echo")]
    pub async fn echo(_ctx: ActivityContext, payload: String) -> Result<String, ActivityError> {
        Ok(payload)
    }
}
