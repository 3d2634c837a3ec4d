//! Callbacks without a task token: a webhook that arrives as a signal, and one that a workflow sends later.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use anyhow::Context;
use http_client::{http_client, no_answer};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled, idempotency_key, sleep};
use std::{sync::Arc, time::Duration};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, SyncWorkflowContext, TimerOptions,
    WorkflowCancellationToken, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
    workflows::select,
};

/// How long an order waits for its payment.
const PAYMENT_LIMIT: Duration = Duration::from_hours(24);

/// Time limit for one callback.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Input of `OrderWorkflow`: `{"order_id":"1","amount":99.99}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OrderInput {
    /// Number of the order.
    pub order_id: String,
    /// What it costs.
    pub amount: f64,
}

/// Argument of the signal `payment_received`, and input of `process_payment`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PaymentPayload {
    /// Number of the payment.
    pub payment_id: String,
    /// Amount that was paid.
    pub amount: f64,
}

/// Waits for the webhook of a payment service, which arrives as a signal.
#[workflow]
#[derive(Default)]
pub struct OrderWorkflow {
    // `run` never writes to it: with signal-with-start the signal is handled before `run` begins.
    payment: Option<PaymentPayload>,
}

#[workflow_methods]
impl OrderWorkflow {
    /// Returns how the payment was processed, or that none arrived within a day.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        order: Input<OrderInput>,
    ) -> WorkflowResult<String> {
        let order = order.decode(ctx)?;
        // A token of its own, as in `shared::sleep`: a timer that fires while it is cancelled hangs the workflow.
        let limit = WorkflowCancellationToken::new();
        let timer = TimerOptions::builder(PAYMENT_LIMIT).cancellation_token(limit.clone());
        select! {
            _ = ctx.timer(timer.build()) => {}
            paid = ctx.wait_condition(|order: &Self| order.payment.is_some()) => {
                limit.cancel();
                paid?;
            }
        }
        let Some(payment) = ctx.state(|order| order.payment.clone()) else {
            let id = order.order_id;
            return Ok(format!("Order {id}: timed out waiting for payment"));
        };
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(30));
        ctx.execute_activity(WebhookActivities::process_payment, payment, options)
            .await
            .or_cancelled(ctx)
    }

    /// Receives the payment. Services send a webhook again if they miss the answer, so only the first counts.
    #[signal(name = "payment_received")]
    pub fn payment_received(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        payment: Input<PaymentPayload>,
    ) {
        if let Some(payment) = payment.or_ignored(ctx, "payment_received") {
            self.payment.get_or_insert(payment);
        }
    }
}

/// URL of a callback, which is a string on the wire.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallbackUrl(Url);

impl TryFrom<String> for CallbackUrl {
    type Error = String;

    fn try_from(url: String) -> Result<Self, String> {
        let url = Url::parse(&url).map_err(|error| format!("not a URL: {error}"))?;
        match url.scheme() {
            "http" | "https" => Ok(Self(url)),
            _ => Err("the URL must begin with http:// or https://".to_owned()),
        }
    }
}

impl From<CallbackUrl> for String {
    fn from(url: CallbackUrl) -> Self {
        url.0.into()
    }
}

/// Input of `DelayedCallbackWorkflow` and of `send_webhook_callback`:
/// `{"callback_url":"https://example.com/hook","payload":"done","delay_seconds":5}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CallbackInput {
    /// Where to send the callback.
    pub callback_url: CallbackUrl,
    /// Body of the request.
    pub payload: String,
    /// Seconds to wait before it is sent.
    pub delay_seconds: u32,
}

/// Sends a callback after a while, whatever is restarted meanwhile.
#[workflow]
#[derive(Default)]
pub struct DelayedCallbackWorkflow;

#[workflow_methods]
impl DelayedCallbackWorkflow {
    /// Returns how the callback was delivered.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<CallbackInput>,
    ) -> WorkflowResult<String> {
        let input = input.decode(ctx)?;
        if input.delay_seconds > 0 {
            sleep(ctx, Duration::from_secs(input.delay_seconds.into())).await?;
        }
        let options = ActivityOptions::start_to_close_timeout(Duration::from_mins(5));
        ctx.execute_activity(WebhookActivities::send_webhook_callback, input, options)
            .await
            .or_cancelled(ctx)
    }
}

/// The activities of the two workflows.
pub struct WebhookActivities {
    hosts: Vec<String>,
}

#[activities]
impl WebhookActivities {
    /// Processes a payment.
    #[activity(name = "process_payment")]
    pub async fn process_payment(
        _ctx: ActivityContext,
        payment: PaymentPayload,
    ) -> Result<String, ActivityError> {
        let PaymentPayload { payment_id, amount } = payment;
        Ok(format!(
            "Payment {payment_id} processed successfully for ${amount:.2}"
        ))
    }

    /// Sends the callback, if its host is allowed. Otherwise sends nothing, and says so in the result.
    #[activity(name = "send_webhook_callback")]
    pub async fn send_webhook_callback(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CallbackInput,
    ) -> Result<String, ActivityError> {
        let url = input.callback_url.0;
        let host = url.host_str().unwrap_or_default();
        if !self.hosts.iter().any(|allowed| allowed == host) {
            return Ok(format!("Callback to {url} delivered (stubbed)"));
        }
        let client = http_client(&url, REQUEST_TIMEOUT).context("cannot send the callback")?;
        let response = client
            .post(url.clone())
            // An attempt may be repeated after the callback has arrived. This tells the receiver.
            .header("idempotency-key", idempotency_key(ctx.info())?)
            .body(input.payload)
            .send()
            .await
            .map_err(|error| no_answer(&url, error))?;
        let status = response.status();
        if !status.is_success() {
            let failure = ApplicationFailure::builder(format!("{url} answered {status}"))
                .type_name("CallbackRefused".to_owned())
                .non_retryable(status.is_client_error());
            return Err(failure.build().into());
        }
        Ok(format!("Callback to {url} delivered"))
    }
}

impl WebhookActivities {
    /// Creates the activities. Callbacks go only to these hosts, so that the input of a workflow cannot make the
    /// worker send requests to any address that it can reach.
    pub fn new(hosts: Vec<String>) -> Self {
        Self { hosts }
    }
}
