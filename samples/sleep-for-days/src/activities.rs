//! The activity. It stands in for a service that sends e-mails.

use serde::{Deserialize, Serialize};
use shared::idempotency_key;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The input of `send_email`: `{"email_msg":"30 days until the next email"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SendEmailInput {
    /// Text of the e-mail.
    pub email_msg: String,
}

/// The activities of this sample.
pub struct EmailActivities;

#[activities]
impl EmailActivities {
    /// Sends an e-mail. It only logs: your own code sends the e-mail here.
    #[activity(name = "send_email")]
    pub async fn send_email(
        ctx: ActivityContext,
        input: SendEmailInput,
    ) -> Result<String, ActivityError> {
        // The same in each attempt, so that the service can refuse to send an e-mail twice.
        let key = idempotency_key(ctx.info())?;
        tracing::info!(key, "e-mail sent: {}", input.email_msg);
        Ok(format!("Email message: {}, sent", input.email_msg))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::ActivityEnvironment;

    /// Runs the activity alone, without a server or a worker.
    #[tokio::test]
    async fn sends() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let email_msg = "hello".to_owned();
        let input = SendEmailInput { email_msg };
        let result = env.run(EmailActivities::send_email, input).await?;
        assert_eq!(result, "Email message: hello, sent");
        Ok(())
    }
}
