//! The activity that asks somebody else.

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of this sample.
pub struct EscalationActivities;

#[activities]
impl EscalationActivities {
    /// Tells the superior that a request waits. It only logs: your own code sends the e-mail here.
    #[activity(name = "send_escalation_email")]
    pub async fn send_escalation_email(ctx: ActivityContext) -> Result<(), ActivityError> {
        tracing::info!(
            workflow_id = ctx.info().workflow_id,
            "escalation e-mail sent"
        );
        Ok(())
    }
}
