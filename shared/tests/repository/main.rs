//! Tests the repository as its users see it: commands in the READMEs, scripts, compose files.

#![cfg(unix)]

mod compose;
mod one_build;
mod process1;
mod readmes;
mod scripts;
mod sdk_texts;

use anyhow::ensure;
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};
use testing::{outside, root};

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

/// Returns the path of the Temporal CLI.
fn temporal_cli() -> anyhow::Result<PathBuf> {
    let found = outside("shared/scripts/temporal-cli")
        .current_dir(root())
        .output()?;
    ensure!(found.status.success(), "{found:?}");
    Ok(PathBuf::from(String::from_utf8(found.stdout)?.trim()))
}
