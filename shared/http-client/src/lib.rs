//! An HTTP client whose TLS settings do not conflict with the SDK's, and the failure of its requests.

#![warn(missing_docs)]

use anyhow::{Context, anyhow};
use reqwest::{Client, Error, Url};
use shared::TOO_LARGE;
use std::time::Duration;
use temporalio_sdk::ApplicationFailure;

/// Maximum length of a URL in bytes, which is the limit of the `http` crate.
const MAX_URL: usize = u16::MAX as usize - 1;

/// Returns an HTTP client for `service` with a time limit for each request. By default reqwest has no limit.
///
/// The client uses no proxy, even if the environment names one, because a 503 of the proxy would look like "not
/// yet".
///
/// # Errors
/// If the URL needs TLS, and TLS cannot be set up, for example because the machine has no CA certificates.
pub fn http_client(service: &Url, timeout: Duration) -> anyhow::Result<Client> {
    // With the features used here, reqwest panics if no provider is installed. An error means that one is already
    // installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder().timeout(timeout).no_proxy();
    if service.scheme() == "http" {
        // Otherwise the client would load CA certificates although it needs none, and small containers have none.
        client = client.tls_certs_only([]);
    }
    client.build().context("cannot set up the HTTP client")
}

/// Returns the failure of an activity whose request to `service` got no answer.
///
/// It is retryable, unless the request was never sent because its URL is too long. The message leaves out the query,
/// because the query can contain any data.
pub fn no_answer(service: &Url, error: Error) -> ApplicationFailure {
    let size = error.url().map_or(0, |url| url.as_str().len());
    let too_long = error.is_builder() && size > MAX_URL;
    let reason = if too_long {
        anyhow!("cannot ask {service}: the URL has {size} bytes, more than the limit of {MAX_URL}")
    } else {
        anyhow!(error.without_url()).context(format!("{service} does not answer"))
    };
    ApplicationFailure::builder(reason)
        .maybe_type_name(too_long.then(|| TOO_LARGE.to_owned()))
        .non_retryable(too_long)
        .build()
}
