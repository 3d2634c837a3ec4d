//! Runs the binaries with keys and tokens from files and variables.

use anyhow::{Context, ensure};
use axum::http::header::AUTHORIZATION;
use http_client::http_client;
use serde_json::json;
use std::{
    io::ErrorKind,
    net::TcpListener,
    process::{Output, Stdio},
    time::Duration,
};
use temporalio_client::Url;
use testing::address;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

const STARTER: &str = env!("CARGO_BIN_EXE_encryption-starter");
const WORKER: &str = env!("CARGO_BIN_EXE_encryption-worker");
const CODEC_SERVER: &str = env!("CARGO_BIN_EXE_encryption-codec-server");

/// Returns the command for a binary, with these variables and none of the caller's.
fn binary(path: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A mistake in the keys ends every program at once, before it connects or listens. The error names the variable.
#[tokio::test]
async fn keys_are_read_before_connecting() -> anyhow::Result<()> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    server.set_nonblocking(true)?;
    let address = server.local_addr()?.to_string();
    let variables = [
        ("TEMPORAL_ADDRESS", &*address),
        ("TEMPORAL_ENCRYPTION_KEY", "hush!"),
        ("TEMPORAL_ENCRYPTION_KEY_ID", "mine"),
    ];
    for path in [STARTER, WORKER, CODEC_SERVER] {
        let mut command = binary(path, &variables);
        if path == CODEC_SERVER {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let output = tokio::time::timeout(Duration::from_secs(30), command.output()).await??;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{path}: {said}");
        let expected = "Error: TEMPORAL_ENCRYPTION_KEY: a key is not base64\n";
        assert_eq!(said, expected, "{path}");
        assert!(output.stdout.is_empty(), "{path}");
        let connected = server.accept();
        assert!(
            matches!(&connected, Err(error) if error.kind() == ErrorKind::WouldBlock),
            "{path} has connected: {connected:?}"
        );
    }
    Ok(())
}

/// Runs a program until it ends or prints a line to stdout. Returns its exit code and its stderr.
async fn said(mut command: Command) -> anyhow::Result<(Option<i32>, String)> {
    let mut program = command.spawn()?;
    let stdout = program.stdout.take().context("no stdout")?;
    let mut lines = BufReader::new(stdout).lines();
    if tokio::time::timeout(Duration::from_secs(30), lines.next_line())
        .await??
        .is_some()
    {
        program.kill().await?;
    }
    let output = program.wait_with_output().await?;
    Ok((output.status.code(), stderr(&output)))
}

/// The published key encrypts only on this machine. Worker and starter refuse it for a server at another address,
/// before they connect. The codec server refuses it for clients or pages on other machines. All programs accept it
/// with `--insecure-development-key`, and accept any other key without that flag.
#[tokio::test]
async fn the_published_key_stays_on_this_machine() -> anyhow::Result<()> {
    // The test server, at an address that is not a loopback address.
    let port = address()?.rsplit(':').next().context("a port")?;
    let elsewhere = format!("0.0.0.0:{port}");
    let own_key = [
        (
            "TEMPORAL_ENCRYPTION_KEY",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        ("TEMPORAL_ENCRYPTION_KEY_ID", "mine"),
    ];
    let accept = "--insecure-development-key";
    let no_workflow = ["--address", &*elsewhere, "--read", "no-such-workflow"];
    let no_namespace = ["--address", &*elsewhere, "--namespace", "no-such-namespace"];
    let clients = ["--listen", "0.0.0.0:0"];
    let pages = [
        "--listen",
        "127.0.0.1:0",
        "--allow-origin",
        "https://ui.example.com",
    ];
    let cases: [(&str, &[&str], &str, &str); 4] = [
        (STARTER, &no_workflow, &elsewhere, "workflow not found"),
        (
            WORKER,
            &no_namespace,
            &elsewhere,
            "Namespace no-such-namespace is not found",
        ),
        (
            CODEC_SERVER,
            &clients,
            "a client of 0.0.0.0:0 (--listen)",
            "",
        ),
        (
            CODEC_SERVER,
            &pages,
            "https://ui.example.com (--allow-origin)",
            "",
        ),
    ];
    for (path, args, remote, later) in cases {
        let token = ("CODEC_SERVER_TOKEN", "hush");
        let program = |variables: &[(&str, &str)], more: &[&str]| {
            let mut command = binary(path, &[&[token], variables].concat());
            command.args(args).args(more);
            said(command)
        };
        let refused = program(&[], &[]).await?;
        let expected = format!(
            "Error: {remote} is not on this machine, and the published development key keeps nothing \
             secret: set TEMPORAL_ENCRYPTION_KEY_FILE or --key-file, or accept that key with \
             --insecure-development-key\n"
        );
        assert_eq!(refused, (Some(1), expected), "{path}");
        for accepted in [program(&[], &[accept]), program(&own_key, &[])] {
            let (_, said) = accepted.await?;
            ensure!(
                !said.contains("is not on this machine") && said.contains(later),
                "{path}: {said}"
            );
        }
    }
    Ok(())
}

/// White space and a byte-order mark around the codec server's token are ignored.
#[tokio::test]
async fn the_token_is_trimmed() -> anyhow::Result<()> {
    for token in ["hush", "hush\n", "\u{feff}hush\r\n"] {
        let mut server = binary(CODEC_SERVER, &[("CODEC_SERVER_TOKEN", token)])
            .args(["--listen", "127.0.0.1:0"])
            .spawn()?;
        let stdout = server.stdout.take().context("no stdout")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let url = Url::parse(&line.context("it ended")?)?;
        let response = http_client(&url, Duration::from_secs(5))?
            .post(url.join("/encode")?)
            .header(AUTHORIZATION, "Bearer hush")
            .body(json!({ "payloads": [] }).to_string())
            .send()
            .await?;
        ensure!(
            response.status() == 200,
            "{token:?}: {}",
            response.text().await?
        );
        server.kill().await?;
    }
    Ok(())
}

/// A token that no request could have is refused, and the error does not quote it.
#[tokio::test]
async fn refuses_a_token_of_two_lines() -> anyhow::Result<()> {
    let output = binary(CODEC_SERVER, &[("CODEC_SERVER_TOKEN", "hush\nhush")])
        .args(["--listen", "127.0.0.1:0"])
        .output();
    let output = tokio::time::timeout(Duration::from_secs(30), output).await??;
    assert_eq!(
        (output.status.code(), &*stderr(&output)),
        (
            Some(1),
            "Error: the token of CODEC_SERVER_TOKEN or --auth-token-file contains a control character\n"
        )
    );
    Ok(())
}
