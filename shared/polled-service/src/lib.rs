//! The service that the polling samples poll. It is a real HTTP server, which at first has no answer.
//!
//! `GET /greetings?id=…&greeting=Hello&name=World` answers 503 until the fifth request for an id,
//! then 200 with the greeting. Without a name it answers 400. `/broken` always answers 500, and every other path 404.

#![warn(missing_docs)]

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

/// Default number of the first request for an id that the service answers.
const READY_AT: u32 = 5;

/// How long a test waits for requests.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// Number of requests so far, by id.
type Requests = BTreeMap<String, u32>;

/// The running service. It stops when it is dropped.
pub struct PolledService {
    url: Url,
    requests: watch::Sender<Requests>,
    // The server stops when the sender is dropped. Nothing is ever sent.
    stop: oneshot::Sender<Infallible>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl PolledService {
    /// Starts the service on a free loopback port.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), READY_AT).await
    }

    /// Starts the service on `listen`. The first request for an id that it answers is number `ready_at`.
    ///
    /// # Errors
    /// If it cannot listen on that address. The error names the address.
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

    /// Returns the URL to poll.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns how many requests there have been, for all ids together.
    pub fn requests(&self) -> u32 {
        self.requests.borrow().values().sum()
    }

    /// Returns the ids for which there have been requests, each once.
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
        match timeout(WAIT_LIMIT, requests.wait_for(enough)).await {
            Ok(received) => received.map(drop).context("the polled service has ended"),
            Err(_) => bail!(
                "waited {WAIT_LIMIT:?} for {count} requests, and received {}",
                self.requests()
            ),
        }
    }

    /// Completes the requests in progress and stops.
    ///
    /// # Errors
    /// If the server has failed.
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
        return (StatusCode::BAD_REQUEST, "the name is missing".to_owned());
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

/// Runs the service that the worker polls, until Ctrl-C or SIGTERM.
#[derive(Clone, Debug, clap::Parser)]
pub struct PolledServiceArgs {
    /// Address to listen on; port 0 stands for any free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Number of the first request for an id that the service answers
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

/// Flag of a worker that polls a service.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServiceUrlArgs {
    /// URL of the service to poll [default: the worker starts a service on a free loopback port]
    #[arg(long, value_name = "URL")]
    pub service_url: Option<String>,
}

impl ServiceUrlArgs {
    /// Returns the URL to poll. If the flag is not set, also starts a service and returns it. The service stops
    /// when it is dropped.
    ///
    /// # Errors
    /// If the flag is not a URL that can be polled, and those of [`PolledService::start`].
    pub async fn service(&self) -> anyhow::Result<(Url, Option<PolledService>)> {
        let Some(url) = &self.service_url else {
            let service = PolledService::start().await?;
            tracing::info!(url = %service.url(), "polled service started");
            return Ok((service.url().clone(), Some(service)));
        };
        let url = Url::parse(url).context("--service-url is not a URL")?;
        if !["http", "https"].contains(&url.scheme()) {
            bail!("--service-url must begin with http:// or https://");
        }
        // Errors contain the URL, and the history keeps them.
        if !url.username().is_empty() || url.password().is_some() {
            bail!(
                "--service-url must not contain a user name or password, because logs and errors show it"
            );
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

    /// The service answers "not yet" four times and then with the greeting. It counts each id separately, and any id
    /// and name is possible.
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

    /// The service answers 400 without a name, 500 at the broken path and 404 elsewhere. After shutdown it does not
    /// answer.
    #[tokio::test]
    async fn refuses_bad_requests_and_stops() -> anyhow::Result<()> {
        let service = PolledService::start().await?;
        let url = service.url().clone();
        assert_eq!(ask(&url, "a", "").await?.0, 400);
        assert_eq!(ask(&url.join("/broken")?, "a", "World").await?.0, 500);
        assert_eq!(ask(&url.join("/nowhere")?, "a", "World").await?.0, 404);
        service.shutdown().await?;
        assert!(ask(&url, "a", "World").await.is_err());
        Ok(())
    }

    /// `--service-url` is checked before anything is polled. Without it, a service is started.
    #[tokio::test]
    async fn checks_the_url_or_starts_a_service() -> anyhow::Result<()> {
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
                "--service-url is not a URL: relative URL without a base",
            ),
            ("http://", "--service-url is not a URL: empty host"),
            (
                "localhost:8090",
                "--service-url must begin with http:// or https://",
            ),
            (
                "http://me:hush@localhost/",
                "--service-url must not contain a user name or password, because logs and errors show it",
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
