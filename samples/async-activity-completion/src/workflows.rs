//! The workflow. A person decides about an expense, and the workflow pays it if it was approved.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::ExpenseActivities;
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled};
use std::time::Duration;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, ApplicationFailure, WorkflowContext, WorkflowResult};

/// Maximum length of an expense id in bytes.
pub const MAX_EXPENSE_ID: usize = 200;

/// Number of an expense. It is a string on the wire: `"expense-1"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExpenseId(String);

impl TryFrom<String> for ExpenseId {
    type Error = String;

    fn try_from(id: String) -> Result<Self, String> {
        match id.len() {
            0 => Err("the expense id is empty".to_owned()),
            bytes if bytes > MAX_EXPENSE_ID => Err(format!(
                "the expense id has {bytes} bytes, more than the limit of {MAX_EXPENSE_ID}"
            )),
            _ => Ok(Self(id)),
        }
    }
}

impl From<ExpenseId> for String {
    fn from(id: ExpenseId) -> Self {
        id.0
    }
}

/// Has an expense decided by a person, and pays it if it was approved.
#[workflow]
#[derive(Default)]
pub struct SampleExpenseWorkflow;

#[workflow_methods]
impl SampleExpenseWorkflow {
    /// Returns `"COMPLETED"`, or `""` if the expense was rejected.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        expense_id: Input<ExpenseId>,
    ) -> WorkflowResult<String> {
        let id = String::from(expense_id.decode(ctx)?);
        let within = ActivityOptions::start_to_close_timeout;

        let create = within(Duration::from_secs(10));
        ctx.execute_activity(ExpenseActivities::create_expense, id.clone(), create)
            .await
            .or_cancelled(ctx)?;

        // The time that the person has. There is no heartbeat timeout, because nobody would send heartbeats.
        let wait = within(Duration::from_mins(10));
        let decision = ctx
            .execute_activity(ExpenseActivities::wait_for_decision, id.clone(), wait)
            .await
            .or_cancelled(ctx)?;
        match decision.0.as_str() {
            Some("APPROVED") => {}
            Some("REJECTED") => return Ok(String::new()),
            // The CLI and the Web UI can complete an activity with any JSON, or with nothing.
            _ => {
                let failure = ApplicationFailure::builder(
                    "the decision is neither \"APPROVED\" nor \"REJECTED\"",
                )
                .type_name("UnknownDecision".to_owned())
                .non_retryable(true);
                return Err(failure.build().into());
            }
        }

        let pay = within(Duration::from_mins(10));
        ctx.execute_activity(ExpenseActivities::payment, id, pay)
            .await
            .or_cancelled(ctx)?;
        Ok("COMPLETED".to_owned())
    }
}
