//! The activities of the expense. One of them hands its task token to another process, which completes it.

use crate::service_client::ServiceClient;
use serde_json::Value;
use shared::{Json, idempotency_key};
use std::sync::Arc;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// The activities of `SampleExpenseWorkflow`.
pub struct ExpenseActivities {
    service: ServiceClient,
}

#[activities]
impl ExpenseActivities {
    /// Creates the expense at the service.
    #[activity(name = "CreateExpenseActivity")]
    pub async fn create_expense(
        self: Arc<Self>,
        ctx: ActivityContext,
        id: String,
    ) -> Result<(), ActivityError> {
        self.service
            .create_expense(&id, &idempotency_key(ctx.info())?)
            .await
    }

    /// Asks for a decision. The service completes this activity, with `"APPROVED"` or `"REJECTED"`.
    #[activity(name = "WaitForDecisionActivity")]
    pub async fn wait_for_decision(
        self: Arc<Self>,
        ctx: ActivityContext,
        id: String,
    ) -> Result<Json<Value>, ActivityError> {
        // The service has stored the token when this returns. If we returned first and the worker died then,
        // nobody could complete the activity. The completion may arrive before we return, which does no harm.
        self.service
            .register_callback(&id, &ctx.info().task_token)
            .await?;
        // The activity goes on without a worker. `Ok` would complete it here.
        Err(ActivityError::WillCompleteAsync)
    }

    /// Pays the expense. The service refuses this if the expense has not been approved.
    #[activity(name = "PaymentActivity")]
    pub async fn payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        id: String,
    ) -> Result<(), ActivityError> {
        self.service.pay(&id, &idempotency_key(ctx.info())?).await
    }
}

impl ExpenseActivities {
    /// Creates the activities, which call `service`.
    pub fn new(service: ServiceClient) -> Self {
        Self { service }
    }
}
