//! Runs the binaries as process 1 of a container, as the projects' Dockerfile does. The kernel drops a signal to that
//! process unless the process has a handler.

use crate::readmes::patterns;
use anyhow::{Context, bail, ensure};
use futures::{TryStreamExt, stream};
use shared::{GRACEFUL_SHUTDOWN_PERIOD, SHUTDOWN_LIMIT};
use std::{fs, io::Write, path::Path, process::Stdio, time::Duration};
use testing::{Load, address, binaries, faults::ServerProcess, outside, root};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::{sleep, timeout},
};

/// Time limit of each step, which is long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the command line that runs a command as process 1 of a PID namespace. If the kernel does not allow that,
/// prints a line that says so, and returns `None`.
fn unshare() -> anyhow::Result<Option<&'static [&'static str]>> {
    let ways: [&[&str]; 2] = [
        &["--pid", "--fork", "--kill-child"],
        &[
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
        ],
    ];
    for way in ways {
        let tried = outside("unshare").args(way).arg("true").output();
        if tried.is_ok_and(|output| output.status.success()) {
            return Ok(Some(way));
        }
    }
    // Not through libtest, which hides the output of a test that passes.
    writeln!(
        std::io::stderr(),
        "SKIPPED: `unshare --pid` may not make a PID namespace"
    )?;
    Ok(None)
}

/// A binary that runs as process 1, and is killed on drop.
struct Process1 {
    unshare: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
    /// Its process id outside of the namespace, which is not 1.
    pid: u32,
    name: String,
}

impl Process1 {
    async fn start(way: &[&str], binary: &Path, args: &[String]) -> anyhow::Result<Self> {
        let mut command = outside("unshare");
        command.args(way).arg(binary).args(args);
        let mut unshare = Command::from(command)
            .current_dir(root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = unshare.stdout.take().context("piped")?;
        let stderr = unshare.stderr.take().context("piped")?;
        let id = unshare.id().context("it has just been started")?;
        let children = format!("/proc/{id}/task/{id}/children");
        let name = binary.display().to_string();
        let pid = loop {
            // The file is missing if the process has ended. The next lines find that out.
            let child = fs::read_to_string(&children).unwrap_or_default();
            if let Ok(pid) = child.trim().parse() {
                break pid;
            }
            if let Some(status) = unshare.try_wait()? {
                bail!("{name} has not started: {status}");
            }
            sleep(Duration::from_millis(5)).await;
        };
        Ok(Self {
            unshare,
            stdout: BufReader::new(stdout).lines(),
            stderr: BufReader::new(stderr).lines(),
            pid,
            name,
        })
    }

    /// Waits until it has a handler for Ctrl-C and SIGTERM.
    async fn listens(&mut self) -> anyhow::Result<()> {
        // Bit 0 is signal 1.
        const BOTH: u64 = 1 << (2 - 1) | 1 << (15 - 1);
        loop {
            let status = fs::read_to_string(format!("/proc/{}/status", self.pid));
            let status = status.unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.map_or(Ok(0), |mask| u64::from_str_radix(mask.trim(), 16))?;
            if caught & BOTH == BOTH {
                return Ok(());
            }
            if let Some(status) = self.unshare.try_wait()? {
                bail!("{} ended before it listened: {status}", self.name);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid.to_string();
        let kill = Command::new("kill").args(["-s", name, &pid]).status();
        ensure!(kill.await?.success());
        Ok(())
    }

    /// Waits for its end, and returns its exit status with the rest of what it prints.
    async fn end(&mut self) -> anyhow::Result<(Option<i32>, Vec<String>, Vec<String>)> {
        let ended = async {
            let stdout = lines(&mut self.stdout).await?;
            let stderr = lines(&mut self.stderr).await?;
            Ok((self.unshare.wait().await?.code(), stdout, stderr))
        };
        let ended = timeout(PATIENCE, ended).await;
        ended.with_context(|| format!("{} does not end", self.name))?
    }

    /// Sends a signal, and checks that the process ends with the right exit status, without a result, and with one line
    /// that says why.
    async fn ends_by(&mut self, signal: &str) -> anyhow::Result<()> {
        let (code, why) = match signal {
            "INT" => (130, "Error: stopped by Ctrl-C"),
            _ => (143, "Error: stopped by SIGTERM"),
        };
        self.signal(signal).await?;
        let (status, stdout, stderr) = self.end().await?;
        ensure!(
            status == Some(code)
                && stdout.is_empty()
                && stderr.last().is_some_and(|line| line == why),
            "{} after SIG{signal}: {status:?}, {stdout:?}, {stderr:?}",
            self.name
        );
        Ok(())
    }

    /// Sends SIGTERM, and checks that the process ends with status 0.
    async fn ends_well(&mut self) -> anyhow::Result<()> {
        self.signal("TERM").await?;
        let ended = self.end().await?;
        ensure!(ended.0 == Some(0), "{}: {ended:?}", self.name);
        Ok(())
    }
}

async fn lines(all: &mut Lines<impl AsyncBufRead + Unpin>) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(line) = all.next_line().await? {
        lines.push(line);
    }
    Ok(lines)
}

/// Waits for a line that contains `words`.
async fn line(all: &mut Lines<impl AsyncBufRead + Unpin>, words: &str) -> anyhow::Result<()> {
    let waiting = async {
        while let Some(line) = all.next_line().await? {
            if line.contains(words) {
                return Ok(());
            }
        }
        bail!("it ended without `{words}`")
    };
    timeout(PATIENCE, waiting)
        .await
        .with_context(|| format!("it does not print `{words}`"))?
}

/// Every worker cancels activities that run for too long, and ends before it would be killed: by `docker stop` after
/// 10 s, or by `make` or a project's Compose file after their grace period.
#[test]
fn workers_end_before_they_are_killed() -> anyhow::Result<()> {
    for pattern in patterns()? {
        let source = fs::read_to_string(root().join(format!("samples/{pattern}/src/lib.rs")))?;
        ensure!(
            source.contains(".graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)"),
            "{pattern}'s worker options set no graceful shutdown period"
        );
    }
    let compose = root().join("shared/new/template/docker-compose.yml");
    let compose = fs::read_to_string(compose)?;
    let given = compose
        .lines()
        .find_map(|line| line.trim().strip_prefix("stop_grace_period: "));
    let given = given.context("Compose kills a worker after 10 s")?;
    ensure!(GRACEFUL_SHUTDOWN_PERIOD < SHUTDOWN_LIMIT);
    ensure!(SHUTDOWN_LIMIT < Duration::from_secs(10));
    ensure!(SHUTDOWN_LIMIT < humantime::parse_duration(given)?);
    Ok(())
}

/// One signal stops each worker and each starter while it connects to a server that does not answer. It also stops a
/// worker that has started before.
#[tokio::test]
async fn a_signal_while_connecting() -> anyhow::Result<()> {
    let Some(way) = unshare()? else { return Ok(()) };
    let binaries = binaries()?;
    let mut cases = vec![
        (binaries.join("hello-worker"), Vec::new(), "INT"),
        (binaries.join("hello-starter"), Vec::new(), "TERM"),
    ];
    for pattern in patterns()? {
        let load = root().join(format!("samples/{pattern}/tests/load.json"));
        let worker_args = match fs::read_to_string(load) {
            Ok(load) => Load::parse(&load)?.worker_args,
            Err(_) => Vec::new(),
        };
        let binary = |name| binaries.join(format!("{pattern}-{name}"));
        cases.push((binary("worker"), worker_args, "TERM"));
        cases.push((binary("starter"), Vec::new(), "INT"));
    }
    let server = ServerProcess::start().await?;
    let address = &server.address();
    let args = ["--address".to_owned(), address.clone()];
    let mut started = Process1::start(way, &binaries.join("hello-worker"), &args).await?;
    line(&mut started.stderr, "worker started").await?;
    server.freeze().await?;
    started.signal("TERM").await?;
    stream::iter(cases.into_iter().map(anyhow::Ok))
        .try_for_each_concurrent(4, |(binary, mut args, signal)| async move {
            args.extend(["--address".to_owned(), address.clone()]);
            let mut process = Process1::start(way, &binary, &args).await?;
            process.listens().await?;
            process.ends_by(signal).await
        })
        .await?;
    let (status, _, stderr) = started.end().await?;
    ensure!(status == Some(1), "{status:?}, {stderr:?}");
    let why = "ended after 9 s, although no activity runs: the server does not answer";
    ensure!(
        stderr.last().is_some_and(|line| line.contains(why)),
        "{stderr:?}"
    );
    Ok(())
}

/// After they have connected, one signal stops them, too: a worker shuts down, a starter ends without waiting for the
/// result, and their sidecars end with status 0.
#[tokio::test]
async fn a_signal_while_running() -> anyhow::Result<()> {
    let Some(way) = unshare()? else { return Ok(()) };
    let binaries = binaries()?;
    let start = async |name: &str, args: &[&str]| {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        Process1::start(way, &binaries.join(name), &args).await
    };
    let at = ["--address", address()?, "--task-queue", "process-1"];
    for signal in ["INT", "TERM"] {
        let mut starter = start("hello-starter", &at).await?;
        line(&mut starter.stderr, "workflow ").await?;
        starter.ends_by(signal).await?;
    }
    // This worker runs the workflows of the starters.
    let mut worker = start("hello-worker", &at).await?;
    line(&mut worker.stderr, "worker started").await?;
    worker.ends_well().await?;

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("process1-certs");
    let file = |name: &str| folder.join(name).display().to_string();
    let certs = std::process::Command::new(binaries.join("mtls-certs"))
        .args(["--folder", &file("")])
        .output()?;
    ensure!(certs.status.success(), "{certs:?}");
    let gateway = [
        ["--cert", &file("server.pem")],
        ["--key", &file("server.key")],
        ["--client-ca", &file("ca.pem")],
    ];
    for (name, args) in [
        ("mtls-gateway", gateway.as_flattened()),
        ("encryption-codec-server", &[]),
        ("open-telemetry-collector", &[]),
        ("polling-frequent-service", &[]),
    ] {
        let mut process = start(name, &[args, &["--listen", "127.0.0.1:0"]].concat()).await?;
        line(&mut process.stdout, "127.0.0.1:").await?;
        process.ends_well().await?;
    }
    Ok(())
}
