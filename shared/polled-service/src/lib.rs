//! The service that the polling samples poll: a real HTTP server, which has no answer at first.
//!
//! `GET /greetings?id=…&greeting=Hello&name=World` answers 503 until the fifth request for an id,
//! then 200 and the greeting. Without a name it is 400; `/broken` is always 500, anything else 404.

#![warn(missing_docs)]
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "no workflow code in here"
)]

use anyhow::{Context, bail};
use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use reqwest::Url;
use shared::ShutdownSignals;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// The first request for an id that is answered, unless the service is told otherwise.
const READY_AT: u32 = 5;

/// How long a test waits for requests.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many requests there have been, by id.
type Requests = BTreeMap<String, u32>;

/// The service, running; it ends when it is dropped.
pub struct PolledService {
    url: Url,
    requests: watch::Sender<Requests>,
    // Nothing is ever sent: the server takes the end of the sender for the sign to stop.
    stop: oneshot::Sender<Infallible>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl PolledService {
    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), READY_AT).await
    }

    /// Starts it at `listen`; request number `ready_at` for an id is the first to be answered.
    ///
    /// # Errors
    /// If it cannot listen there; the error names the address.
    pub async fn start_at(listen: SocketAddr, ready_at: u32) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("the polled service cannot listen on {listen}"))?;
        let url = Url::parse(&format!("http://{}/greetings", listener.local_addr()?))?;
        let requests = watch::Sender::new(Requests::new());
        let routes = Router::new()
            .route("/greetings", get(greeting))
            .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
            .with_state((requests.clone(), ready_at));
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let server = axum::serve(listener, routes).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        Ok(Self {
            url,
            requests,
            stop,
            serving: tokio::spawn(server.into_future()),
        })
    }

    /// What to poll.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns how many requests there have been, for all ids together.
    pub fn requests(&self) -> u32 {
        self.requests.borrow().values().sum()
    }

    /// Returns the ids that it has been asked for, each once.
    pub fn ids(&self) -> Vec<String> {
        self.requests.borrow().keys().cloned().collect()
    }

    /// Waits until there have been `count` requests, for all ids together.
    ///
    /// # Errors
    /// If there have been fewer after a minute.
    pub async fn until_requests(&self, count: u32) -> anyhow::Result<()> {
        let enough = |all: &Requests| all.values().sum::<u32>() >= count;
        let mut requests = self.requests.subscribe();
        match timeout(PATIENCE, requests.wait_for(enough)).await {
            Ok(received) => received.map(drop).context("the polled service has ended"),
            Err(_) => bail!(
                "waited {PATIENCE:?} for {count} requests, and received {}",
                self.requests()
            ),
        }
    }

    /// Answers what has been asked and stops.
    ///
    /// # Errors
    /// If the server had failed.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.serving.await?.context("the polled service failed")
    }
}

async fn greeting(
    State((requests, ready_at)): State<(watch::Sender<Requests>, u32)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> (StatusCode, String) {
    let text = |key: &str| query.get(key).map_or("", String::as_str);
    if text("name").is_empty() {
        return (StatusCode::BAD_REQUEST, "whom?".to_owned());
    }
    let mut count = 0;
    requests.send_modify(|all| {
        let seen = all.entry(text("id").to_owned()).or_default();
        *seen += 1;
        count = *seen;
    });
    if count < ready_at {
        return (StatusCode::SERVICE_UNAVAILABLE, "not yet".to_owned());
    }
    let greeting = format!("{}, {}!", text("greeting"), text("name"));
    (StatusCode::OK, greeting)
}

/// Runs the service that the worker polls, by itself, until Ctrl-C.
#[derive(Clone, Debug, clap::Parser)]
pub struct PolledServiceArgs {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Which request for an id is the first to be answered
    #[arg(long, value_name = "N", default_value_t = READY_AT)]
    pub ready_at: u32,
}

impl PolledServiceArgs {
    /// Runs the service until Ctrl-C or SIGTERM, and prints its URL.
    ///
    /// # Errors
    /// As [`PolledService::start_at`] and [`PolledService::shutdown`].
    pub async fn run(&self) -> anyhow::Result<()> {
        let mut signals = ShutdownSignals::new()?;
        let service = PolledService::start_at(self.listen, self.ready_at).await?;
        writeln!(std::io::stdout(), "{}", service.url())?;
        signals.next().await;
        service.shutdown().await
    }
}

/// The flag of a worker that polls a service.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServiceUrlArgs {
    /// Service to poll [default: one that the worker starts, on a free loopback port]
    #[arg(long, value_name = "URL")]
    pub service_url: Option<String>,
}

impl ServiceUrlArgs {
    /// What to poll; and the service itself, to be kept, if none was named and so one was started.
    ///
    /// # Errors
    /// If what was named is no URL to poll; as [`PolledService::start`].
    pub async fn service(&self) -> anyhow::Result<(Url, Option<PolledService>)> {
        let Some(url) = &self.service_url else {
            let service = PolledService::start().await?;
            tracing::info!(url = %service.url(), "polled service started");
            return Ok((service.url().clone(), Some(service)));
        };
        let url = Url::parse(url).context("--service-url is no URL")?;
        if !["http", "https"].contains(&url.scheme()) {
            bail!("--service-url begins with neither http:// nor https://");
        }
        // Errors name the URL, and history keeps them.
        if !url.username().is_empty() || url.password().is_some() {
            bail!("--service-url holds a name or password, which logs and errors would show");
        }
        Ok((url, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_client::http_client;

    async fn ask(url: &Url, id: &str, name: &str) -> anyhow::Result<(u16, String)> {
        let query = [("id", id), ("greeting", "Hello"), ("name", name)];
        let client = http_client(url, Duration::from_secs(5))?;
        let response = client.get(url.clone()).query(&query).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Four times not yet, then the greeting, for each id by itself; any id and name will do.
    #[tokio::test]
    async fn answers_the_fifth_time() -> anyhow::Result<()> {
        let service = PolledService::start().await?;
        for (id, name) in [("a", "World"), ("b/../&=%", "Ä & Ö")] {
            for _ in 1..5 {
                let answer = ask(service.url(), id, name).await?;
                assert_eq!(answer, (503, "not yet".to_owned()));
            }
            let answer = ask(service.url(), id, name).await?;
            assert_eq!(answer, (200, format!("Hello, {name}!")));
        }
        service.until_requests(10).await?;
        assert_eq!(service.requests(), 10);
        assert_eq!(service.ids(), ["a", "b/../&=%"]);
        service.shutdown().await
    }

    /// Without a name, at the broken path, at no path of its own; and nobody there once it ended.
    #[tokio::test]
    async fn refuses_and_ends() -> anyhow::Result<()> {
        let service = PolledService::start().await?;
        let url = service.url().clone();
        assert_eq!(ask(&url, "a", "").await?.0, 400);
        assert_eq!(ask(&url.join("/broken")?, "a", "World").await?.0, 500);
        assert_eq!(ask(&url.join("/nowhere")?, "a", "World").await?.0, 404);
        service.shutdown().await?;
        assert!(ask(&url, "a", "World").await.is_err());
        Ok(())
    }

    /// What is named is checked before anything is polled; what is not named is started.
    #[tokio::test]
    async fn services() -> anyhow::Result<()> {
        let service = async |url: Option<&str>| {
            let service_url = url.map(str::to_owned);
            ServiceUrlArgs { service_url }.service().await
        };
        let (url, started) = service(Some("https://example.com/greetings")).await?;
        assert_eq!(url.as_str(), "https://example.com/greetings");
        assert!(started.is_none());
        let (url, started) = service(None).await?;
        assert_eq!(started.map(|service| service.url().clone()), Some(url));

        let cases = [
            (
                "greetings",
                "--service-url is no URL: relative URL without a base",
            ),
            ("http://", "--service-url is no URL: empty host"),
            (
                "localhost:8090",
                "--service-url begins with neither http:// nor https://",
            ),
            (
                "http://me:hush@localhost/",
                "--service-url holds a name or password, which logs and errors would show",
            ),
        ];
        for (url, expected) in cases {
            let error = service(Some(url))
                .await
                .err()
                .map(|error| format!("{error:#}"));
            assert_eq!(error.as_deref(), Some(expected));
        }
        Ok(())
    }
}
