//! A gRPC server that rejects every call.

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

/// A server that answers every call with an error, until it is dropped.
pub struct RejectingServer {
    pub address: String,
    handler: Handler,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Handler {
    code: Code,
    /// Whether a client can connect. Some servers check the key only in later calls.
    accepts_connect: bool,
    authorization: Arc<Mutex<Vec<String>>>,
}

impl RejectingServer {
    /// Starts a server that rejects clients as they connect.
    pub async fn start(code: Code) -> anyhow::Result<Self> {
        Self::start_at(code, false).await
    }

    /// Starts a server that lets clients connect and rejects the first call after that.
    pub async fn start_after_connect(code: Code) -> anyhow::Result<Self> {
        Self::start_at(code, true).await
    }

    async fn start_at(code: Code, accepts_connect: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?.to_string();
        let authorization = Arc::default();
        let handler = Handler {
            code,
            accepts_connect,
            authorization,
        };
        let server = Server::builder();
        let serving = server.serve_with_incoming(handler.clone(), TcpIncoming::from(listener));
        let serving = tokio::spawn(async move {
            let _ = serving.await;
        });
        Ok(Self {
            address,
            handler,
            serving,
        })
    }

    /// Returns the `authorization` headers received since the last call of this function.
    pub fn take_authorization(&self) -> Vec<String> {
        let mut authorization = self
            .handler
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut authorization)
    }
}

impl Drop for RejectingServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Service<http::Request<Body>> for Handler {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if let Some(key) = request.headers().get("authorization") {
            let mut authorization = self
                .authorization
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            authorization.push(String::from_utf8_lossy(key.as_bytes()).into_owned());
        }
        let status = match self.accepts_connect && request.uri().path().ends_with("/GetSystemInfo")
        {
            // A client takes this for a server that is too old for the call, and connects.
            true => Status::unimplemented("unknown method GetSystemInfo"),
            false => Status::new(self.code, "access denied"),
        };
        ready(Ok(status.into_http()))
    }
}
