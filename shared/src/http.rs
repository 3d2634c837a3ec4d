//! An HTTP client whose TLS does not contradict the SDK's.

use anyhow::Context;
use reqwest::{Client, Url};
use std::time::Duration;

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
