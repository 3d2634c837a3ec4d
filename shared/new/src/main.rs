//! `make new`, which creates a project from a sample, and, with the argument `sample`, `make new-sample`, which
//! creates the skeleton of another sample.
//!
//! Reads `FROM`, `NAME` and `DIR` from the environment, in which make passes them. It is a crate of its own, so that
//! it does not wait for a build of the SDK.

mod files;
mod manifest;
mod names;
mod project;
mod readme;
mod request;
mod sample;

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
    if std::env::args().nth(1).as_deref() == Some("sample") {
        let dir = request::sample_dir(&root, &name, &dir)?;
        return sample::create(&root, &name, &dir);
    }
    let request = request::Request::check(&root, &from, &name, &dir)?;
    project::create(&root, &request)?;
    eprintln!("created  {dir}");
    eprintln!("next     cd {} && make test && make run", quoted(&dir));
    Ok(())
}

/// Returns the path, quoted for a shell if necessary.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%".contains(c);
    match path.chars().all(plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}
