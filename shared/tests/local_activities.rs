//! Local activities in the samples keep clear of a fault in the SDK.

#![allow(clippy::disallowed_methods, reason = "no workflow code in here")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The Rust files of all samples that a worker is built from.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// A start-to-close timeout comes with `timer_backoff_threshold(Duration::ZERO)`. Otherwise the timer
/// of a failed attempt can cancel the next one, as a test of `local-activity` shows.
#[test]
fn timeouts_cancel_no_later_attempt() -> anyhow::Result<()> {
    let mut files = Vec::new();
    for sample in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../samples"))? {
        let folder = sample?.path().join("src");
        if folder.is_dir() {
            sources(&folder, &mut files)?;
        }
    }
    let mut options = 0;
    for file in files {
        let text = fs::read_to_string(&file)?;
        for chain in text.split("LocalActivityOptions::builder()").skip(1) {
            let chain = chain.split(".build()").next().unwrap_or_default();
            let starts = chain.contains(".start_to_close_timeout(");
            assert!(
                !starts || chain.contains(".timer_backoff_threshold(Duration::ZERO)"),
                "{}: `start_to_close_timeout` of a local activity without \
                 `timer_backoff_threshold(Duration::ZERO)`",
                file.display()
            );
            options += 1;
        }
    }
    assert!(options > 0, "no sample has a local activity");
    Ok(())
}
