//! Runs the real binaries with real TLS: which settings connect, which are refused with which message, and
//! how a certificate is replaced.

#![cfg(unix)]

mod certs;
mod connects;
mod errors;
mod nginx;
mod pki;
mod rejecting_server;
mod rotation;
mod settings;
