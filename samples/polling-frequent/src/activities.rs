//! The activity. It polls until there is an answer, and sends heartbeats.

use http_client::{http_client, no_answer};
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use shared::{idempotency_key, stopped};
use std::{sync::Arc, time::Duration};
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};

/// How long to wait after "not yet".
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Time limit for one request.
///
/// Together with the interval it is shorter than the heartbeat timeout. Otherwise a service that hangs would look
/// like a dead worker.
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

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
    /// Asks the service for the greeting once per second, until there is one.
    #[activity(name = "compose_greeting")]
    pub async fn compose_greeting(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ComposeGreetingInput,
    ) -> Result<String, ActivityError> {
        // The id is the same in every attempt, so that the service recognizes the work that it has begun.
        let id = &idempotency_key(ctx.info())?;
        tracing::info!(id, attempt = ctx.info().attempt, "polling");
        loop {
            if let Some(greeting) = self.poll(id, &input).await? {
                return Ok(greeting);
            }
            ctx.record_heartbeat(()).await?;
            if tokio::time::timeout(POLL_INTERVAL, ctx.cancelled())
                .await
                .is_ok()
            {
                tracing::info!(id, "told to stop");
                // Not always `ActivityError::cancelled()`: the activity may be paused instead.
                return Err(stopped(&ctx).await);
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

    /// Sends one request. Returns the greeting, or `None` for "not yet". Any other answer, and no answer, fails the
    /// attempt.
    async fn poll(
        &self,
        id: &str,
        input: &ComposeGreetingInput,
    ) -> Result<Option<String>, ActivityError> {
        let service = &self.service;
        let no_answer = |error| no_answer(service, error);
        let query = [
            ("id", id),
            ("greeting", &input.greeting),
            ("name", &input.name),
        ];
        let request = self.client.get(service.clone()).query(&query);
        let response = request.send().await.map_err(no_answer)?;
        match response.status() {
            StatusCode::OK => Ok(Some(response.text().await.map_err(no_answer)?)),
            StatusCode::SERVICE_UNAVAILABLE => Ok(None),
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

#[cfg(test)]
mod tests {
    use super::*;
    use polled_service::PolledService;
    use std::{
        net::Ipv4Addr,
        sync::atomic::{AtomicU32, Ordering},
        time::Instant,
    };
    use temporalio_sdk::testing::{
        ActivityEnvironment, ActivityEnvironmentError, TestActivityInfoOptions,
    };
    use tokio::net::{TcpListener, TcpSocket};

    fn world() -> ComposeGreetingInput {
        let (greeting, name) = ("Hello".to_owned(), "World".to_owned());
        ComposeGreetingInput { greeting, name }
    }

    /// Returns how the activity fails with this service, and whether it would be retried.
    async fn failure(service: &str) -> anyhow::Result<(String, bool)> {
        let env = ActivityEnvironment::builder()
            .register_activities(GreetingActivities::new(service.parse()?)?)
            .build();
        match env.run(GreetingActivities::compose_greeting, world()).await {
            Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) => Ok((
                shared::describe(failure.source_error()),
                !failure.is_non_retryable(),
            )),
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// The activity sends five requests, one second apart, and a heartbeat after each except the last.
    #[tokio::test]
    async fn polls_until_there_is_an_answer() -> anyhow::Result<()> {
        let service = PolledService::start().await?;
        let beats = Arc::new(AtomicU32::new(0));
        let counted = beats.clone();
        let env = ActivityEnvironment::builder_with_default()
            .register_activities(GreetingActivities::new(service.url().clone())?)
            .on_heartbeat(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            })
            .build();
        let started = Instant::now();
        let greeting = env
            .run(GreetingActivities::compose_greeting, world())
            .await?;
        assert_eq!(greeting, "Hello, World!");
        assert_eq!(service.requests(), 5);
        assert_eq!(service.ids(), ["test-run/test"]);
        assert_eq!(beats.load(Ordering::Relaxed), 4);
        assert!(started.elapsed() >= 4 * POLL_INTERVAL);
        Ok(())
    }

    /// An activity that is told to stop sends no more requests. A standalone activity counts as cancelled then.
    /// `tests/operators.rs` tests the other reasons to stop.
    #[tokio::test]
    async fn stops_when_told() -> anyhow::Result<()> {
        let service = PolledService::start().await?;
        let info = TestActivityInfoOptions::builder().workflow_id(None).build();
        let env = ActivityEnvironment::builder()
            .info(info)
            .register_activities(GreetingActivities::new(service.url().clone())?)
            .build();
        let cancelling = async {
            service.until_requests(1).await?;
            env.cancel();
            anyhow::Ok(())
        };
        let polling = env.run(GreetingActivities::compose_greeting, world());
        let (result, polled) = futures::future::join(polling, cancelling).await;
        polled?;
        let cancelled = ActivityEnvironmentError::Activity(ActivityError::cancelled());
        assert_eq!(
            result.map_err(|error| error.to_string()),
            Err(cancelled.to_string())
        );
        assert_eq!(service.requests(), 1);
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
        let (message, retried) = failure(&format!("http://{gone}/greetings")).await?;
        let expected = format!("http://{gone}/greetings does not answer: ");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains("Connection refused"), "{message}");
        assert!(retried);

        // This one accepts connections and never answers.
        let mute = TcpListener::bind("127.0.0.1:0").await?;
        let (message, retried) = failure(&format!("http://{}/", mute.local_addr()?)).await?;
        assert!(message.ends_with("operation timed out"), "{message}");
        assert!(retried);

        let service = PolledService::start().await?;
        let broken = service.url().join("/broken")?;
        let (message, retried) = failure(broken.as_str()).await?;
        assert_eq!(
            message,
            format!("{broken} answered 500 Internal Server Error")
        );
        assert!(retried);

        let nowhere = service.url().join("/nowhere")?;
        let (message, retried) = failure(nowhere.as_str()).await?;
        assert_eq!(message, format!("{nowhere} answered 404 Not Found"));
        assert!(!retried);
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
