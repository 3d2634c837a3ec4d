//! The activity. It sends one request. "Not yet" fails the attempt, and the server starts the next one.

use http_client::{http_client, no_answer};
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use shared::idempotency_key;
use std::{sync::Arc, time::Duration};
use temporalio_common::error::ApplicationErrorCategory;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// Time limit for one request. It is shorter than an attempt, so that the failure can name the service.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Input of `compose_greeting`: `{"greeting":"Hello","name":"World"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ComposeGreetingInput {
    /// Word to greet with.
    pub greeting: String,
    /// Name to greet.
    pub name: String,
}

/// The activities of this sample.
pub struct GreetingActivities {
    service: Url,
    client: Client,
}

#[activities]
impl GreetingActivities {
    /// Asks the service once for the greeting.
    #[activity(name = "compose_greeting")]
    pub async fn compose_greeting(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ComposeGreetingInput,
    ) -> Result<String, ActivityError> {
        let ComposeGreetingInput { greeting, name } = input;
        // The id is the same in every attempt, so that the service recognizes the work that it has begun.
        let id = &idempotency_key(ctx.info())?;
        let service = &self.service;
        let no_answer = |error| no_answer(service, error);
        let query = [("id", id), ("greeting", &greeting), ("name", &name)];
        let request = self.client.get(service.clone()).query(&query);
        let response = request.send().await.map_err(no_answer)?;
        match response.status() {
            StatusCode::OK => Ok(response.text().await.map_err(no_answer)?),
            StatusCode::SERVICE_UNAVAILABLE => {
                let not_yet = ApplicationFailure::builder("not yet")
                    .type_name("NotYet".to_owned())
                    // This failure is expected. If metrics counted it, every poll would cause an alert.
                    .category(ApplicationErrorCategory::Benign);
                Err(not_yet.build().into())
            }
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
        ComposeGreetingInput { greeting, name }
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

    /// "Not yet" is a benign failure that is retried. The fifth attempt gets the greeting.
    #[tokio::test]
    async fn each_attempt_sends_one_request() -> anyhow::Result<()> {
        let service = PolledService::start().await?;
        for attempt in 1..5 {
            let not_yet = failure(service.url().as_str()).await?;
            assert_eq!(not_yet.type_name(), Some("NotYet"));
            assert_eq!(not_yet.category(), ApplicationErrorCategory::Benign);
            assert!(!not_yet.is_non_retryable());
            assert_eq!(service.requests(), attempt);
            assert_eq!(service.ids(), ["test-run/test"]);
        }
        let env = ActivityEnvironment::builder()
            .register_activities(GreetingActivities::new(service.url().clone())?)
            .build();
        let greeting = env.run(GreetingActivities::compose_greeting, world());
        assert_eq!(greeting.await?, "Hello, World!");
        Ok(())
    }

    /// If the service is down, hangs or is broken, the attempt is retried. If the service refuses the request, it is
    /// not. None of these failures is benign.
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
            assert_ne!(failure.category(), ApplicationErrorCategory::Benign);
        }
        Ok(())
    }

    /// A name that makes the URL too long fails the activity without a retry, because the next request would be as
    /// long. With one byte less the activity succeeds.
    #[tokio::test]
    async fn refuses_a_url_that_is_too_long() -> anyhow::Result<()> {
        let service = PolledService::start_at((Ipv4Addr::LOCALHOST, 0).into(), 1).await?;
        let without_name =
            format!("{}?id=test-run%2Ftest&greeting=Hello&name=", service.url()).len();
        let env = ActivityEnvironment::builder()
            .register_activities(GreetingActivities::new(service.url().clone())?)
            .build();
        for length in [65_534, 65_535] {
            let (greeting, name) = ("Hello".to_owned(), "x".repeat(length - without_name));
            let input = ComposeGreetingInput { greeting, name };
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
