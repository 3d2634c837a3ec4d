//! Commands as the user's shell runs them, from the top of the repository.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a helper of several test binaries, each of which may panic and uses a part of it"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};
use tokio::signal::unix::{SignalKind, signal};

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A command without what cargo and make set for their own children. Build scripts watch cargo's
/// variables, and another cargo would build the SDK anew. Ctrl-C ends it unless it decides otherwise.
pub fn outside(program: &str) -> Command {
    catch_interrupts();
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours = ["CARGO", "MAKE", "MFLAGS", "OUT_DIR", "RUST_", "TEMPORAL_"];
        let theirs = [
            "CARGO_HOME",
            "CARGO_INCREMENTAL",
            "CARGO_TARGET_DIR",
            "TEMPORAL_CLI",
        ];
        if ours.iter().any(|ours| name.starts_with(ours)) && !theirs.contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

/// Lets Ctrl-C reach the programs that this process starts, even if this process was started to ignore it,
/// as a shell starts jobs in the background. A program inherits an ignored signal, and a shell cannot
/// trap one; but a signal with a handler goes back to its default in every program that is started.
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
