//! Creates projects from samples, then builds and runs them. This takes minutes, so only `make test-new` does it.
//!
//! `FROM` lists the patterns, or is `all`, or `one` for a different one each day. Their projects are checked, tested,
//! linted and run. Without `FROM`, the projects of all patterns are checked, and three of them are also tested, linted
//! and run.

#![cfg(unix)]

use crate::common::{FOLDER, free_address, new_project, outside, patterns, root, temporal_cli};
use anyhow::{Context, ensure};
use std::{
    path::Path,
    time::{Instant, SystemTime},
};

/// Returns the patterns to check, and those of them to test and run.
fn chosen() -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let all = patterns()?;
    let days = SystemTime::UNIX_EPOCH.elapsed()?.as_secs() / (24 * 60 * 60);
    let turn = |many: usize| -> anyhow::Result<Vec<String>> {
        let first = usize::try_from(days)? * many;
        let turn = all.iter().cycle().skip(first % all.len()).take(many);
        Ok(turn.cloned().collect())
    };
    let from = std::env::var("FROM").unwrap_or_default();
    let these = match &*from {
        "" => return Ok((all.clone(), turn(3)?)),
        "all" => all.clone(),
        "one" => turn(1)?,
        some => some.split_whitespace().map(str::to_owned).collect(),
    };
    Ok((these.clone(), these))
}

/// `make test`, `make lint` and `make run` succeed in a new project.
#[test]
#[ignore = "takes minutes: make test-new"]
fn projects_work() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // The repository's target directory, which already has the SDK.
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => target.into(),
        None => root().canonicalize()?.join("target"),
    };
    let cli = temporal_cli()?;
    let (check, all) = chosen()?;
    for pattern in &check {
        let name = format!("my-{pattern}");
        let dir = folder.path().join(FOLDER).join(&name);
        let made = new_project(pattern, &name, &dir)?;
        ensure!(made.status.success(), "{}", String::from_utf8(made.stderr)?);
        let run = |program: &str, arguments: &str| {
            let begun = Instant::now();
            let mut command = outside(program, &dir);
            command
                .args(arguments.split(' '))
                .env("CARGO_TARGET_DIR", &target)
                .env("CARGO_INCREMENTAL", "0")
                .env("TEMPORAL_CLI", &cli);
            if arguments != "test" {
                command.env("TEMPORAL_ADDRESS", free_address()?);
            }
            let output = command.output()?;
            let (stdout, stderr) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            ensure!(
                output.status.success(),
                "{name}: {program} {arguments}: {}\n{stdout}{stderr}",
                output.status
            );
            eprintln!("{name}: {program} {arguments}: {:.0?}", begun.elapsed());
            Ok(stdout.into_owned())
        };
        // Clippy checks the same as `cargo check`, and its results are shared between projects too.
        if !all.contains(pattern) {
            run("cargo", "check --quiet --workspace --all-targets --locked")?;
        } else {
            run("make", "test")?;
            run("make", "lint")?;
            let printed = run("make", "run")?;
            let last = printed.lines().last().context("nothing printed")?;
            ensure!(last.starts_with("result: "), "{name}: {printed}");
        }
        stop(&dir);
        // The binaries of all projects would fill the disk.
        run("cargo", &format!("clean --quiet --package {name}"))?;
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

/// Stops every server that the project started.
fn stop(dir: &Path) {
    let stopped = outside("make", dir).arg("stop").output();
    if let Err(error) = stopped {
        eprintln!("make stop: {error}");
    }
}
