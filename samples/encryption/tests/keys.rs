//! What the binaries make of keys and tokens as they come from files and variables.

#![allow(clippy::disallowed_methods, reason = "no workflow code in here")]

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
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

const STARTER: &str = env!("CARGO_BIN_EXE_encryption-starter");
const WORKER: &str = env!("CARGO_BIN_EXE_encryption-worker");
const CODEC_SERVER: &str = env!("CARGO_BIN_EXE_encryption-codec-server");

/// A binary with these variables and none of the caller's.
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

/// A mistake in the keys ends every program at once, with the variable's name, before it has
/// connected to anything or listens anywhere.
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

/// White space and a byte-order mark around the codec server's token are no part of it.
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

/// A token that no request could bring is refused, without a word of it.
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
            "Error: the token of CODEC_SERVER_TOKEN or --auth-token-file has a control character in it\n"
        )
    );
    Ok(())
}
