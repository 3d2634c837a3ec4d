//! The repository as its users meet it: commands of the READMEs, scripts, compose files.

#![cfg(unix)]

mod compose;
mod one_build;
mod process1;
mod readmes;
mod scripts;
mod sdk_texts;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The copy of the repository in which `scripts` runs `make`: two runs of one sample at once would write to
/// one log.
static CHECKOUT: Mutex<()> = Mutex::new(());

/// The port of the mtls gateway, ten above that of the test server.
static GATEWAY: Mutex<()> = Mutex::new(());

/// Keeps what is behind the mutex to one test at a time.
fn alone(what: &'static Mutex<()>) -> MutexGuard<'static, ()> {
    // A test that failed leaves nothing behind that the next one needs.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
