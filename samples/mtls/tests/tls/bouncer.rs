//! A gRPC server that lets nobody in.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use temporalio_client::tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    transport::{Server, server::TcpIncoming},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Answers every call with an error, until it is dropped.
pub struct Bouncer {
    pub address: String,
    door: Door,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Door {
    code: Code,
    /// Whether a client may connect, as a server may have it that looks at keys only later.
    open: bool,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Bouncer {
    /// Lets nobody connect.
    pub async fn start(code: Code) -> anyhow::Result<Self> {
        Self::start_at(code, false).await
    }

    /// Lets everybody connect, and answers the first call after that with the error.
    pub async fn start_late(code: Code) -> anyhow::Result<Self> {
        Self::start_at(code, true).await
    }

    async fn start_at(code: Code, open: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?.to_string();
        let keys = Arc::default();
        let door = Door { code, open, keys };
        let server = Server::builder();
        let serving = server.serve_with_incoming(door.clone(), TcpIncoming::from(listener));
        let serving = tokio::spawn(async move {
            let _ = serving.await;
        });
        Ok(Self {
            address,
            door,
            serving,
        })
    }

    /// The authorization headers that have come since the last call of this.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = self
            .door
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut keys)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Service<http::Request<Body>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if let Some(key) = request.headers().get("authorization") {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.push(String::from_utf8_lossy(key.as_bytes()).into_owned());
        }
        let status = match self.open && request.uri().path().ends_with("/GetSystemInfo") {
            // To the client that is a server too old for this call, and no error.
            true => Status::unimplemented("unknown method GetSystemInfo"),
            false => Status::new(self.code, "nobody comes in"),
        };
        ready(Ok(status.into_http()))
    }
}
