//! Helpers that several of these modules share.

use anyhow::Context;
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A folder's name with the characters that a shell, make, JSON or a URL could misread.
pub const FOLDER: &str = r#"my it's "a" $HOME #1? é"#;

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the names of the sample folders. A sample without a README is not complete, and is left out.
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

/// Returns a command as a user's shell runs it, without the variables that cargo and make set for child processes.
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

/// Returns the path of the Temporal CLI. Found only once, because each project would download its own.
pub fn temporal_cli() -> anyhow::Result<String> {
    let cli = outside("shared/scripts/temporal-cli", &root()).output()?;
    anyhow::ensure!(cli.status.success(), "{}", String::from_utf8(cli.stderr)?);
    Ok(String::from_utf8(cli.stdout)?.trim().to_owned())
}

/// Returns a free address for the project's server. The ports for its Web UI and its metrics, a thousand and two thousand
/// above, are free, too. All are below the ports of the repository's tests, which run beside these.
pub fn free_address() -> anyhow::Result<String> {
    let free = |port: &u16| {
        let bind = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        bind(*port) && bind(port + 1000) && bind(port + 2000)
    };
    let port = (10_000..18_000).rev().step_by(7).find(free);
    Ok(format!("localhost:{}", port.context("no free port")?))
}

/// Does the same as `make new`, but with the binary that is already built.
pub fn new_project(from: &str, name: &str, dir: &Path) -> std::io::Result<Output> {
    outside(env!("CARGO_BIN_EXE_new-project"), &root())
        .env("FROM", from)
        .env("NAME", name)
        .env("DIR", dir)
        .output()
}
