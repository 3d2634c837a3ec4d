//! Lists and reads the files of a sample or a crate.

use anyhow::Context;
use std::{
    fs,
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// Returns the files in a folder and below, sorted, without hidden files.
pub fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(['.', '_']);
    let mut files = Vec::new();
    for entry in WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name()))
    {
        let entry = entry?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// Reads a text file. The error names the file.
pub fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
