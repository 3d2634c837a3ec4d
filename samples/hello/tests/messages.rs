//! What the real binaries say, and how they end, when something is wrong or somebody stops them.

#![allow(clippy::disallowed_methods, reason = "no workflow code in here")]
#![allow(clippy::expect_used, reason = "a test may panic, its helpers too")]

use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use tokio::net::TcpSocket;

/// Long enough for the 8 s that a connection may take, and short enough to be within ten.
const WITHIN: Duration = Duration::from_secs(10);

/// A binary with none of the variables of whoever runs the tests.
fn command(binary: &str) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TEMPORAL_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end, which must come in time.
fn run(mut command: Command) -> Output {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("runs");
    let started = Instant::now();
    while child.try_wait().expect("can be waited for").is_none() {
        if started.elapsed() > WITHIN {
            child.kill().expect("can be killed");
            panic!("{command:?} is still running after {WITHIN:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("has ended")
}

/// The one line on stderr of a starter that must not succeed.
fn error(variables: &[(&str, &str)]) -> String {
    let mut starter = command(env!("CARGO_BIN_EXE_hello-starter"));
    starter.envs(variables.iter().copied());
    let output = run(starter);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(output.stdout.is_empty());
    stderr.trim_end().to_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("bound").port()
}

/// Nobody listens: the address, what was tried, what to do, and names of variables, never values.
#[test]
fn nobody_listens() {
    let address = format!("127.0.0.1:{}", free_port());
    let error = error(&[
        ("TEMPORAL_ADDRESS", &address),
        ("TEMPORAL_NAMESPACE", "hush"),
    ]);
    let expected = format!(
        "Error: cannot connect to Temporal at {address} (TLS off): Connection refused (os error 111); \
         start a server with `make server`, or say where one is with TEMPORAL_ADDRESS; \
         set now: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE"
    );
    // The number of the error is the operating system's own.
    assert_eq!(error.replace("(os error 61)", "(os error 111)"), expected);
}

/// A host that drops packets: a socket whose queue of connections is full answers no more.
#[tokio::test]
async fn black_hole() -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    let listener = socket.listen(0)?;
    let address = listener.local_addr()?;
    let mut queued = Vec::new();
    loop {
        let connecting = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(300), connecting).await {
            Ok(stream) => queued.push(stream?),
            Err(_) => break,
        }
    }
    let error =
        tokio::task::spawn_blocking(move || error(&[("TEMPORAL_ADDRESS", &address.to_string())]))
            .await?;
    let expected = format!("Error: cannot connect to Temporal at {address} (TLS off): ");
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.contains("no answer within 8 s"), "{error}");
    Ok(())
}

/// A peer that accepts and says nothing, without TLS and with.
#[test]
fn mute_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::scope(|scope| {
        for tls in ["false", "true"] {
            let address = &address;
            scope.spawn(move || {
                let error = error(&[("TEMPORAL_ADDRESS", address), ("TEMPORAL_TLS", tls)]);
                assert!(error.contains("no answer within 8 s"), "{error}");
                let tls = if tls == "true" {
                    "(TLS on)"
                } else {
                    "(TLS off)"
                };
                assert!(error.contains(tls), "{error}");
            });
        }
    });
}

/// Settings that contradict each other or would be dropped in silence are refused, by name.
#[test]
fn refused_settings() {
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
            "an API key is set, but temporal.invalid:7233 would be spoken to without TLS",
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
            "the address has no port: `localhost`",
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
        let error = error(variables);
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

/// Empty variables, as compose files pass them, are as good as none: it connects, without TLS.
#[test]
fn empty_variables() -> anyhow::Result<()> {
    let error = error(&[
        ("TEMPORAL_ADDRESS", shared::testing::address()?),
        ("TEMPORAL_API_KEY", ""),
        ("TEMPORAL_CODEC_ENDPOINT", ""),
        ("TEMPORAL_NAMESPACE", "nope"),
        ("TEMPORAL_PROFILE", ""),
        ("TEMPORAL_TASK_QUEUE", ""),
        ("TEMPORAL_TLS", ""),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", ""),
    ]);
    assert!(error.ends_with("Namespace nope is not found."), "{error}");
    Ok(())
}

/// A namespace that is not there: the worker and the starter say so, and end.
#[test]
fn unknown_namespace() -> anyhow::Result<()> {
    let address = shared::testing::address()?;
    for binary in [
        env!("CARGO_BIN_EXE_hello-starter"),
        env!("CARGO_BIN_EXE_hello-worker"),
    ] {
        let mut command = command(binary);
        command.args(["--address", address, "--namespace", "nope"]);
        let output = run(command);
        let stderr = String::from_utf8(output.stderr)?;
        let last = stderr.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(last.starts_with("Error: "), "{stderr}");
        assert!(last.ends_with("Namespace nope is not found."), "{stderr}");
    }
    Ok(())
}

/// The worker ends by SIGTERM and by Ctrl-C alike: cleanly, with status 0.
#[cfg(unix)]
#[test]
fn worker_ends_cleanly() -> anyhow::Result<()> {
    use std::io::{BufRead, BufReader};
    let address = shared::testing::address()?;
    for signal in ["TERM", "INT"] {
        let mut worker = command(env!("CARGO_BIN_EXE_hello-worker"))
            .args(["--address", address, "--task-queue", "messages"])
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(worker.stderr.take().expect("piped")).lines();
        let started = log.next().expect("a line")?;
        assert!(started.contains("worker started"), "{started}");
        Command::new("kill")
            .args(["-s", signal, &worker.id().to_string()])
            .status()?;
        assert!(worker.wait()?.success(), "after SIG{signal}");
    }
    Ok(())
}
