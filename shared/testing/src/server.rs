//! Finds the test server, or starts a server that stops with this process.

use anyhow::{Context, bail};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// The server stops when its standard input closes, which happens when this process ends in any way.
static SERVER: OnceLock<Result<(String, Option<Child>), String>> = OnceLock::new();

/// Returns the top folder, which contains `shared` and `.temporal`.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns the `host:port` of the test server: `TEMPORAL_TEST_ADDRESS`, or a server that this process starts.
///
/// # Errors
/// If the Temporal CLI can neither be found nor downloaded, or the server does not start.
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
