//! The messages and the exit status of a worker and a starter if something is wrong, or if they are stopped. The
//! programs of hello stand for all.

#![cfg(unix)]

use crate::hello;
use anyhow::{Context, ensure};
use std::{
    net::TcpListener,
    process::{Output, Stdio},
    time::Duration,
};
use testing::{TestEnv, address, outside};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpSocket, TcpStream},
    process::Command,
    time::timeout,
};

const STARTER: &str = "hello-starter";
const WORKER: &str = "hello-worker";

/// Long enough for the 8 s that a connection may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Returns a command for a binary, without the `TEMPORAL_*` variables of the environment.
fn command(name: &str) -> anyhow::Result<Command> {
    let binary = hello::binary(name)?;
    let mut command = Command::from(outside(&binary.to_string_lossy()));
    command.kill_on_drop(true);
    Ok(command)
}

/// Runs a command. Fails if it takes too long.
async fn run(mut command: Command) -> anyhow::Result<Output> {
    let output = timeout(WITHIN, command.output()).await;
    Ok(output.with_context(|| format!("{command:?} is still running after {WITHIN:?}"))??)
}

/// Runs a starter, which must fail, and returns its only line on stderr.
async fn error(variables: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut starter = command(STARTER)?;
    starter.envs(variables.iter().copied());
    let output = run(starter).await?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(1),
        "{}: {stderr}",
        output.status
    );
    ensure!(stderr.lines().count() == 1, "{stderr}");
    ensure!(output.stdout.is_empty(), "something on stdout");
    Ok(stderr.trim_end().to_owned())
}

/// Nothing listens at the address. The error names the address, what was tried, what to do, and the names of variables,
/// but never their values.
#[tokio::test]
async fn nothing_listens() -> anyhow::Result<()> {
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let error = error(&[("TEMPORAL_ADDRESS", &free), ("TEMPORAL_NAMESPACE", "hush")]).await?;
    let expected = format!(
        "Error: cannot connect to Temporal at {free} (TLS off): Connection refused (os error 111); \
         start a server with `make server`, or say where one is with TEMPORAL_ADDRESS; \
         set now: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE"
    );
    // The number of the error depends on the operating system.
    assert_eq!(error.replace("(os error 61)", "(os error 111)"), expected);
    Ok(())
}

/// A host drops packets. Here it is a socket with a full backlog, which does not answer any more.
#[tokio::test]
async fn a_host_drops_packets() -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    let listener = socket.listen(0)?;
    let address = listener.local_addr()?;
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        queued.push(stream?);
    }
    let error = error(&[("TEMPORAL_ADDRESS", &address.to_string())]).await?;
    let expected =
        format!("cannot connect to Temporal at {address} (TLS off): no answer within 8 s;");
    assert!(error.contains(&expected), "{error}");
    Ok(())
}

/// A peer accepts the connection and sends nothing, without TLS and with TLS.
#[tokio::test]
async fn a_peer_sends_nothing() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let plain = [("TEMPORAL_ADDRESS", &*address)];
    let tls = [("TEMPORAL_ADDRESS", &*address), ("TEMPORAL_TLS", "true")];
    let (plain, tls) = tokio::try_join!(error(&plain), error(&tls))?;
    assert!(
        plain.contains("(TLS off): no answer within 8 s;"),
        "{plain}"
    );
    assert!(tls.contains("(TLS on): no answer within 8 s;"), "{tls}");
    Ok(())
}

/// Settings that contradict each other, or that would be silently ignored, are refused. The error names them.
#[tokio::test]
async fn refused_settings() -> anyhow::Result<()> {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("TEMPORAL_TLS_CLIENT_CERT_DATA", "hush")],
            "a client certificate is set without its key: set TEMPORAL_TLS_CLIENT_KEY_PATH, \
             --tls-key-path or client_key_path",
        ),
        (
            &[("TEMPORAL_TLS_CLIENT_KEY_DATA", "hush")],
            "a client key is set without its certificate: set TEMPORAL_TLS_CLIENT_CERT_PATH, \
             --tls-cert-path or client_cert_path",
        ),
        (
            &[("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "no-such.pem")],
            "cannot read the server CA certificate no-such.pem: No such file or directory",
        ),
        (
            &[
                ("TEMPORAL_ADDRESS", "http://temporal.invalid:7233"),
                ("TEMPORAL_TLS", "true"),
            ],
            "TLS is configured, but the address of temporal.invalid:7233 begins with http://, \
             which turns it off",
        ),
        (
            &[
                ("TEMPORAL_ADDRESS", "http://temporal.invalid:7233"),
                ("TEMPORAL_API_KEY", "hush"),
            ],
            "the API key from TEMPORAL_API_KEY would cross the network to temporal.invalid:7233 \
             without TLS; write https://temporal.invalid:7233",
        ),
        (
            &[("TEMPORAL_CODEC_ENDPOINT", "http://hush")],
            "TEMPORAL_CODEC_ENDPOINT is set, but would be ignored",
        ),
        (
            &[("TEMPORAL_TLS_DISABLE_HOST_VERIFICATION", "true")],
            "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION is set, but would be ignored",
        ),
        (
            &[("TEMPORAL_TLS_CERT", "hush")],
            "TEMPORAL_TLS_CERT is set, but would be ignored: its name is \
             TEMPORAL_TLS_CLIENT_CERT_PATH",
        ),
        (
            &[("TEMPORAL_TLS", "maybe")],
            "TEMPORAL_TLS is neither true nor false: `maybe`",
        ),
        (
            &[("TEMPORAL_ADDRESS", "localhost")],
            "the address from TEMPORAL_ADDRESS has no port: `localhost`",
        ),
        (
            &[("TEMPORAL_ADDRESS", "grpcs://temporal.invalid:7233")],
            "the address from TEMPORAL_ADDRESS has the scheme `grpcs`, which the Rust client does \
             not know; write host:port",
        ),
        (
            &[("TEMPORAL_CONFIG_FILE", "no.toml")],
            "TEMPORAL_CONFIG_FILE names no file: no.toml",
        ),
        (&[("TEMPORAL_PROFILE", "nope")], "Profile 'nope' not found"),
        (
            &[("RUST_LOG", "hello=loud")],
            "RUST_LOG is not a valid filter: `hello=loud`",
        ),
    ];
    for (variables, expected) in cases {
        let error = error(variables).await?;
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
    Ok(())
}

/// Ids and names that the server would refuse or not store, or that contain control characters for a terminal, are
/// refused. One line says which flag, and what is wrong with its value. A worker would poll such a queue forever
/// without a task.
#[tokio::test]
async fn unusable_ids() -> anyhow::Result<()> {
    let queue = "--task-queue (or TEMPORAL_TASK_QUEUE)";
    let long = "x".repeat(256);
    let (longer, wide) = ("x".repeat(1001), "ä".repeat(128));
    let starter: &[(&str, &str, &str)] = &[
        (
            "--workflow-id",
            &long,
            "--workflow-id has 256 bytes, and at most 255 fit",
        ),
        (
            "--workflow-id",
            &wide,
            "--workflow-id has 256 bytes, and at most 255 fit",
        ),
        ("--workflow-id", "", "--workflow-id is empty"),
        (
            "--workflow-id",
            "a\u{1b}[2J",
            "--workflow-id contains the control character U+001B",
        ),
    ];
    let both = [
        (
            "--task-queue",
            &*long,
            format!("{queue} has 256 bytes, and at most 255 fit"),
        ),
        (
            "--task-queue",
            &longer,
            format!("{queue} has 1001 bytes, and at most 255 fit"),
        ),
        (
            "--task-queue",
            "a\nb",
            format!("{queue} contains the control character U+000A"),
        ),
        (
            "--task-queue",
            "/_sys/a",
            format!("{queue} begins with /_sys/"),
        ),
    ];
    let cases = starter
        .iter()
        .map(|(flag, value, expected)| (STARTER, *flag, *value, *expected));
    let both = [STARTER, WORKER].into_iter().flat_map(|binary| {
        let both = both.iter();
        both.map(move |(flag, value, expected)| (binary, *flag, *value, expected.as_str()))
    });
    for (binary, flag, value, expected) in cases.chain(both) {
        let mut command = command(binary)?;
        command.args(["--address", address()?, flag, value]);
        let output = run(command).await?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.starts_with(&format!("Error: {expected}: "))
                || stderr.starts_with(&format!("Error: {expected}, ")),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(output.stdout.is_empty(), "something on stdout");
    }
    Ok(())
}

/// Neither a result nor the reason of a failure sends control characters to the terminal. The JSON of the result is
/// still equivalent.
#[tokio::test]
async fn control_characters() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let name = "Ada\u{1b}[31m\u{7f}\u{9b}2J\u{202e}";
    let at = ["--address", address()?, "--task-queue", &env.task_queue];
    let mut worker = command(WORKER)?;
    let _worker = worker.args(at).stderr(Stdio::null()).spawn()?;
    let mut starter = command(STARTER)?;
    starter.args(at).args(["--name", name]);
    let output = run(starter).await?;
    let stdout = String::from_utf8(output.stdout)?;
    let json = stdout.strip_prefix("result: ").context(stdout.clone())?;
    assert!(json.trim_end().is_ascii(), "{json:?}");
    assert_eq!(
        json.trim_end().chars().find(|c| c.is_control()),
        None,
        "{json:?}"
    );
    assert_eq!(
        serde_json::from_str::<String>(json)?,
        format!("Hello, {name}!")
    );
    Ok(())
}

/// Empty variables, as compose files pass them, count as absent: the starter connects, without TLS.
#[tokio::test]
async fn empty_variables() -> anyhow::Result<()> {
    let variables = [
        ("TEMPORAL_ADDRESS", address()?),
        ("TEMPORAL_API_KEY", ""),
        ("TEMPORAL_CODEC_ENDPOINT", ""),
        ("TEMPORAL_NAMESPACE", "nope"),
        ("TEMPORAL_PROFILE", ""),
        ("TEMPORAL_TASK_QUEUE", ""),
        ("TEMPORAL_TLS", ""),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", ""),
    ];
    let error = error(&variables).await?;
    assert!(error.ends_with("Namespace nope is not found."), "{error}");
    Ok(())
}

/// The namespace does not exist. Worker and starter report that, and end.
#[tokio::test]
async fn unknown_namespace() -> anyhow::Result<()> {
    for binary in [STARTER, WORKER] {
        let mut command = command(binary)?;
        command.args(["--address", address()?, "--namespace", "nope"]);
        let output = run(command).await?;
        let stderr = String::from_utf8(output.stderr)?;
        let last = stderr.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(last.starts_with("Error: "), "{stderr}");
        assert!(last.ends_with("Namespace nope is not found."), "{stderr}");
    }
    Ok(())
}

/// After SIGTERM and after Ctrl-C, the worker ends with status 0.
#[cfg(unix)]
#[tokio::test]
async fn worker_ends_cleanly() -> anyhow::Result<()> {
    for signal in ["TERM", "INT"] {
        let mut worker = command(WORKER)?;
        worker.args(["--address", address()?, "--task-queue", "messages"]);
        let mut worker = worker.stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::new(worker.stderr.take().context("piped")?).lines();
        let started = log.next_line().await?.context("no log")?;
        ensure!(started.contains("worker started"), "{started}");
        let pid = worker.id().context("running")?.to_string();
        Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .await?;
        let status = timeout(WITHIN, worker.wait()).await??;
        ensure!(status.success(), "{status} after SIG{signal}");
    }
    Ok(())
}
