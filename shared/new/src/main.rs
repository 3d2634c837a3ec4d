//! `make new`: a sample as a project of its own.
//!
//! Reads `FROM`, `NAME` and `DIR` from the environment, as make hands them on. A crate apart from
//! `shared`, so that it does not wait for the SDK to be built.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "no workflow code in here"
)]

mod features;
mod manifest;
mod names;
mod project;
mod readme;
mod request;

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()?;
    let variable = |name| std::env::var(name).unwrap_or_default();
    let (from, name, dir) = (variable("FROM"), variable("NAME"), variable("DIR"));
    let request = request::Request::check(&root, &from, &name, &dir)?;
    project::create(&root, &request)?;
    eprintln!("created  {dir}");
    eprintln!("next     cd {} && make test && make run", quoted(&dir));
    Ok(())
}

/// As a shell needs it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%".contains(c);
    match path.chars().all(plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}
