//! The activity. It stands in for the bank.

use anyhow::anyhow;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Type of the failure of a transfer to an account that does not exist.
pub const ACCOUNT_NOT_FOUND: &str = "AccountNotFoundError";

/// The accounts that exist.
const ACCOUNTS: [&str; 3] = ["account-123", "account-456", "account-789"];

/// A transfer: `{"from_account":"account-001","to_account":"account-123","amount":500.0}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Transfer {
    /// Account from which the money comes.
    pub from_account: String,
    /// Account to which the money goes.
    pub to_account: String,
    /// Amount of money, which is more than 0.
    #[serde(deserialize_with = "positive")]
    pub amount: f64,
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let amount = f64::deserialize(deserializer)?;
    if amount > 0.0 {
        return Ok(amount);
    }
    let reason = format!("{amount:?} is not an amount, send a number above 0");
    Err(D::Error::custom(reason))
}

/// The activities of this sample.
pub struct TransferActivities;

#[activities]
impl TransferActivities {
    /// Transfers the money, or fails for good if the account does not exist.
    #[activity(name = "execute_transfer")]
    pub async fn execute_transfer(
        ctx: ActivityContext,
        transfer: Transfer,
    ) -> Result<(), ActivityError> {
        let account = transfer.to_account;
        if !ACCOUNTS.contains(&&*account) {
            let failure = ApplicationFailure::builder(anyhow!("Account {account} not found"))
                .type_name(ACCOUNT_NOT_FOUND.to_owned())
                // The account will not exist at the next attempt either.
                .non_retryable(true);
            return Err(failure.build().into());
        }
        // Your own code calls the bank here. All attempts before and after a correction send the same key, so that
        // the bank can recognize a transfer that it has already executed.
        let key = &ctx.info().workflow_id;
        tracing::info!(key, amount = transfer.amount, account, "transferred");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::{ActivityEnvironment, ActivityEnvironmentError};

    /// A transfer to an account that does not exist fails with the type that clients know, and is not retried.
    #[tokio::test]
    async fn refuses_unknown_accounts() -> anyhow::Result<()> {
        let env = ActivityEnvironment::builder().build();
        let execute = async |to: &str| {
            let transfer = Transfer {
                from_account: "account-001".to_owned(),
                to_account: to.to_owned(),
                amount: 500.0,
            };
            env.run(TransferActivities::execute_transfer, transfer)
                .await
        };
        for account in ACCOUNTS {
            execute(account).await?;
        }
        for account in ["account-000", "", "ACCOUNT-123"] {
            let refused = execute(account).await;
            let Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) =
                refused
            else {
                panic!("{refused:?}");
            };
            assert_eq!(failure.type_name(), Some(ACCOUNT_NOT_FOUND));
            assert!(failure.is_non_retryable());
            assert_eq!(failure.to_string(), format!("Account {account} not found"));
        }
        Ok(())
    }
}
