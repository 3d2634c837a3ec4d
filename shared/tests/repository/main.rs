//! Tests the repository as its users see it: commands in the READMEs, scripts, compose files.

#![cfg(unix)]

mod compose;
mod one_build;
mod process1;
mod readmes;
mod scripts;
mod sdk_texts;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Guards the copy of the repository in which `scripts` runs `make`, because two runs of a sample would write to the
/// same log.
static CHECKOUT: Mutex<()> = Mutex::new(());

/// Guards the port of the mtls gateway, which is the test server's plus ten.
static GATEWAY: Mutex<()> = Mutex::new(());

/// Waits until no other test holds the mutex.
fn alone(what: &'static Mutex<()>) -> MutexGuard<'static, ()> {
    // After a failed test, the next test does not depend on its state.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
