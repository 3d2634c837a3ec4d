//! The real binaries behind real TLS: what connects, what is refused and in which words, how a
//! certificate is replaced.

#![cfg(unix)]
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "no workflow code in here"
)]

mod bouncer;
mod certs;
mod connects;
mod errors;
mod nginx;
mod pki;
mod rotation;
mod settings;
