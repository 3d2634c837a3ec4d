//! Tests `make new-sample`, which creates the skeleton of a sample.

use crate::common::{outside, root};
use anyhow::{Context, ensure};
use std::{path::Path, process::Output};
use walkdir::WalkDir;

/// Does the same as `make new-sample`, but with the binary that is already built, and into `dir`.
fn new_sample(name: &str, dir: &Path) -> std::io::Result<Output> {
    outside(env!("CARGO_BIN_EXE_new-project"), &root())
        .arg("sample")
        .env("NAME", name)
        .env("DIR", dir)
        .output()
}

/// A skeleton has every file of a sample, under its own name.
#[test]
fn a_skeleton_is_a_sample() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("zed-two");
    let made = new_sample("zed-two", &dir)?;
    let said = String::from_utf8(made.stderr)?;
    ensure!(made.status.success(), "{said}");
    let mut files = Vec::new();
    for entry in WalkDir::new(&dir).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            let text = std::fs::read_to_string(entry.path())?;
            let path = entry.path().strip_prefix(&dir)?;
            let path = path.to_str().context("UTF-8")?.to_owned();
            // The word in the greeting may stay.
            let left = text.lines().find(|line| {
                line.contains("hello") || line.contains("HelloW") || line.contains("HelloA")
            });
            ensure!(left.is_none(), "{path} has {left:?}");
            files.push(path);
        }
    }
    assert_eq!(
        files,
        [
            "Cargo.toml",
            "README.md",
            "src/activities.rs",
            "src/bin/starter.rs",
            "src/bin/worker.rs",
            "src/lib.rs",
            "src/workflows.rs",
            "tests/histories/ZedTwoWorkflow.json",
            "tests/load.json",
            "tests/main.rs",
            "tests/replay.rs",
            "tests/workflow.rs",
        ]
    );
    let lib = std::fs::read_to_string(dir.join("src/lib.rs"))?;
    ensure!(lib.matches("include_str!").count() == 1, "{lib}");
    let modules = std::fs::read_to_string(dir.join("tests/main.rs"))?;
    ensure!(
        modules.ends_with("\n\npub mod replay;\npub mod workflow;\n"),
        "{modules}"
    );
    Ok(())
}

/// Without a name, with a name that a pattern cannot have, or with the name of an existing sample, it fails with one line
/// and writes nothing.
#[test]
fn a_skeleton_says_why_it_cannot_be_made() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let there = folder.path().join("there");
    std::fs::create_dir(&there)?;
    let new = folder.path().join("new");
    for (name, dir, why) in [
        ("", &new, "usage: make new-sample NAME=<pattern>"),
        ("Zed", &new, "NAME cannot be `Zed`"),
        ("zed_two", &new, "NAME cannot be `zed_two`"),
        ("tokio", &new, "a dependency has that name"),
        ("zed-two", &there, "is there already"),
    ] {
        let refused = new_sample(name, dir)?;
        let said = String::from_utf8(refused.stderr)?;
        ensure!(!refused.status.success(), "{name} was made");
        ensure!(said.starts_with("Error: ") && said.contains(why), "{said}");
        ensure!(said.lines().count() == 1, "{said}");
        ensure!(!new.exists(), "something was written for {name}");
    }
    Ok(())
}
