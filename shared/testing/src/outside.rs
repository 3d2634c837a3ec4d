//! Runs commands as a user's shell runs them, and builds binaries.

#![allow(clippy::expect_used, reason = "a test may panic, its helpers too")]

use super::root;
use anyhow::{Context, ensure};
use std::{path::PathBuf, process::Command, sync::Once};
use tokio::signal::unix::{SignalKind, signal};

/// Returns a command without the variables that cargo and make set for their child processes. Build scripts depend
/// on cargo's variables, so another cargo would build the SDK again. Ctrl-C stops the command unless the command
/// handles it.
pub fn outside(program: &str) -> Command {
    catch_interrupts();
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let theirs = ["CARGO", "MAKE", "MFLAGS", "OUT_DIR", "RUST_", "TEMPORAL_"];
        let kept = [
            "CARGO_HOME",
            "CARGO_INCREMENTAL",
            "CARGO_TARGET_DIR",
            "TEMPORAL_CLI",
        ];
        if theirs.iter().any(|theirs| name.starts_with(theirs)) && !kept.contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

/// Builds the binaries of the workspace, unless they are up to date, and returns their folder. `make test`
/// has just built them, and names the folder in `TEST_BINARIES`.
///
/// # Errors
/// If a binary does not build.
pub fn binaries() -> anyhow::Result<PathBuf> {
    build(&["--bins"])
}

/// As [`binaries`], but builds only those with these names.
///
/// # Errors
/// As [`binaries`].
pub fn binaries_of(names: &[&str]) -> anyhow::Result<PathBuf> {
    let options = names.iter().flat_map(|name| ["--bin", name]);
    build(&Vec::from_iter(options))
}

fn build(which: &[&str]) -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TEST_BINARIES").filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let mut build = outside("cargo");
    build.args(["build", "--workspace", "--quiet"]).args(which);
    let status = build.current_dir(root()).status();
    let status = status.context("cannot run cargo")?;
    ensure!(status.success(), "the binaries do not build");
    // Test binaries are in `deps`, and the binaries in the folder above.
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent());
    Ok(folder.context("a test in no folder")?.to_owned())
}

/// Makes Ctrl-C stop the programs that this process starts, even if this process itself ignores it, like a
/// background job of a shell. A program inherits an ignored signal, and a shell cannot trap it. But a signal with a
/// handler has its default action in every program that is started.
fn catch_interrupts() {
    static CAUGHT: Once = Once::new();
    CAUGHT.call_once(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        let mut interrupt = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt()).expect("a handler for Ctrl-C")
        };
        std::thread::spawn(move || {
            runtime.block_on(interrupt.recv());
            std::process::exit(130);
        });
    });
}
