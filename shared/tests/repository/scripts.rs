//! Tests `shared/scripts`, through `make`: what they start, what they refuse, and what they leave behind. The tests run
//! in a checkout whose path has every character that a shell, make, JSON or a URL could misread.

use crate::{CHECKOUT, GATEWAY, alone, temporal_cli};
use anyhow::{Context, anyhow, ensure};
use shared::SHUTDOWN_LIMIT;
use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
};
use testing::{binaries, outside, root};
use uuid::Uuid;

/// Name of the checkout's folder. It has no `%`, because rust-lld cannot write to a path with a `%`.
const FOLDER: &str = r#"my it's "a" $HOME #1? é"#;

/// Returns a copy of this repository in that folder. It builds into the target directory of the original, in which
/// everything is already built: cargo sees that no file is newer.
fn checkout() -> anyhow::Result<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| make_checkout("scripts").map_err(|error| format!("{error:#}")));
    made.as_deref()
        .map_err(|error| anyhow!("no checkout: {error}"))
}

fn make_checkout(parent: &str) -> anyhow::Result<PathBuf> {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join(parent);
    let checkout = parent.join(FOLDER);
    if parent.exists() {
        fs::remove_dir_all(&parent)?;
    }
    fs::create_dir_all(&checkout)?;
    let mut copy = Command::new("cp");
    copy.arg("-Rp");
    for entry in fs::read_dir(root())? {
        let entry = entry?;
        if ![".git", ".temporal", "target"].contains(&&*entry.file_name().to_string_lossy()) {
            copy.arg(entry.path());
        }
    }
    ensure!(copy.arg(&checkout).status()?.success(), "cp");
    symlink(root().join("target"), checkout.join("target"))?;
    for file in bystanders(&checkout)? {
        fs::write(file, "somebody's")?;
    }
    Ok(checkout)
}

/// Creates files that do not belong to the checkout. Their names are the words of the checkout's path after a shell has
/// split it. No script may touch them.
fn bystanders(checkout: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let parent = checkout.parent().context("a parent")?;
    let words = FOLDER.split(' ');
    let folders = std::iter::once(parent).chain(std::iter::repeat(checkout));
    Ok(folders
        .zip(words)
        .map(|(folder, word)| folder.join(word))
        .collect())
}

/// Makes `make` build the binaries that it runs, although `make test` has just built them.
const BUILD: (&str, &str) = ("SAMPLE_BINARIES", "");

/// Returns the variable that makes `make` run the binaries of `make test`.
fn built() -> Option<(&'static str, OsString)> {
    Some((BUILD.0, std::env::var_os("TEST_BINARIES")?))
}

/// Returns a command that runs `make` in the checkout, with `CDPATH` set, which makes `cd` print its destination.
fn command(arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Command> {
    let mut make = outside("make");
    make.args(arguments)
        .env("CDPATH", ".")
        .envs(built())
        .envs(variables.iter().copied())
        .current_dir(checkout()?);
    Ok(make)
}

/// Runs `make`, checks that it has not touched the bystanders, and returns its output.
fn output(arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Output> {
    let output = command(arguments, variables)?.output()?;
    let checkout = checkout()?;
    for file in bystanders(checkout)? {
        ensure!(file.exists(), "make {arguments:?} removed {file:?}");
    }
    let beside = fs::read_dir(checkout.parent().context("a parent")?)?.count();
    ensure!(beside == 2, "make {arguments:?} wrote beside the checkout");
    Ok(output)
}

/// Runs `make` and returns whether it succeeded and what it printed to stderr.
fn make(arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<(bool, String)> {
    let output = output(arguments, variables)?;
    Ok((output.status.success(), String::from_utf8(output.stderr)?))
}

/// Returns a free port for a server, and the port for its Web UI, a thousand above. The port for its metrics, another
/// thousand above, is free, too. All are below the range from which the system assigns ports. Each call returns other
/// ports, because tests run side by side.
fn free_ports() -> anyhow::Result<(TcpListener, TcpListener)> {
    static NEXT: AtomicU16 = AtomicU16::new(29_999);
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).ok();
    std::iter::from_fn(|| Some(NEXT.fetch_sub(1, Ordering::Relaxed)))
        .take_while(|port| *port > 20_000)
        .filter(|port| bind(port + 2000).is_some())
        .find_map(|port| Some((bind(port)?, bind(port + 1000)?)))
        .context("no free ports")
}

/// Stops the server of the checkout at this address on drop.
struct Cleanup(String);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = make(&["clean-server"], &[("TEMPORAL_ADDRESS", &self.0)]);
    }
}

/// A server of another checkout that a test can freeze. It is stopped on drop.
struct Frozen<'a> {
    checkout: &'a Path,
    address: &'a str,
    pid: String,
}

impl Frozen<'_> {
    fn signal(&self, signal: &str) -> std::io::Result<ExitStatus> {
        Command::new("kill")
            .args(["-s", signal, &self.pid])
            .status()
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // A frozen process does not handle other signals.
        let _ = self.signal("CONT");
        let _ = script_of(self.checkout, "server", &["clean"], self.address).status();
    }
}

/// Returns a command that runs a script of a checkout.
fn script_of(checkout: &Path, script: &str, arguments: &[&str], address: &str) -> Command {
    let mut command = outside(&format!("shared/scripts/{script}"));
    command
        .args(arguments)
        .env("TEMPORAL_ADDRESS", address)
        .current_dir(checkout)
        .stderr(Stdio::null());
    command
}

/// A second start uses the running server. A killed server is started again, and keeps its data.
#[test]
fn the_server_starts_once_and_stops() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
    let port = free_ports()?.0.local_addr()?.port();
    let address = format!("localhost:{port}");
    let _cleanup = Cleanup(address.clone());
    let at = [("TEMPORAL_ADDRESS", address.as_str())];
    let (ok, said) = make(&["server"], &at)?;
    ensure!(ok && said.contains("(started)"), "{said}");
    let (ok, said) = make(&["server"], &at)?;
    ensure!(ok && said.contains("(running)"), "{said}");
    let other = [at[0], ("TEMPORAL_NAMESPACE", "other")];
    let (ok, said) = make(&["server"], &other)?;
    let why = "is taken, and not by a Temporal server with the namespace other";
    ensure!(!ok && said.contains(why), "{said}");

    let state = checkout()?.join(".temporal");
    let pid = fs::read_to_string(state.join(format!("server-{port}.pid")))?;
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

/// Without TEMPORAL_ADDRESS, `make stop` stops every server of this checkout, and `make clean-server` deletes their data.
/// With the address of another machine, both leave them alone.
#[test]
fn every_server_stops() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
    let state = checkout()?.join(".temporal");
    let held = || -> anyhow::Result<usize> {
        let mut held = 0;
        for entry in fs::read_dir(&state)? {
            held += usize::from(entry?.file_name().to_string_lossy().starts_with("server-"));
        }
        Ok(held)
    };
    let mut cleanups = Vec::new();
    for _ in 0..2 {
        let port = free_ports()?.0.local_addr()?.port();
        let address = format!("localhost:{port}");
        let (ok, said) = make(&["server"], &[("TEMPORAL_ADDRESS", &address)])?;
        cleanups.push(Cleanup(address));
        ensure!(ok && said.contains("(started)"), "{said}");
        let elsewhere = format!("temporal.example:{port}");
        let (ok, said) = make(&["clean-server"], &[("TEMPORAL_ADDRESS", &elsewhere)])?;
        ensure!(ok && said.contains("none of ours is running"), "{said}");
    }
    let (ok, said) = make(&["stop"], &[])?;
    ensure!(ok && said.matches("(stopped)").count() == 2, "{said}");
    ensure!(held()? >= 2, "the databases are gone");
    let (ok, said) = make(&["clean-server"], &[])?;
    ensure!(ok && held()? == 0, "{} files are left: {said}", held()?);
    Ok(())
}

/// An address of this machine that the development server cannot serve is refused, and no server is started at another
/// address. If a server already answers at such an address, it is used.
#[test]
fn the_server_is_where_it_was_asked_for() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
    let port = free_ports()?.0.local_addr()?.port();
    for host in ["[::1]", "127.0.0.2", "0.0.0.0", "[::]"] {
        let address = format!("{host}:{port}");
        let _cleanup = Cleanup(format!("localhost:{port}"));
        let (ok, said) = make(&["server"], &[("TEMPORAL_ADDRESS", &address)])?;
        let why = format!(
            "Error: no server answers at {address}, and the development server can listen at 127.0.0.1 \
             alone; set TEMPORAL_ADDRESS=localhost:{port}\n"
        );
        ensure!(!ok && said.starts_with(&why), "{said}");
        ensure!(
            TcpStream::connect(("127.0.0.1", port)).is_err(),
            "{address}"
        );
    }

    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        writeln!(std::io::stderr(), "SKIPPED: this machine has no IPv6")?;
        return Ok(());
    };
    let address = listener.local_addr()?.to_string();
    forward(listener, testing::address()?);
    let at = [("TEMPORAL_ADDRESS", address.as_str())];
    let (ok, said) = make(&["server"], &at)?;
    let running = format!("server   {address} (running)\n");
    ensure!(ok && said == running, "{said}");
    let run = output(&["run-hello"], &at)?;
    ensure!(
        run.status.success() && run.stdout.starts_with(b"result: "),
        "{run:?}"
    );
    Ok(())
}

/// Forwards every connection to the server at `target`, until this process ends.
fn forward(listener: TcpListener, target: &'static str) {
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            // An error ends the connection.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    };
    std::thread::spawn(move || -> std::io::Result<()> {
        loop {
            let (client, server) = (listener.accept()?.0, TcpStream::connect(target)?);
            pass(client.try_clone()?, server.try_clone()?);
            pass(server, client);
        }
    });
}

/// The error names the cause: another process has the port or the Web UI's port, or the address has no port.
#[test]
fn the_server_says_why_it_cannot_start() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
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

/// One clear line reports an unknown pattern, a worker that cannot connect, and an `execute` without a type.
#[test]
fn a_run_says_why_it_fails() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
    let address = testing::address()?;
    let at = ("TEMPORAL_ADDRESS", address);
    let (ok, said) = make(&["run-nope"], &[at])?;
    ensure!(
        !ok && said.contains("Error: there is no pattern nope; there are: "),
        "{said}"
    );

    let (ok, said) = make(&["run-hello"], &[at, ("TEMPORAL_TLS", "true")])?;
    // Either of the two may fail first.
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

/// Input arrives as it was typed, even if it has a meaning for make or a shell.
#[test]
fn input_arrives_as_typed() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
    let name = r#"$USER's $(pwd) `id` $$ "quoted" \ é"#;
    let input = format!("INPUT={}", serde_json::to_string(name)?);
    let at = [("TEMPORAL_ADDRESS", testing::address()?)];
    let run = output(&["execute-hello", "TYPE=HelloWorkflow", &input], &at)?;
    let expected = serde_json::to_string(&format!("Hello, {name}!"))?;
    ensure!(
        String::from_utf8(run.stdout)?.contains(&expected),
        "not {expected}: {}",
        String::from_utf8(run.stderr)?
    );
    Ok(())
}

/// `make test` finds the tests in cargo's messages, and runs each in the folder of its package. A test that hangs is
/// killed with the processes that it has started, and fails. The last lines say which tests failed, and why. The cargo
/// here is a fake with two tests.
#[test]
fn make_test_runs_the_tests_that_cargo_lists() -> anyhow::Result<()> {
    let checkout = checkout()?;
    let folder = checkout.join("shared");
    let programs = checkout.join("programs");
    fs::create_dir_all(&programs)?;
    let mut messages = String::new();
    for name in ["input", "other"] {
        let test = programs.join(format!("{name}-0123"));
        script(&test, "pwd")?;
        // As text, because cargo does not sort the keys.
        messages += &format!(
            r#"{{"manifest_path":{},"profile":{{"test":true}},"executable":{}}}"#,
            serde_json::to_string(&folder.join("Cargo.toml"))?,
            serde_json::to_string(&test)?,
        );
        messages += "\n";
    }
    fs::write(programs.join("messages"), messages)?;
    let cargo = r#"case "$*" in *--no-run*) cat "${0%/*}/messages" ;; esac"#;
    script(&programs.join("cargo"), cargo)?;
    let path = format!("{}:{}", programs.display(), std::env::var("PATH")?);
    let test = || -> std::io::Result<Output> {
        let mut test = outside("shared/scripts/test");
        test.env("PATH", &path)
            // The folder in which it saves how long each test took.
            .env("CARGO_TARGET_DIR", &programs)
            .env("TEST_LIMIT", "2");
        test.current_dir(checkout).output()
    };
    let output = test()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    for name in ["input", "other"] {
        let ran = format!("Running shared, {name}\n{}\n", folder.display());
        ensure!(printed.contains(&ran), "not {ran}: {output:?}");
    }
    ensure!(output.status.success(), "{output:?}");

    let fails = "echo 'test a::b ... FAILED'; seq 90; echo 'test c ... FAILED'; seq 91 99; exit 1";
    script(&programs.join("input-0123"), fails)?;
    let output = test()?;
    let failed = "Error: failed: shared, input\n\
        test a::b ... FAILED\n1\n2\n3\n4\n--\ntest c ... FAILED\n91\n92\n93\n94\n";
    let said = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success() && said.ends_with(failed), "{said}");

    script(&programs.join("input-0123"), "echo begun; sleep 600")?;
    let output = test()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let killed = "Running shared, input\nbegun\nError: killed, it took longer than 2 s\n";
    ensure!(printed.contains(killed), "not {killed}: {output:?}");
    let failed = "Error: failed: shared, input\nError: killed, it took longer than 2 s\n";
    let said = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success() && said.ends_with(failed), "{said}");
    Ok(())
}

/// Writes an executable script.
fn script(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, format!("#!/usr/bin/env bash\n{text}\n"))?;
    Ok(fs::set_permissions(file, PermissionsExt::from_mode(0o755))?)
}

/// `RELEASE=1` reaches every call of cargo. The cargo here removes the profile before it calls the real cargo, because
/// the first optimized build takes minutes.
#[test]
fn release_reaches_cargo() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
    let address = testing::address()?;
    let (path, cargo) = (std::env::var("PATH")?, env!("CARGO"));
    let folder = std::env::temp_dir().join(format!("cargo-{}", Uuid::new_v4()));
    fs::create_dir(&folder)?;
    let wrapper = format!(
        r#"echo "called with $*" >>"{}/calls"
arguments=()
for argument in "$@"; do
    case "$argument" in --profile | quick) ;; *) arguments+=("$argument") ;; esac
done
exec "{cargo}" "${{arguments[@]}}""#,
        folder.display()
    );
    script(&folder.join("cargo"), &wrapper)?;
    let path = format!("{}:{path}", folder.display());
    let at = [("TEMPORAL_ADDRESS", address), ("PATH", &path), BUILD];
    let released = |arguments: &[&str]| -> anyhow::Result<bool> {
        let (ok, said) = make(arguments, &at)?;
        ensure!(ok, "{said}");
        let calls = fs::read_to_string(folder.join("calls"))?;
        fs::remove_file(folder.join("calls"))?;
        assert_eq!(calls.lines().count(), 1, "{calls}");
        Ok(calls.contains("--profile quick"))
    };
    assert!(released(&["run-hello", "RELEASE=1"])?);
    assert!(!released(&["run-hello"])?);
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Without the tool that it needs, `make pgo-<pattern>` fails with one clear line before it builds.
#[test]
fn pgo_names_the_missing_tool() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
    let address = testing::address()?;
    let at = [
        ("TEMPORAL_ADDRESS", address),
        ("LLVM_PROFDATA", "no-profdata"),
    ];
    let (ok, said) = make(&["pgo-hello"], &at)?;
    let why = "Error: there is no no-profdata; `rustup component add llvm-tools` brings it,";
    ensure!(!ok && said.contains(why), "{said}");
    Ok(())
}

/// `make lint` refuses words that make a sentence hard to read, even if a line break divides them. Of a Rust file it
/// checks only the comments.
#[test]
fn hard_words_are_refused() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("english-{}", Uuid::new_v4()));
    fs::create_dir(&folder)?;
    for (file, lines, found) in [
        (
            "page.md",
            ["It waits for", "ever, for it hangs."],
            &["page.md:1: for ever; ", "page.md:2: , for it; "][..],
        ),
        (
            "code.rs",
            ["let thus = \"in vain\";", "/// Hence the name."],
            &["code.rs:2: hence; "],
        ),
        (
            "good.md",
            ["It waits forever,", "and enthusiasm ends."],
            &[],
        ),
    ] {
        let file = folder.join(file);
        fs::write(&file, lines.join("\n"))?;
        let output = outside("shared/scripts/english")
            .arg(&file)
            .current_dir(root())
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.success() == found.is_empty(), "{said}");
        let lines = said.lines().filter(|line| !line.starts_with("Error: "));
        ensure!(lines.count() == found.len(), "{said}");
        for line in found {
            ensure!(said.contains(line), "not {line}: {said}");
        }
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// `make replay` fails with one clear line if there is nothing to replay, if the file does not exist or is not a history,
/// and if the server does not know the workflow.
#[test]
fn a_replay_says_why_it_fails() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
    let address = testing::address()?;
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
        let why = format!("Error: {why}");
        // A line before it may say that the Temporal CLI is downloaded.
        ensure!(
            !ok && said.lines().any(|line| line.starts_with(&why)),
            "{said}"
        );
    }
    Ok(())
}

/// Ctrl-C stops programs that a test starts, even if the test process itself ignores it.
#[test]
fn the_tests_may_ignore_interrupts() -> anyhow::Result<()> {
    let output = Command::new("sh")
        .args(["-c", r#"trap "" INT; exec "$0" "$@""#])
        .arg(std::env::current_exe()?)
        .args(["an_interrupted_program_ends", "--exact", "--ignored"])
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

#[test]
#[ignore = "a part of the test above"]
fn an_interrupted_program_ends() -> anyhow::Result<()> {
    let status = outside("sh").args(["-c", "kill -s INT $$"]).status()?;
    ensure!(status.signal() == Some(2), "{status}");
    Ok(())
}

/// Ctrl-C while the starter waits stops all processes, including the worker.
#[test]
fn an_interrupted_run_leaves_no_worker() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
    let address = testing::address()?;
    let mut run = command(
        &["run-hello", "ARGS=--task-queue nobody-polls-this"],
        &[("TEMPORAL_ADDRESS", address)],
    )?
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

/// A worker whose server is frozen ends by itself within its grace period, and is not killed.
#[test]
fn a_frozen_server_does_not_get_its_worker_killed() -> anyhow::Result<()> {
    let port = free_ports()?.0.local_addr()?.port();
    let address = format!("localhost:{port}");
    // A checkout of its own, because the test takes long, and other tests write to the log of this sample.
    let checkout = make_checkout("frozen")?;
    let state = checkout.join(".temporal");
    ensure!(
        script_of(&checkout, "server", &["start"], &address)
            // Otherwise this checkout would download its own.
            .env("TEMPORAL_CLI", temporal_cli()?)
            .status()?
            .success(),
        "no server"
    );
    let pid = fs::read_to_string(state.join(format!("server-{port}.pid")))?;
    let server = Frozen {
        checkout: &checkout,
        address: &address,
        pid: pid.trim().to_owned(),
    };

    let arguments = ["run", "hello", "--task-queue", "nobody-polls-this"];
    let mut run = script_of(&checkout, "sample", &arguments, &address)
        .envs(built())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = BufReader::new(run.stderr.take().context("piped")?);
    for line in stderr.lines() {
        if line?.starts_with("history ") {
            server.signal("STOP")?;
            Command::new("kill").arg(run.id().to_string()).status()?;
        }
    }
    let status = run.wait()?;
    ensure!(status.code() == Some(143), "{status}");
    let log = fs::read_to_string(state.join("hello-worker.log"))?;
    let seconds = SHUTDOWN_LIMIT.as_secs();
    let ended =
        format!("ended after {seconds} s, although no activity runs: the server does not answer");
    ensure!(log.contains(&ended), "{log}");
    Ok(())
}

/// Every grace period for a worker is longer than the worker's own limit.
#[test]
fn grace_periods_are_long_enough() -> anyhow::Result<()> {
    for (file, before) in [
        ("shared/scripts/sample", "\ngrace="),
        (
            "shared/new/template/docker-compose.yml",
            "\n    stop_grace_period: ",
        ),
    ] {
        let text = fs::read_to_string(root().join(file))?;
        let (_, after) = text.split_once(before).context(file)?;
        let grace: String = after.chars().take_while(char::is_ascii_digit).collect();
        ensure!(
            grace.parse::<u64>()? > SHUTDOWN_LIMIT.as_secs(),
            "{file}: {grace}"
        );
    }
    Ok(())
}

/// The mtls gateway, used as a server that speaks TLS. It is killed on drop.
struct Secured {
    gateway: Child,
    port: u16,
}

impl Secured {
    /// Starts the gateway in front of the test server, with certificates from `make certs`.
    fn start() -> anyhow::Result<Self> {
        let (ok, said) = make(&["certs"], &[])?;
        ensure!(ok, "{said}");
        let port = free_ports()?.0.local_addr()?.port();
        let mut gateway = outside(&binaries()?.join("mtls-gateway").to_string_lossy())
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--target", testing::address()?])
            .current_dir(checkout()?)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = BufReader::new(gateway.stdout.take().context("piped")?);
        ensure!(stdout.lines().next().is_some(), "the gateway ended");
        Ok(Self { gateway, port })
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

/// If the local server speaks TLS, mtls connects to it without a gateway. Other samples say which variables to set, and
/// run when they are set. The output names the Web UI if there is one.
#[test]
fn a_server_with_tls_is_recognized() -> anyhow::Result<()> {
    let _alone = alone(&CHECKOUT);
    let secured = Secured::start()?;
    let port = secured.port;
    let address = format!("localhost:{port}");
    let at = ("TEMPORAL_ADDRESS", address.as_str());
    let run = |pattern: &str, variables: &[(&str, &str)]| -> anyhow::Result<(bool, String)> {
        let output = output(&[&format!("run-{pattern}")], variables)?;
        let result = output.stdout.starts_with(b"result: ");
        Ok((
            output.status.success() && result,
            String::from_utf8(output.stderr)?,
        ))
    };

    let (ok, said) = run("mtls", &[at])?;
    ensure!(
        ok && said.contains(&format!("server   {address} (TLS)\n")),
        "{said}"
    );
    ensure!(!said.contains("gateway"), "{said}");

    let (ok, said) = run("hello", &[at])?;
    let why = format!("Error: {address} speaks TLS, and nothing turns TLS on; set TEMPORAL_TLS_");
    ensure!(!ok && said.contains(&why), "{said}");

    let with_tls = [
        at,
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", ".temporal/certs/ca.pem"),
        (
            "TEMPORAL_TLS_CLIENT_CERT_PATH",
            ".temporal/certs/client.pem",
        ),
        ("TEMPORAL_TLS_CLIENT_KEY_PATH", ".temporal/certs/client.key"),
    ];
    let (ok, said) = run("hello", &with_tls)?;
    ensure!(
        ok && said.contains(&format!("server   {address} (TLS)\n")),
        "{said}"
    );
    ensure!(said.contains("\nworkflow hello-"), "{said}");

    let _ui = TcpListener::bind(("127.0.0.1", port + 1000))?;
    let ui = format!("http://localhost:{}", port + 1000);
    for pattern in ["hello", "mtls"] {
        let (ok, said) = run(pattern, &with_tls)?;
        let server = format!("server   {address} (TLS), Web UI {ui}\n");
        ensure!(ok && said.contains(&server), "{said}");
        ensure!(
            said.contains(&format!("\nhistory  {ui}/namespaces/")),
            "{said}"
        );
        ensure!(!said.contains("gateway"), "{said}");
    }
    Ok(())
}

/// A starter in another terminal uses the worker's sidecar, here the gateway of mtls. The sidecar stops with the worker,
/// after a run and by Ctrl-C.
#[test]
fn sidecars_stop_with_the_worker() -> anyhow::Result<()> {
    let _alone = (alone(&GATEWAY), alone(&CHECKOUT));
    let address = testing::address()?;
    let at = [("TEMPORAL_ADDRESS", address)];
    let (_, port) = address.rsplit_once(':').context("a port")?;
    let port: u16 = port.parse::<u16>()? + 10;
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    let (ok, said) = make(&["run-mtls"], &[at[0], BUILD])?;
    ensure!(ok && said.contains("\ngateway  "), "{said}");
    ensure!(!listens(), "the gateway runs on after a run");

    let mut worker = command(&["worker-mtls"], &at)?
        .process_group(0)
        .stderr(Stdio::piped())
        .spawn()?;
    let group = format!("-{}", worker.id());
    // Its output ends when the last of its processes has ended.
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
