//! What both test binaries need.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The patterns, by their folders; one that is only begun has no README yet.
pub fn patterns() -> anyhow::Result<Vec<String>> {
    let mut patterns = Vec::new();
    for entry in std::fs::read_dir(root().join("samples"))? {
        let entry = entry?;
        if entry.path().join("README.md").is_file() {
            patterns.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    patterns.sort();
    anyhow::ensure!(!patterns.is_empty(), "there are no samples");
    Ok(patterns)
}

/// A command as a user's shell runs it, without what cargo and make set for their children.
pub fn outside(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let set = ["CARGO", "MAKE", "MFLAGS", "RUST_LOG", "TEMPORAL_"];
        let kept = ["CARGO_HOME", "CARGO_TARGET_DIR", "TEMPORAL_CLI"];
        if set.iter().any(|set| name.starts_with(set)) && !kept.contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

/// As `make new` does, but from the binary at hand.
pub fn new_project(from: &str, name: &str, dir: &Path) -> std::io::Result<Output> {
    outside(env!("CARGO_BIN_EXE_new-project"), &root())
        .env("FROM", from)
        .env("NAME", name)
        .env("DIR", dir)
        .output()
}
