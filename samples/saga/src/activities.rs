//! The activities of both workflows. Each makes one change in the ledger, which stands in for the services.

use crate::{
    ledger::{Entry, Ledger, LedgerError, Status},
    payment::{Answer, PaymentStep, Transfer},
    workflows::{FailAt, Step},
};
use std::sync::Arc;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Type of the failure of a step that the request lets fail.
pub const SERVICE_DOWN: &str = "ServiceDown";

/// Type of the failure of a payment that the source account cannot pay.
pub const INSUFFICIENT_FUNDS: &str = "InsufficientFunds";

/// Type of the failure of an attempt that comes after its compensation.
pub const UNDONE: &str = "Undone";

/// Type of the failure of a request whose key belongs to another request.
pub const KEY_REUSED: &str = "KeyReused";

/// Every account has this amount.
pub const BALANCE: u64 = 1_000_000;

/// Destination account that the switch refuses.
pub const CLOSED_ACCOUNT: &str = "closed";

/// Destination account about which the switch never decides.
pub const SLOW_ACCOUNT: &str = "slow";

/// The activities of `OpenAccountWorkflow`.
#[derive(Clone)]
pub struct AccountActivities {
    /// The ledger of all services.
    pub ledger: Ledger,
}

#[activities]
impl AccountActivities {
    /// Creates an empty account.
    #[activity(name = "create_account")]
    pub async fn create_account(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: Step,
    ) -> Result<(), ActivityError> {
        self.change(&ctx, step).await
    }

    /// Adds the postal address.
    #[activity(name = "add_address")]
    pub async fn add_address(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: Step,
    ) -> Result<(), ActivityError> {
        self.change(&ctx, step).await
    }

    /// Adds the client.
    #[activity(name = "add_client")]
    pub async fn add_client(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: Step,
    ) -> Result<(), ActivityError> {
        self.change(&ctx, step).await
    }

    /// Connects the bank account.
    #[activity(name = "add_bank_account")]
    pub async fn add_bank_account(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: Step,
    ) -> Result<(), ActivityError> {
        self.change(&ctx, step).await
    }

    /// Undoes `create_account`.
    #[activity(name = "close_account")]
    pub async fn close_account(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: Step,
    ) -> Result<(), ActivityError> {
        self.change(&ctx, step).await
    }

    /// Undoes `add_address`.
    #[activity(name = "clear_postal_addresses")]
    pub async fn clear_postal_addresses(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: Step,
    ) -> Result<(), ActivityError> {
        self.change(&ctx, step).await
    }

    /// Undoes `add_client`.
    #[activity(name = "remove_client")]
    pub async fn remove_client(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: Step,
    ) -> Result<(), ActivityError> {
        self.change(&ctx, step).await
    }

    /// Undoes `add_bank_account`.
    #[activity(name = "disconnect_bank_accounts")]
    pub async fn disconnect_bank_accounts(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: Step,
    ) -> Result<(), ActivityError> {
        self.change(&ctx, step).await
    }
}

impl AccountActivities {
    /// Writes a step or a compensation into the ledger, then fails if the request says so.
    ///
    /// # Errors
    /// If the ledger refuses, or the request says so.
    pub async fn change(&self, ctx: &ActivityContext, step: Step) -> Result<(), ActivityError> {
        let name = ctx.info().activity_type.clone();
        let fail_at = step.request.fail_at.unwrap_or(FailAt::AddBankAccount);
        let entry = Entry {
            key: step.idempotency_key,
            subject: step.request.account_id,
            what: name.clone(),
            undoes: step.undoes,
        };
        self.ledger.record(entry).await.map_err(refused)?;
        // After the change, which is the worst case: the saga must undo a step that has failed.
        if fail_at.name() == name {
            let failure = ApplicationFailure::builder("the service is down");
            return Err(failure.type_name(SERVICE_DOWN.to_owned()).build().into());
        }
        Ok(())
    }
}

/// The activities of `InterBankPaymentWorkflow`.
#[derive(Clone)]
pub struct PaymentActivities {
    /// The ledger of the bank and the switch.
    pub ledger: Ledger,
}

#[activities]
impl PaymentActivities {
    /// Blocks the amount in the source account, and returns the number of the transfer.
    #[activity(name = "reserve_and_block")]
    pub async fn reserve_and_block(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: PaymentStep,
    ) -> Result<Transfer, ActivityError> {
        let amount = step.payment.amount.get();
        if amount > BALANCE {
            let message = format!("the account has {BALANCE}, and {amount} are not available");
            let failure = ApplicationFailure::builder(message)
                .type_name(INSUFFICIENT_FUNDS.to_owned())
                .non_retryable(true);
            return Err(failure.build().into());
        }
        let tx_id = tx_id(&step);
        self.ledger
            .record(entry(&ctx, step))
            .await
            .map_err(refused)?;
        Ok(Transfer { tx_id })
    }

    /// Sends the transfer to the switch.
    #[activity(name = "submit_to_switch")]
    pub async fn submit_to_switch(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: PaymentStep,
    ) -> Result<(), ActivityError> {
        let decision = match step.payment.destination_account.as_str() {
            CLOSED_ACCOUNT => Status::Failure,
            SLOW_ACCOUNT => Status::Pending,
            _ => Status::Success,
        };
        let tx_id = tx_id(&step);
        let submitted = self.ledger.submit(entry(&ctx, step), tx_id, decision);
        submitted.await.map_err(refused)
    }

    /// Asks the switch about a transfer.
    #[activity(name = "ask_switch")]
    pub async fn ask_switch(
        self: Arc<Self>,
        _ctx: ActivityContext,
        transfer: Transfer,
    ) -> Result<Answer, ActivityError> {
        let status = self.ledger.ask(transfer.tx_id).await.map_err(refused)?;
        Ok(Answer { status })
    }

    /// Takes the blocked amount out of the source account.
    #[activity(name = "debit_and_settle")]
    pub async fn debit_and_settle(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: PaymentStep,
    ) -> Result<(), ActivityError> {
        let recorded = self.ledger.record(entry(&ctx, step));
        recorded.await.map_err(refused)
    }

    /// Cancels the transfer, unless the money has moved. Returns whether it has.
    #[activity(name = "cancel_with_switch")]
    pub async fn cancel_with_switch(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: PaymentStep,
    ) -> Result<Answer, ActivityError> {
        let tx_id = tx_id(&step);
        let cancelled = self.ledger.cancel(entry(&ctx, step), tx_id);
        let status = cancelled.await.map_err(refused)?;
        Ok(Answer { status })
    }

    /// Releases the blocked amount, if it is blocked.
    #[activity(name = "unblock_and_cancel")]
    pub async fn unblock_and_cancel(
        self: Arc<Self>,
        ctx: ActivityContext,
        step: PaymentStep,
    ) -> Result<(), ActivityError> {
        let recorded = self.ledger.record(entry(&ctx, step));
        recorded.await.map_err(refused)
    }
}

/// Returns the number of the transfer for a payment. A payment has one transfer, however often it is reserved.
pub fn transfer_of(payment_id: &str) -> String {
    format!("tx-{payment_id}")
}

fn tx_id(step: &PaymentStep) -> String {
    let known = step.tx_id.clone();
    known.unwrap_or_else(|| transfer_of(&step.payment.payment_id))
}

fn entry(ctx: &ActivityContext, step: PaymentStep) -> Entry {
    Entry {
        key: step.idempotency_key,
        subject: step.payment.payment_id,
        what: ctx.info().activity_type.clone(),
        undoes: step.undoes,
    }
}

/// The failure of an activity whose entry was not recorded. Another attempt helps only if the database has failed.
fn refused(error: LedgerError) -> ActivityError {
    let type_name = match &error {
        LedgerError::Undone(_) => UNDONE,
        LedgerError::KeyReused(_) => KEY_REUSED,
        LedgerError::Database(_) | LedgerError::Thread(_) => {
            return ActivityError::from(anyhow::Error::from(error));
        }
    };
    let failure = ApplicationFailure::builder(error.to_string())
        .type_name(type_name.to_owned())
        .non_retryable(true);
    failure.build().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::{ActivityEnvironment, TestActivityInfoOptions};

    fn open() -> anyhow::Result<(tempfile::TempDir, Ledger)> {
        let directory = tempfile::tempdir()?;
        let ledger = Ledger::open(&directory.path().join("ledger.db"))?;
        Ok((directory, ledger))
    }

    /// A step fails after its change if the request says so, another attempt changes nothing, and an attempt after the
    /// compensation is refused.
    #[tokio::test]
    async fn steps_of_an_account() -> anyhow::Result<()> {
        let (_directory, ledger) = open()?;
        let activities = AccountActivities {
            ledger: ledger.clone(),
        };
        let info = TestActivityInfoOptions::builder().activity_type("add_client");
        let env = ActivityEnvironment::builder()
            .register_activities(activities)
            .info(info.build())
            .build();
        let step = |key: &str, undoes: Option<&str>| -> serde_json::Result<Step> {
            serde_json::from_value(serde_json::json!({
                "accountId": "a", "clientName": "", "clientEmail": "", "address": "", "bankAccount": "",
                "fail_at": "", "idempotencyKey": key, "undoes": undoes,
            }))
        };
        let mut failing = step("add", None)?;
        failing.request.fail_at = Some(FailAt::AddClient);
        for _ in 0..2 {
            let failed = env
                .run(AccountActivities::add_client, failing.clone())
                .await;
            let error = failed.unwrap_err().to_string();
            assert!(error.contains("the service is down"), "{error}");
        }
        let undo = step("comp-add", Some("add"))?;
        env.run(AccountActivities::remove_client, undo).await?;
        let late = env.run(AccountActivities::add_client, step("add", None)?);
        let error = late.await.unwrap_err().to_string();
        assert!(
            error.contains("was undone, so it must not be done any more"),
            "{error}"
        );
        assert_eq!(ledger.entries("a").await?.len(), 2);
        Ok(())
    }

    /// A payment gets the number of its transfer, and the switch decides by the destination.
    #[tokio::test]
    async fn steps_of_a_payment() -> anyhow::Result<()> {
        let (_directory, ledger) = open()?;
        let env = ActivityEnvironment::builder()
            .register_activities(PaymentActivities { ledger })
            .build();
        for (destination, status) in [
            ("b", Status::Success),
            (SLOW_ACCOUNT, Status::Pending),
            (CLOSED_ACCOUNT, Status::Failure),
        ] {
            let mut step: PaymentStep = serde_json::from_value(serde_json::json!({
                "payment_id": destination, "source_account": "a", "destination_account": destination,
                "amount": BALANCE, "currency": "EUR", "idempotency_key": format!("{destination}:reserve"),
            }))?;
            let reserved = env.run(PaymentActivities::reserve_and_block, step.clone());
            let transfer = reserved.await?;
            assert_eq!(transfer.tx_id, transfer_of(destination));
            step.idempotency_key = format!("{destination}:submit");
            let submit = PaymentActivities::submit_to_switch;
            env.run(submit, step.clone()).await?;
            let answer = env.run(PaymentActivities::ask_switch, transfer).await?;
            assert_eq!(answer.status, status);
            step.payment.amount = step.payment.amount.saturating_add(1);
            let refused = env.run(PaymentActivities::reserve_and_block, step);
            let refused = refused.await.unwrap_err().to_string();
            assert!(refused.contains("1000001 are not available"), "{refused}");
        }
        Ok(())
    }
}
