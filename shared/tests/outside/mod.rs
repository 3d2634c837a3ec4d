//! Commands as the user's shell runs them, from the top of the repository.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A command without what cargo and make set for their own children. Build scripts watch cargo's
/// variables, and another cargo would build the SDK anew.
pub fn outside(program: &str) -> Command {
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
