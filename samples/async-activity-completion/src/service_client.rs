//! The worker's side of the HTTP interface: signed requests to the service.

use crate::{greeting::ComposeGreetingInput, service::Key};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http_client::{http_client, no_answer};
use reqwest::{Client, RequestBuilder, Url};
use std::{sync::Arc, time::Duration};
use temporalio_sdk::{ApplicationFailure, activities::ActivityError};

/// Time limit for one request. It is shorter than an attempt, so that the failure can name the service.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls the service. Each request is signed, so that the service accepts it from this worker only.
#[derive(Clone)]
pub struct ServiceClient {
    url: Url,
    key: Arc<Key>,
    client: Client,
}

impl ServiceClient {
    /// Creates a client for the service at `url`, such as `http://127.0.0.1:8099`.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub fn new(url: Url, key: Arc<Key>) -> anyhow::Result<Self> {
        let client = http_client(&url, REQUEST_TIMEOUT)?;
        Ok(Self { url, key, client })
    }

    /// Creates an expense. A repetition with the same `idempotency_key` succeeds as well.
    ///
    /// # Errors
    /// A failure of the activity: retryable if the service does not answer, and not if it refuses.
    pub async fn create_expense(
        &self,
        id: &str,
        idempotency_key: &str,
    ) -> Result<(), ActivityError> {
        let signature = &self.key.sign(&["create", id, idempotency_key]);
        let query = [
            ("id", id),
            ("key", idempotency_key),
            ("signature", signature),
            ("is_api_call", "true"),
        ];
        self.send(self.client.get(self.path("/create")).query(&query))
            .await
    }

    /// Hands over the task token of an activity that waits for the decision about an expense.
    ///
    /// # Errors
    /// As [`ServiceClient::create_expense`].
    pub async fn register_callback(
        &self,
        id: &str,
        task_token: &[u8],
    ) -> Result<(), ActivityError> {
        // The token is binary, and a form field is text.
        let token = BASE64_URL_SAFE_NO_PAD.encode(task_token);
        let signature = self.key.sign(&["registerCallback", id, &token]);
        let request = self
            .client
            .post(self.path("/registerCallback"))
            .query(&[("id", id)])
            .header("content-type", "application/x-www-form-urlencoded")
            // Neither value has a character that a form would escape.
            .body(format!("task_token={token}&signature={signature}"));
        self.send(request).await
    }

    /// Pays an approved expense. A repetition with the same `idempotency_key` succeeds as well.
    ///
    /// # Errors
    /// As [`ServiceClient::create_expense`].
    pub async fn pay(&self, id: &str, idempotency_key: &str) -> Result<(), ActivityError> {
        let signature = &self.key.sign(&["payment", id, idempotency_key]);
        let query = [
            ("type", "payment"),
            ("id", id),
            ("key", idempotency_key),
            ("signature", signature),
            ("is_api_call", "true"),
        ];
        self.send(self.client.get(self.path("/action")).query(&query))
            .await
    }

    /// Hands over a greeting to compose, with the task token of the activity that waits for it.
    ///
    /// # Errors
    /// As [`ServiceClient::create_expense`].
    pub async fn compose_greeting(
        &self,
        input: &ComposeGreetingInput,
        task_token: &[u8],
    ) -> Result<(), ActivityError> {
        let token = BASE64_URL_SAFE_NO_PAD.encode(task_token);
        let ComposeGreetingInput { greeting, name } = input;
        let signature = self.key.sign(&["greetings", greeting, name, &token]);
        let body = serde_json::json!({
            "greeting": greeting,
            "name": name,
            "task_token": token,
            "signature": signature,
        });
        let request = self.client.post(self.path("/greetings"));
        self.send(request.body(body.to_string())).await
    }

    fn path(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<(), ActivityError> {
        let no_answer = |error| no_answer(&self.url, error);
        let response = request.send().await.map_err(no_answer)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let answer = response.text().await.map_err(no_answer)?;
        let failure =
            ApplicationFailure::builder(format!("{} answered {status}: {answer}", self.url))
                .type_name("ServiceRefused".to_owned())
                // 4xx means that the request is wrong, so the same request would fail again.
                .non_retryable(status.is_client_error());
        Err(failure.build().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpSocket;

    /// If the service is down, the attempt fails with its URL, and is retried.
    #[tokio::test]
    async fn retries_if_the_service_is_down() -> anyhow::Result<()> {
        // Bound, so that no other process gets the port. It does not listen.
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let gone = socket.local_addr()?;
        let files = tempfile::tempdir()?;
        let key = Key::read_or_create(&files.path().join("key"))?;
        let client = ServiceClient::new(format!("http://{gone}").parse()?, key.into())?;
        match client.register_callback("expense-1", b"token").await {
            Err(ActivityError::Application(failure)) => {
                assert_eq!(
                    failure.to_string(),
                    format!("http://{gone}/ does not answer")
                );
                assert!(!failure.is_non_retryable());
                Ok(())
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
}
