//! `shared/scripts`, by way of `make`: what they start, what they refuse, what they leave behind.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "no workflow code in here")]

mod outside;

use anyhow::{Context, ensure};
use outside::{outside, root};
use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// Runs `make` and returns whether it succeeded and what it printed to stderr.
fn make(arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<(bool, String)> {
    let mut make = outside("make");
    let output = make
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(root())
        .output()?;
    Ok((output.status.success(), String::from_utf8(output.stderr)?))
}

/// One test at a time: two runs of a sample at once write to one log.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed leaves nothing behind that the next one needs.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port for a server and the one for its Web UI, a thousand above; both below those that the
/// system hands out to connections.
fn free_ports() -> anyhow::Result<(TcpListener, TcpListener)> {
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).ok();
    (20_000..31_000)
        .rev()
        .find_map(|port| Some((bind(port)?, bind(port + 1000)?)))
        .context("no free ports")
}

/// Ends the server at this address, whatever becomes of the test.
struct Cleanup(String);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = make(&["clean-server"], &[("TEMPORAL_ADDRESS", &self.0)]);
    }
}

/// Started twice it is started once; killed, it is started again; and it keeps what it holds.
#[test]
fn the_server_starts_once_and_stops() -> anyhow::Result<()> {
    let _alone = alone();
    let port = free_ports()?.0.local_addr()?.port();
    let address = format!("localhost:{port}");
    let _cleanup = Cleanup(address.clone());
    let at = [("TEMPORAL_ADDRESS", address.as_str())];
    let (ok, said) = make(&["server"], &at)?;
    ensure!(ok && said.contains("(started)"), "{said}");
    let (ok, said) = make(&["server"], &at)?;
    ensure!(ok && said.contains("(running)"), "{said}");

    let state = root().join(".temporal");
    let pid = std::fs::read_to_string(state.join(format!("server-{port}.pid")))?;
    Command::new("kill")
        .args(["-s", "KILL", pid.trim()])
        .status()?;
    let (ok, said) = make(&["server"], &at)?;
    ensure!(ok && said.contains("(started)"), "{said}");

    let (ok, said) = make(&["stop"], &at)?;
    ensure!(ok && said.contains("(stopped)"), "{said}");
    ensure!(
        state.join(format!("server-{port}.db")).exists(),
        "the database is gone"
    );
    let (ok, said) = make(&["stop"], &at)?;
    ensure!(ok && said.contains("none of ours is running"), "{said}");
    let (ok, _) = make(&["clean-server"], &at)?;
    ensure!(
        ok && !state.join(format!("server-{port}.db")).exists(),
        "the database is still there"
    );
    Ok(())
}

/// A port that somebody else has, a port for the Web UI that is taken, an address without a port.
#[test]
fn the_server_says_why_it_cannot_start() -> anyhow::Result<()> {
    let _alone = alone();
    let mute = TcpListener::bind("127.0.0.1:0")?;
    let address = mute.local_addr()?.to_string();
    let (ok, said) = make(&["server"], &[("TEMPORAL_ADDRESS", &address)])?;
    ensure!(
        !ok && said.contains("is taken, and not by a Temporal server"),
        "{said}"
    );

    let (server, _ui) = free_ports()?;
    let port = server.local_addr()?.port();
    drop(server);
    let address = format!("localhost:{port}");
    let _cleanup = Cleanup(address.clone());
    let (ok, said) = make(&["server"], &[("TEMPORAL_ADDRESS", &address)])?;
    ensure!(
        !ok && said.contains("the server ended at once: ") && said.contains("UI port"),
        "{said}"
    );

    let (ok, said) = make(&["server"], &[("TEMPORAL_ADDRESS", "localhost")])?;
    ensure!(
        !ok && said.contains("TEMPORAL_ADDRESS has no port: localhost"),
        "{said}"
    );
    Ok(())
}

/// An unknown pattern, a worker that cannot connect, an `execute` without a type: one clear line.
#[test]
fn a_run_says_why_it_fails() -> anyhow::Result<()> {
    let _alone = alone();
    let address = shared::testing::address()?;
    let at = ("TEMPORAL_ADDRESS", address);
    let (ok, said) = make(&["run-nope"], &[at])?;
    ensure!(
        !ok && said.contains("Error: there is no pattern nope; there are: "),
        "{said}"
    );

    let (ok, said) = make(&["run-hello"], &[at, ("TEMPORAL_TLS", "true")])?;
    // Either of the two may be the first to find out.
    ensure!(
        !ok && said.contains("Error: cannot connect to Temporal at "),
        "{said}"
    );
    ensure!(
        said.contains("log      .temporal/hello-worker.log"),
        "{said}"
    );

    let (ok, said) = make(&["execute-hello"], &[at])?;
    ensure!(
        !ok && said.contains("Error: say what to start: TYPE="),
        "{said}"
    );
    Ok(())
}

/// `RELEASE=1` reaches cargo wherever it is called. A cargo that passes on all but that, for the first
/// build takes minutes.
#[test]
fn a_release_run_is_one() -> anyhow::Result<()> {
    let _alone = alone();
    let address = shared::testing::address()?;
    let (path, cargo) = (std::env::var("PATH")?, env!("CARGO"));
    let folder = std::env::temp_dir().join(format!("cargo-{}", Uuid::new_v4()));
    std::fs::create_dir(&folder)?;
    let wrapper = folder.join("cargo");
    let script = format!(
        r#"#!/usr/bin/env bash
echo "called with $*" >>"{}/calls"
arguments=()
for argument in "$@"; do
    case "$argument" in --profile | quick) ;; *) arguments+=("$argument") ;; esac
done
exec "{cargo}" "${{arguments[@]}}"
"#,
        folder.display()
    );
    std::fs::write(&wrapper, script)?;
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755))?;
    let path = format!("{}:{path}", folder.display());
    let at = [("TEMPORAL_ADDRESS", address), ("PATH", &path)];
    let released = |arguments: &[&str]| -> anyhow::Result<bool> {
        let (ok, said) = make(arguments, &at)?;
        ensure!(ok, "{said}");
        let calls = std::fs::read_to_string(folder.join("calls"))?;
        std::fs::remove_file(folder.join("calls"))?;
        assert_eq!(calls.lines().count(), 1, "{calls}");
        Ok(calls.contains("--profile quick"))
    };
    assert!(released(&["run-hello", "RELEASE=1"])?);
    assert!(!released(&["run-hello"])?);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// `make pgo-<pattern>` without the tool that it needs: one clear line, before anything is optimized.
#[test]
fn pgo_says_what_it_lacks() -> anyhow::Result<()> {
    let _alone = alone();
    let address = shared::testing::address()?;
    let at = [
        ("TEMPORAL_ADDRESS", address),
        ("LLVM_PROFDATA", "no-profdata"),
    ];
    let (ok, said) = make(&["pgo-hello"], &at)?;
    let why = "Error: there is no no-profdata; `rustup component add llvm-tools` brings it,";
    ensure!(!ok && said.contains(why), "{said}");
    Ok(())
}

/// `make replay` of nothing, of a file that is not there or not a history, of a workflow that the
/// server does not know: one clear line.
#[test]
fn a_replay_says_why_it_fails() -> anyhow::Result<()> {
    let address = shared::testing::address()?;
    for (argument, why) in [
        ("ID=", "say what to replay: FILE="),
        (
            "FILE=nope.json",
            "there is no nope.json; say what to replay",
        ),
        ("FILE=Cargo.toml", "Cargo.toml does not say whose it is"),
        ("ID=nope", "no history of nope: "),
    ] {
        let (ok, said) = make(&["replay", argument], &[("TEMPORAL_ADDRESS", address)])?;
        ensure!(!ok && said.starts_with(&format!("Error: {why}")), "{said}");
    }
    Ok(())
}

/// Ctrl-C while the starter waits ends all, the worker too.
#[test]
fn an_interrupted_run_leaves_no_worker() -> anyhow::Result<()> {
    let _alone = alone();
    let address = shared::testing::address()?;
    let mut run = outside("make")
        .args(["run-hello", "ARGS=--task-queue nobody-polls-this"])
        .env("TEMPORAL_ADDRESS", address)
        .current_dir(root())
        .process_group(0)
        .stderr(Stdio::piped())
        .spawn()?;
    let group = run.id().to_string();
    let members = || Command::new("pgrep").args(["-g", &group]).output();
    let stderr = BufReader::new(run.stderr.take().context("piped")?);
    for line in stderr.lines() {
        let line = line?;
        if line.starts_with("history ") {
            ensure!(
                String::from_utf8(members()?.stdout)?.lines().count() >= 3,
                "no worker to end"
            );
            Command::new("kill")
                .args(["-s", "INT", "--", &format!("-{group}")])
                .status()?;
        }
    }
    ensure!(!run.wait()?.success(), "an interrupted run is no success");
    let left = String::from_utf8(members()?.stdout)?;
    ensure!(left.is_empty(), "still running: {left}");
    Ok(())
}

/// What runs beside a worker, as the gateway of mtls, is there for a starter in another terminal; it
/// ends with the worker, after a run and by Ctrl-C.
#[test]
fn what_runs_beside_ends_too() -> anyhow::Result<()> {
    let _alone = alone();
    let address = shared::testing::address()?;
    let at = [("TEMPORAL_ADDRESS", address)];
    let (_, port) = address.rsplit_once(':').context("a port")?;
    let port: u16 = port.parse::<u16>()? + 10;
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    let (ok, said) = make(&["run-mtls"], &at)?;
    ensure!(ok && said.contains("\ngateway  "), "{said}");
    ensure!(!listens(), "the gateway runs on after a run");

    let mut worker = outside("make")
        .arg("worker-mtls")
        .envs(at)
        .current_dir(root())
        .process_group(0)
        .stderr(Stdio::piped())
        .spawn()?;
    let group = format!("-{}", worker.id());
    // The end of its output is the end of the last of its processes.
    let stderr = BufReader::new(worker.stderr.take().context("piped")?);
    let mut started = false;
    for line in stderr.lines() {
        if line?.contains("worker started") {
            started = true;
            let (ok, said) = make(&["run-mtls"], &at)?;
            ensure!(
                !ok && said.contains("Error: the gateway ended: Error: cannot listen on "),
                "{said}"
            );
            let (ok, said) = make(&["start-mtls"], &at)?;
            ensure!(ok, "{said}");
            Command::new("kill")
                .args(["-s", "INT", "--", &group])
                .status()?;
        }
    }
    worker.wait()?;
    ensure!(started, "the worker has not started");
    ensure!(!listens(), "the gateway runs on after Ctrl-C");
    Ok(())
}
