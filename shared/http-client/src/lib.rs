//! An HTTP client whose TLS does not contradict the SDK's, and the failure of its requests.

#![warn(missing_docs)]

use anyhow::{Context, anyhow};
use reqwest::{Client, Error, Url};
use shared::TOO_LARGE;
use std::time::Duration;
use temporalio_sdk::ApplicationFailure;

/// Maximum length of a URL, in bytes. It is that of the `http` crate.
const MAX_URL: usize = u16::MAX as usize - 1;

/// An HTTP client for `service`, with a limit on each request: reqwest has none of its own.
///
/// It goes by no proxy, whatever the environment says: a proxy's 503 would be taken for "not yet".
///
/// # Errors
/// If TLS is needed and cannot be set up, as on a machine without CA certificates.
pub fn http_client(service: &Url, timeout: Duration) -> anyhow::Result<Client> {
    // reqwest as it is compiled here panics when there is no provider. An error means that there
    // is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder().timeout(timeout).no_proxy();
    if service.scheme() == "http" {
        // Or it would look for CA certificates all the same, and small containers have none.
        client = client.tls_certs_only([]);
    }
    client.build().context("cannot set up the HTTP client")
}

/// The failure of an activity that asked `service` and got no answer.
///
/// It is retryable, unless the request was never sent because its URL is too long. The URL is not
/// part of the message, because its query can hold anything.
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
