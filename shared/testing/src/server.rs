//! Finds the test server, or starts one that ends with this process.

use anyhow::{Context, bail};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// The child's standard input is the leash: the server ends when it closes, and it closes with
/// this process, however that ends.
static SERVER: OnceLock<Result<(String, Option<Child>), String>> = OnceLock::new();

/// The folder that `shared` is in, with `.temporal` beside it.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// `host:port` of the test server: `TEMPORAL_TEST_ADDRESS`, or a server of this process's own.
///
/// # Errors
/// If the Temporal CLI can neither be found nor fetched, or the server does not start.
pub fn address() -> anyhow::Result<&'static str> {
    let server = SERVER.get_or_init(|| match std::env::var("TEMPORAL_TEST_ADDRESS") {
        Ok(address) if !address.is_empty() => Ok((address, None)),
        _ => start().map_err(|error| format!("{error:#}")),
    });
    match server {
        Ok((address, _)) => Ok(address),
        Err(error) => bail!("cannot start a test server: {error}"),
    }
}

fn start() -> anyhow::Result<(String, Option<Child>)> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/server");
    let mut child = Command::new(script)
        .args([
            "exec",
            "sh",
            "-c",
            "echo $TEMPORAL_TEST_ADDRESS; cat >/dev/null",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {script}"))?;
    let stdout = child.stdout.take().context("no stdout")?;
    let mut address = String::new();
    BufReader::new(stdout).read_line(&mut address)?;
    if address.is_empty() {
        bail!("{script} ended: {}", child.wait()?);
    }
    Ok((address.trim().to_owned(), Some(child)))
}
