//! The repository as its users meet it: commands of the READMEs, scripts, compose files.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "no workflow code in here")]

mod compose;
mod one_build;
mod process1;
mod readmes;
mod scripts;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Two runs of one sample at once would write to one log, and the tests choose free ports.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed leaves nothing behind that the next one needs.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
