//! The codec server: the Web UI and the Temporal CLI have no key, and ask it to decrypt for them.
//!
//! Both send `Payloads` as JSON to `…/decode` and show what comes back; with `…/encode` the UI
//! encrypts the input of what it starts.

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

/// Says for which namespace a request is.
const NAMESPACE: HeaderName = HeaderName::from_static("x-namespace");

/// Who may ask, for what, and for how much.
#[derive(Clone, Debug)]
pub struct Access {
    /// Origins of the pages that may read the answers, each as `https://ui.example.com`.
    pub origins: Vec<HeaderValue>,
    /// The namespaces that these keys are for; none for all.
    pub namespaces: Vec<String>,
    /// What requests must bring as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// How many bytes a request may have.
    pub max_bytes: usize,
}

/// Answers `POST …/encode` and `POST …/decode`, whatever comes before: UIs and proxies put the
/// namespace there.
pub fn router(codec: EncryptionCodec, access: Access) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(access.origins.clone())
        .allow_methods([Method::POST, Method::OPTIONS])
        .allow_headers([CONTENT_TYPE, NAMESPACE, AUTHORIZATION])
        // For a page of a public address that asks the reader's own machine.
        .allow_private_network(true);
    let limit = DefaultBodyLimit::max(access.max_bytes);
    // The last layer is the outermost: all is logged, and a refusal has CORS headers too, or the
    // page could not tell its reader what is wrong.
    Router::new()
        .route("/{*path}", post(convert))
        .with_state(codec)
        .layer(limit)
        .layer(from_fn_with_state(Arc::new(access), authorize))
        .layer(cors)
        .layer(from_fn(log))
}

/// What is refused: the status, and why, in a line without contents.
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
        // Not in serde's own words, which quote what they do not like.
        let reason = "the body is no `Payloads` in JSON".to_owned();
        Refusal(StatusCode::BAD_REQUEST, reason)
    })?;
    Span::current().record("payloads", payloads.len());
    let payloads: Result<_, _> = payloads.into_iter().map(convert).collect();
    Ok(Json(Payloads {
        payloads: payloads?,
    }))
}

/// Reads Proto3-JSON. The SDK's own reader takes no `null` and no field that it does not know, as a
/// newer server's may be; both are left out.
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

/// Lets through who has the token and asks for a namespace that there is a key for.
async fn authorize(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

impl Access {
    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.token.as_ref().is_some_and(|it| !brings(headers, it)) {
            let reason = "this codec server asks for its token".to_owned();
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

/// Whether the headers bring this token. The comparison takes as long for a wrong one as for the
/// right one: else a token could be found byte by byte.
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

/// A line for each request, without what is in it.
async fn log(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let span = info_span!(
        "request",
        method = %request.method(),
        // Without the query, which is nobody's business here.
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
