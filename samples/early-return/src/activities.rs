//! The activities. They stand in for a payment service.

use serde::{Deserialize, Serialize};
use shared::{Json, stopped};
use std::time::Duration;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Type of the failure of a transaction whose amount is not positive.
pub const INVALID_AMOUNT: &str = "InvalidAmount";

/// How long the slow part of a transaction takes.
const SETTLEMENT: Duration = Duration::from_secs(2);

/// Pause between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// The prefix of workflow ids, which ids of transactions do not have.
const WORKFLOW_ID_PREFIX: &str = "transaction-";

/// The input of the workflow and of `init_transaction`: `{"amount":100.0,"currency":"USD"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TransactionRequest {
    /// Amount to transfer.
    pub amount: f64,
    /// Currency of the amount.
    pub currency: String,
    /// Kind of the activity that checks the request. The default is a local one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<InitActivity>,
}

/// Kind of the activity that checks the request.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InitActivity {
    /// `"local"`: runs inside the worker, as part of the workflow task.
    #[default]
    Local,
    /// `"regular"`: goes through the task queue.
    Regular,
}

/// A transaction: `{"id":"tx-1","status":"initialized"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Transaction {
    /// Id of the transaction.
    pub id: String,
    /// How far the transaction is.
    pub status: Status,
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `"initialized"`: the request is valid.
    Initialized,
    /// `"completed"`: the money has arrived.
    Completed,
}

/// The activities of this sample.
#[derive(Clone, Copy, Debug)]
pub struct TransactionActivities;

#[activities]
impl TransactionActivities {
    /// Checks the request, and gives the transaction an id. Fails without a retry if the amount is not positive.
    ///
    /// The id comes from the workflow id: `tx-1` in the workflow `transaction-1`. It is the same in each attempt, so a
    /// service that gets it twice creates one transaction.
    #[activity(name = "init_transaction")]
    pub async fn init_transaction(
        ctx: ActivityContext,
        request: TransactionRequest,
    ) -> Result<Transaction, ActivityError> {
        if request.amount <= 0.0 {
            let message = format!("Invalid amount: {:?}", request.amount);
            let failure = ApplicationFailure::builder(message)
                .type_name(INVALID_AMOUNT.to_owned())
                .non_retryable(true);
            return Err(failure.build().into());
        }
        let workflow_id = ctx.info().workflow_id.as_deref().unwrap_or_default();
        let id = workflow_id.strip_prefix(WORKFLOW_ID_PREFIX);
        Ok(Transaction {
            id: format!("tx-{}", id.unwrap_or(workflow_id)),
            status: Status::Initialized,
        })
    }

    /// Completes the transaction, which takes two seconds. The heartbeats let the server notice a dead worker long
    /// before the start-to-close timeout, and tell the activity that the workflow has been cancelled.
    #[activity(name = "complete_transaction")]
    pub async fn complete_transaction(
        ctx: ActivityContext,
        transaction: Transaction,
    ) -> Result<Transaction, ActivityError> {
        let mut left = SETTLEMENT;
        while !left.is_zero() {
            if tokio::time::timeout(HEARTBEAT, ctx.cancelled())
                .await
                .is_ok()
            {
                return Err(stopped(&ctx).await);
            }
            left = left.saturating_sub(HEARTBEAT);
            ctx.record_heartbeat(()).await?;
        }
        // The result of the activity, because the workflow does not see a change of the argument.
        Ok(Transaction {
            status: Status::Completed,
            ..transaction
        })
    }

    /// Cancels the transaction. There is none if its request was not valid.
    #[activity(name = "cancel_transaction")]
    pub async fn cancel_transaction(
        _ctx: ActivityContext,
        transaction: Json<Option<Transaction>>,
    ) -> Result<(), ActivityError> {
        let id = transaction.0.map(|transaction| transaction.id);
        tracing::info!(id, "transaction cancelled");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use serde_json::{from_value, json, to_value};
    use temporalio_sdk::testing::{
        ActivityEnvironment, ActivityEnvironmentError, TestActivityInfoOptions,
    };

    fn request(amount: f64) -> TransactionRequest {
        TransactionRequest {
            amount,
            currency: "USD".to_owned(),
            init: None,
        }
    }

    fn env(workflow_id: &str, attempt: u32) -> ActivityEnvironment {
        let info = TestActivityInfoOptions::builder()
            .workflow_id(Some(workflow_id.to_owned()))
            .attempt(attempt);
        ActivityEnvironment::builder().info(info.build()).build()
    }

    /// Each attempt returns the same transaction, and another workflow another one.
    #[tokio::test]
    async fn initializes_a_transaction_once() -> anyhow::Result<()> {
        for (workflow_id, attempt, expected) in [
            ("transaction-1795890642631", 1, "tx-1795890642631"),
            ("transaction-1795890642631", 2, "tx-1795890642631"),
            ("order-2", 1, "tx-order-2"),
        ] {
            let init = TransactionActivities::init_transaction;
            let transaction = env(workflow_id, attempt).run(init, request(0.01)).await?;
            let expected = json!({"id": expected, "status": "initialized"});
            assert_eq!(to_value(transaction)?, expected);
        }
        Ok(())
    }

    /// An amount that is not positive is refused, and another attempt would not help.
    #[tokio::test]
    async fn refuses_invalid_amounts() -> anyhow::Result<()> {
        for (amount, expected) in [
            (0.0, "Invalid amount: 0.0"),
            (-1.0, "Invalid amount: -1.0"),
            (-0.5, "Invalid amount: -0.5"),
        ] {
            let init = TransactionActivities::init_transaction;
            let refused = env("transaction-1", 1).run(init, request(amount)).await;
            let Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) =
                refused
            else {
                bail!("{refused:?}");
            };
            assert_eq!(failure.to_string(), expected);
            assert_eq!(failure.type_name(), Some(INVALID_AMOUNT));
            assert!(failure.is_non_retryable());
        }
        Ok(())
    }

    /// The completed transaction is the result. A transaction can be cancelled, and so can none.
    #[tokio::test]
    async fn completes_and_cancels() -> anyhow::Result<()> {
        let env = env("transaction-1", 1);
        let transaction: Transaction = from_value(json!({"id": "tx-1", "status": "initialized"}))?;
        let complete = TransactionActivities::complete_transaction;
        let completed = env.run(complete, transaction.clone()).await?;
        let expected = json!({"id": "tx-1", "status": "completed"});
        assert_eq!(to_value(completed)?, expected);
        for transaction in [Some(transaction), None] {
            let cancel = TransactionActivities::cancel_transaction;
            env.run(cancel, Json(transaction)).await?;
        }
        Ok(())
    }
}
