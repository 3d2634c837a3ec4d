//! The workflow. It opens an account in four steps, and undoes them if one fails or if it is cancelled.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{
    activities::AccountActivities,
    compensations::{Compensations, Outcome, compensation_failed},
};
use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use shared::{Input, OrCancelled};
use std::time::Duration;
use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityOptions, WorkflowContext, WorkflowContextView, WorkflowResult,
};

/// Time limit for a step.
const STEP: Duration = Duration::from_secs(10);

/// A step of `OpenAccountWorkflow`, or none. On the wire: the name of its activity, or `""`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum FailAt {
    /// The first step.
    CreateAccount,
    /// The second step.
    AddAddress,
    /// The third step.
    AddClient,
    /// The last step.
    AddBankAccount,
    /// No step.
    #[serde(rename = "")]
    #[value(skip)]
    None,
}

impl FailAt {
    /// Name of the activity.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateAccount => "create_account",
            Self::AddAddress => "add_address",
            Self::AddClient => "add_client",
            Self::AddBankAccount => "add_bank_account",
            Self::None => "",
        }
    }
}

/// Input of `OpenAccountWorkflow`:
/// `{"accountId":"a-1","clientName":"Ada","clientEmail":"ada@example.com","address":"Street 1","bankAccount":"DE89"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenAccount {
    /// Number of the account.
    #[serde(deserialize_with = "not_empty")]
    pub account_id: String,
    /// Name of the client.
    pub client_name: String,
    /// E-mail address of the client.
    pub client_email: String,
    /// Postal address of the client.
    pub address: String,
    /// Bank account of the client.
    pub bank_account: String,
    /// Step that fails after it has happened, as a service does whose answer is lost. Without it, `add_bank_account`
    /// fails.
    #[serde(default, rename = "fail_at")]
    pub fail_at: Option<FailAt>,
    /// Whether to run all compensations at once. They must not depend on each other then.
    #[serde(default)]
    pub parallel_compensation: bool,
}

/// Input of a step or a compensation: the whole request, and the keys.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Input of the workflow.
    #[serde(flatten)]
    pub request: OpenAccount,
    /// Tells the service which requests are attempts at the same step.
    pub idempotency_key: String,
    /// Of a compensation: the key of the step that it undoes.
    #[serde(default)]
    pub undoes: Option<String>,
}

/// Result of the query `compensations`: `{"undone":["remove_client"],"failed":["clear_postal_addresses"]}`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// Compensations that succeeded, in the order in which they ended.
    pub undone: Vec<String>,
    /// Compensations that failed and were not retried.
    pub failed: Vec<String>,
}

/// Opens an account: every step once, or every step undone once.
#[workflow]
#[derive(Default)]
pub struct OpenAccountWorkflow {
    compensations: Undone,
}

#[workflow_methods]
impl OpenAccountWorkflow {
    /// Returns `"Account <accountId> opened"`, or fails with the error of the step that failed.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        request: Input<OpenAccount>,
    ) -> WorkflowResult<String> {
        let request = request.decode(ctx)?;
        let mut compensations = Compensations::default();
        // No `?`, because a failed or cancelled saga has to undo its steps before it ends.
        let opened = open_account(ctx, &request, &mut compensations).await;
        if opened.is_err() {
            let report = |name: &str, outcome: Outcome| {
                if let Err(error) = &outcome {
                    compensation_failed(ctx, name, error);
                }
                ctx.state_mut(|saga| {
                    let list = match outcome {
                        Ok(()) => &mut saga.compensations.undone,
                        Err(_) => &mut saga.compensations.failed,
                    };
                    list.push(name.to_owned());
                });
            };
            compensations
                .run(request.parallel_compensation, report)
                .await;
        }
        opened.map(|()| format!("Account {} opened", request.account_id))
    }

    /// Returns which compensations succeeded and which failed, also after the end.
    #[query(name = "compensations")]
    pub fn compensations(&self, _ctx: &WorkflowContextView, _nothing: Input<()>) -> Undone {
        self.compensations.clone()
    }
}

/// Takes the steps, and registers the compensation of each one before it.
async fn open_account<'a>(
    ctx: &'a WorkflowContext<OpenAccountWorkflow>,
    request: &'a OpenAccount,
    compensations: &mut Compensations<'a>,
) -> WorkflowResult<()> {
    // Derived here, so that all attempts at a step have the same key. The first run id stays the same if an operator
    // resets the workflow, and differs between two workflows for one account.
    let key = move |name: &str| format!("{}:{name}", ctx.info().first_execution_run_id());
    let step = |name: &str| Step {
        request: request.clone(),
        idempotency_key: key(name),
        undoes: None,
    };
    let undo = move |name: &str| Step {
        request: request.clone(),
        idempotency_key: key(&format!("comp-{name}")),
        undoes: Some(key(name)),
    };

    compensations.register(ctx, "close_account", move |options| {
        let input = undo("create_account");
        ctx.execute_activity(AccountActivities::close_account, input, options)
    })?;
    let input = step("create_account");
    ctx.execute_activity(AccountActivities::create_account, input, once())
        .await
        .or_cancelled(ctx)?;

    compensations.register(ctx, "clear_postal_addresses", move |options| {
        let input = undo("add_address");
        ctx.execute_activity(AccountActivities::clear_postal_addresses, input, options)
    })?;
    let input = step("add_address");
    ctx.execute_activity(AccountActivities::add_address, input, once())
        .await
        .or_cancelled(ctx)?;

    compensations.register(ctx, "remove_client", move |options| {
        let input = undo("add_client");
        ctx.execute_activity(AccountActivities::remove_client, input, options)
    })?;
    let input = step("add_client");
    ctx.execute_activity(AccountActivities::add_client, input, once())
        .await
        .or_cancelled(ctx)?;

    compensations.register(ctx, "disconnect_bank_accounts", move |options| {
        let input = undo("add_bank_account");
        ctx.execute_activity(AccountActivities::disconnect_bank_accounts, input, options)
    })?;
    let input = step("add_bank_account");
    ctx.execute_activity(AccountActivities::add_bank_account, input, once())
        .await
        .or_cancelled(ctx)
}

/// Options of a step, which has one attempt.
fn once() -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(STEP)
        .retry_policy(RetryPolicy::builder().maximum_attempts(1).build())
        // A cancelled saga waits until the step has ended. Otherwise step and compensation would run at the same time.
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .build()
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Err(D::Error::custom("the account id is empty"));
    }
    Ok(text)
}
