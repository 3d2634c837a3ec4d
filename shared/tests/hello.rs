//! The binaries of the sample hello, which stand for the binaries of all samples.

#![cfg(unix)]

use std::{path::PathBuf, sync::LazyLock};
use testing::binaries_of;

/// Folder of the binaries, which are built once.
static FOLDER: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    binaries_of(&["hello-starter", "hello-worker"]).map_err(|error| format!("{error:#}"))
});

/// Returns the path of the binary with this name.
///
/// # Errors
/// If the binary does not build.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let folder = FOLDER.as_ref().map_err(|error| anyhow::anyhow!("{error}"));
    Ok(folder?.join(name))
}
