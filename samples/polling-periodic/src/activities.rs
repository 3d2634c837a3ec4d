//! The activity. It sends one request. "Not yet" is a result, not a failure.

use http_client::{http_client, no_answer};
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use shared::{Json, idempotency_key};
use std::{sync::Arc, time::Duration};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Time limit for one request. It is shorter than an attempt, so that the failure can name the service.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Input of `compose_greeting`: `{"greeting":"Hello","name":"World","id":"…"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ComposeGreetingInput {
    /// Word to greet with.
    pub greeting: String,
    /// Name to greet.
    pub name: String,
    /// Id by which the service recognizes the work that it has begun. Polls that belong together have the same id. An
    /// activity without an id starts new work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The activities of this sample.
pub struct GreetingActivities {
    service: Url,
    client: Client,
}

#[activities]
impl GreetingActivities {
    /// Asks the service once for the greeting. Returns `None`, null in JSON, if there is none yet.
    #[activity(name = "compose_greeting")]
    pub async fn compose_greeting(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ComposeGreetingInput,
    ) -> Result<Json<Option<String>>, ActivityError> {
        let ComposeGreetingInput { greeting, name, id } = input;
        let id = match id {
            Some(id) => id,
            None => idempotency_key(ctx.info())?,
        };
        let service = &self.service;
        let no_answer = |error| no_answer(service, error);
        let query = [("id", &id), ("greeting", &greeting), ("name", &name)];
        let request = self.client.get(service.clone()).query(&query);
        let response = request.send().await.map_err(no_answer)?;
        match response.status() {
            StatusCode::OK => {
                let greeting = response.text().await.map_err(no_answer)?;
                Ok(Json(Some(greeting)))
            }
            StatusCode::SERVICE_UNAVAILABLE => Ok(Json(None)),
            status => {
                let failure = ApplicationFailure::builder(format!("{service} answered {status}"))
                    .type_name("ServiceFailed".to_owned())
                    // 4xx means that the request is wrong, so the same request would fail again.
                    .non_retryable(status.is_client_error());
                Err(failure.build().into())
            }
        }
    }
}

impl GreetingActivities {
    /// Creates the activities, which poll `service`.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub fn new(service: Url) -> anyhow::Result<Self> {
        let client = http_client(&service, REQUEST_TIMEOUT)?;
        Ok(Self { service, client })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polled_service::PolledService;
    use std::net::Ipv4Addr;
    use temporalio_sdk::testing::{ActivityEnvironment, ActivityEnvironmentError};
    use tokio::net::{TcpListener, TcpSocket};

    fn world() -> ComposeGreetingInput {
        let (greeting, name) = ("Hello".to_owned(), "World".to_owned());
        let id = None;
        ComposeGreetingInput { greeting, name, id }
    }

    /// Returns how an attempt fails with this service.
    async fn failure(service: &str) -> anyhow::Result<ApplicationFailure> {
        let env = ActivityEnvironment::builder()
            .register_activities(GreetingActivities::new(service.parse()?)?)
            .build();
        match env.run(GreetingActivities::compose_greeting, world()).await {
            Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) => {
                Ok(*failure)
            }
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// Each activity sends one request. The first four return nothing, and the fifth returns the greeting.
    #[tokio::test]
    async fn sends_one_request() -> anyhow::Result<()> {
        let service = PolledService::start().await?;
        let env = ActivityEnvironment::builder()
            .register_activities(GreetingActivities::new(service.url().clone())?)
            .build();
        for requests in 1..=5 {
            let Json(polled) = env
                .run(GreetingActivities::compose_greeting, world())
                .await?;
            assert_eq!(polled.is_some(), requests == 5);
            assert_eq!(service.requests(), requests);
            assert_eq!(service.ids(), ["test-run/test"]);
        }
        Ok(())
    }

    /// If the service is down, hangs or is broken, the activity is retried. If the service refuses the request, it is
    /// not.
    #[tokio::test]
    async fn retries_all_errors_except_4xx() -> anyhow::Result<()> {
        // Bound, so that no other process gets the port. It does not listen.
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let gone = socket.local_addr()?;
        let gone = format!("http://{gone}/greetings");
        // This one accepts connections and never answers.
        let mute_listener = TcpListener::bind("127.0.0.1:0").await?;
        let mute = format!("http://{}/greetings", mute_listener.local_addr()?);
        let service = PolledService::start().await?;
        let broken = service.url().join("/broken")?;
        let nowhere = service.url().join("/nowhere")?;
        let cases = [
            (gone.as_str(), "does not answer", "Connection refused", true),
            (&mute, "does not answer", "operation timed out", true),
            (
                broken.as_str(),
                "answered 500",
                "Internal Server Error",
                true,
            ),
            (nowhere.as_str(), "answered 404", "Not Found", false),
        ];
        for (url, what, why, retried) in cases {
            let failure = failure(url).await?;
            let message = shared::describe(failure.source_error());
            assert!(message.starts_with(&format!("{url} {what}")), "{message}");
            assert!(message.contains(why), "{message}");
            assert_eq!(!failure.is_non_retryable(), retried, "{message}");
        }
        Ok(())
    }

    /// A name that makes the URL too long fails the activity without a retry, because the next request would be as
    /// long. With one byte less the activity succeeds.
    #[tokio::test]
    async fn refuses_a_url_that_is_too_long() -> anyhow::Result<()> {
        let service = PolledService::start_at((Ipv4Addr::LOCALHOST, 0).into(), 1).await?;
        let without_name = format!("{}?id=test&greeting=Hello&name=", service.url()).len();
        let env = ActivityEnvironment::builder()
            .register_activities(GreetingActivities::new(service.url().clone())?)
            .build();
        for length in [65_534, 65_535] {
            let (greeting, name) = ("Hello".to_owned(), "x".repeat(length - without_name));
            let id = Some("test".to_owned());
            let input = ComposeGreetingInput { greeting, name, id };
            match env.run(GreetingActivities::compose_greeting, input).await {
                Ok(_) => assert_eq!(length, 65_534),
                Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) => {
                    let service = service.url();
                    let expected = format!(
                        "cannot ask {service}: the URL has 65535 bytes, more than the limit of 65534"
                    );
                    assert_eq!((failure.to_string(), length), (expected, 65_535));
                    assert!(failure.is_non_retryable());
                }
                Err(other) => anyhow::bail!("{other:?}"),
            }
        }
        Ok(())
    }
}
