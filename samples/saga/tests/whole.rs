//! Checks in the ledger that a saga is whole: every step done once, or every step undone once.

use anyhow::ensure;
use saga::ledger::{Entry, Ledger};
use std::collections::BTreeSet;
use tempfile::TempDir;

/// The steps of `OpenAccountWorkflow`.
pub const ACCOUNT: [&str; 4] = [
    "create_account",
    "add_address",
    "add_client",
    "add_bank_account",
];

/// Their compensations, in reverse order.
pub const UNDO_ACCOUNT: [&str; 4] = [
    "disconnect_bank_accounts",
    "remove_client",
    "clear_postal_addresses",
    "close_account",
];

/// The steps of `InterBankPaymentWorkflow`.
pub const PAYMENT: [&str; 3] = ["reserve_and_block", "submit_to_switch", "debit_and_settle"];

/// The compensations of its first two steps, in reverse order.
pub const UNDO_PAYMENT: [&str; 2] = ["cancel_with_switch", "unblock_and_cancel"];

/// A new ledger, and the directory that it is in.
pub fn new_ledger() -> anyhow::Result<(TempDir, Ledger)> {
    let directory = tempfile::tempdir()?;
    let ledger = Ledger::open(&directory.path().join("ledger.db"))?;
    Ok((directory, ledger))
}

/// The names of the entries.
pub fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.what.as_str()).collect()
}

/// Returns whether all these steps were done, rather than all undone.
///
/// # Errors
/// If the saga is neither, or if something happened twice.
pub fn is_done(entries: &[Entry], steps: &[&str]) -> anyhow::Result<bool> {
    let once: BTreeSet<&str> = names(entries).into_iter().collect();
    ensure!(once.len() == entries.len(), "done twice: {entries:?}");
    let (undone, done): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.undoes.is_some());
    if undone.is_empty() && !done.is_empty() {
        let done: Vec<&str> = done.iter().map(|entry| entry.what.as_str()).collect();
        ensure!(done == steps, "neither done nor undone: {entries:?}");
        return Ok(true);
    }
    for (at, step) in entries.iter().enumerate() {
        let later = &entries[at + 1..];
        let is_undone = later
            .iter()
            .any(|entry| entry.undoes.as_ref() == Some(&step.key));
        ensure!(
            step.undoes.is_some() || is_undone,
            "{} is not undone: {entries:?}",
            step.what
        );
    }
    Ok(false)
}
