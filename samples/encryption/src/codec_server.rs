//! The codec server. It decrypts for the Web UI and the Temporal CLI, because they have no key.
//!
//! Both send `Payloads` as JSON to `…/decode` and show the response. Through `…/encode`, the UI encrypts
//! the input of the workflows that it starts.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State, rejection::BytesRejection},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::post,
};
use payload_codec::{CodecError, EncryptionCodec};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Instant};
use subtle::ConstantTimeEq;
use temporalio_common::protos::temporal::api::common::v1::{Payload, Payloads};
use tower_http::cors::CorsLayer;
use tracing::{Instrument, Span, field::Empty, info_span};

/// Header with the namespace of a request.
const NAMESPACE: HeaderName = HeaderName::from_static("x-namespace");

/// Who may use the codec server, and for what.
#[derive(Clone, Debug)]
pub struct Access {
    /// Origins of the pages that may read responses, each as `https://ui.example.com`.
    pub origins: Vec<HeaderValue>,
    /// Namespaces that the keys are for. Empty means all.
    pub namespaces: Vec<String>,
    /// Token that requests must have in `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Largest size of a request, in bytes.
    pub max_bytes: usize,
}

/// Returns the routes `POST …/encode` and `POST …/decode`. Any path may precede them, because UIs and
/// proxies put the namespace there.
pub fn router(codec: EncryptionCodec, access: Access) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(access.origins.clone())
        .allow_methods([Method::POST, Method::OPTIONS])
        .allow_headers([CONTENT_TYPE, NAMESPACE, AUTHORIZATION])
        // For a page from a public address that calls the reader's own machine.
        .allow_private_network(true);
    let limit = DefaultBodyLimit::max(access.max_bytes);
    // The last layer is the outermost: it logs every request. Refusals have CORS headers too, or the page
    // could not show why it was refused.
    Router::new()
        .route("/{*path}", post(convert))
        .with_state(codec)
        .layer(limit)
        .layer(from_fn_with_state(Arc::new(access), authorize))
        .layer(cors)
        .layer(from_fn(log))
}

/// A refused request: the status, and one line that says why and quotes no contents.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, reason) = self;
        match status {
            StatusCode::UNAUTHORIZED => {
                (status, [(WWW_AUTHENTICATE, "Bearer")], reason).into_response()
            }
            _ => (status, reason).into_response(),
        }
    }
}

impl From<CodecError> for Refusal {
    fn from(error: CodecError) -> Self {
        let status = match error {
            CodecError::NoRandomness => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, error.to_string())
    }
}

async fn convert(
    State(codec): State<EncryptionCodec>,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Payloads>, Refusal> {
    let convert: &dyn Fn(Payload) -> Result<Payload, CodecError> =
        match uri.path().rsplit('/').next() {
            Some("encode") => &|payload| codec.encrypt(&payload),
            Some("decode") => &|payload| codec.decrypt(payload),
            _ => {
                let reason = "paths end with /encode or /decode".to_owned();
                return Err(Refusal(StatusCode::NOT_FOUND, reason));
            }
        };
    let body = body.map_err(|error| match error.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal(status, "too large, see --max-bytes".to_owned())
        }
        status => Refusal(status, error.body_text()),
    })?;
    Span::current().record("bytes", body.len());
    let Payloads { payloads } = read(&body).map_err(|_| {
        // Serde's own message would quote the contents.
        let reason = "the body is not `Payloads` in JSON".to_owned();
        Refusal(StatusCode::BAD_REQUEST, reason)
    })?;
    Span::current().record("payloads", payloads.len());
    let payloads: Result<_, _> = payloads.into_iter().map(convert).collect();
    Ok(Json(Payloads {
        payloads: payloads?,
    }))
}

/// Parses Proto3 JSON. The SDK's parser rejects `null` and unknown fields, which a newer server may send, so
/// this one drops both.
fn read(body: &[u8]) -> serde_json::Result<Payloads> {
    let mut message: Map<String, Value> = serde_json::from_slice(body)?;
    message.retain(|name, value| name == "payloads" && !value.is_null());
    let payloads = message.get_mut("payloads").and_then(Value::as_array_mut);
    for payload in payloads
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        let known = ["metadata", "data", "externalPayloads"];
        payload.retain(|name, value| known.contains(&&**name) && !value.is_null());
    }
    serde_json::from_value(message.into())
}

/// Lets requests through that have the token and name a namespace that the keys are for.
async fn authorize(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

impl Access {
    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.token.as_ref().is_some_and(|it| !brings(headers, it)) {
            let reason = "this codec server requires its token".to_owned();
            return Err(Refusal(StatusCode::UNAUTHORIZED, reason));
        }
        let namespace = namespace(headers);
        if self.namespaces.is_empty() || self.namespaces.iter().any(|it| it == namespace) {
            return Ok(());
        }
        let reason = format!("no key for the namespace `{namespace}`");
        Err(Refusal(StatusCode::FORBIDDEN, reason))
    }
}

/// Whether the headers have this token. The comparison takes constant time, or attackers could find the
/// token byte by byte.
fn brings(headers: &HeaderMap, token: &str) -> bool {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked("Bearer ".len()))
        .is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && given.ct_eq(token.as_bytes()).into()
        })
}

fn namespace(headers: &HeaderMap) -> &str {
    let value = headers.get(NAMESPACE).map(HeaderValue::to_str);
    value.and_then(Result::ok).unwrap_or_default()
}

/// Logs a line for each request, without its contents.
async fn log(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let span = info_span!(
        "request",
        method = %request.method(),
        // Without the query string, which may have contents.
        path = request.uri().path(),
        namespace = namespace(request.headers()),
        bytes = Empty,
        payloads = Empty,
    );
    async {
        let response = next.run(request).await;
        let (status, took) = (response.status().as_u16(), begun.elapsed());
        tracing::info!(status, ?took, "answered");
        response
    }
    .instrument(span)
    .await
}
