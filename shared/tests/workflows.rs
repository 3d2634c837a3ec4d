//! Rules for the samples' workflow code that follow from the SDK's behaviour.

use anyhow::ensure;
use regex::Regex;
use std::{
    fs,
    path::{Path, PathBuf},
};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples");

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Returns every Rust file under a sample's `src`, with its text.
fn sources() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for sample in fs::read_dir(SAMPLES)? {
        let folder = sample?.path().join("src");
        if folder.is_dir() {
            rust_files(&folder, &mut files)?;
        }
    }
    let texts = files.into_iter().map(|file| {
        let text = fs::read_to_string(&file)?;
        Ok((file, text))
    });
    texts.collect()
}

/// Returns every file under a sample's `src` that contains workflows, with its text.
fn workflows() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut workflows = sources()?;
    workflows.retain(|(_, text)| text.contains("#[workflow_methods"));
    ensure!(!workflows.is_empty(), "no sample has a workflow");
    Ok(workflows)
}

/// Every worker of a sample has the interceptors for activities and for workflows. So its log lines name the workflow,
/// it does not log during a replay, and it refuses payloads that are too large for the server.
#[test]
fn every_worker_has_the_interceptors() -> anyhow::Result<()> {
    let mut workers = 0;
    for (file, text) in sources()? {
        let file = file.display();
        for (at, _) in text.match_indices("WorkerOptions::new(") {
            let options = &text[at..];
            // The options are the end of the function.
            let options = options.split("\n}\n").next().unwrap_or_default();
            for registered in [
                ".activity_inbound_interceptor(LogFields)",
                ".workflow_interceptor(LogFields::in_workflows())",
                ".activity_inbound_interceptor(SizeLimit)",
                ".workflow_interceptor(SizeLimit::in_workflows())",
            ] {
                assert!(options.contains(registered), "{file} has no {registered}");
            }
            workers += 1;
        }
    }
    let samples = fs::read_dir(SAMPLES)?.count();
    assert!(workers >= samples, "{workers} workers in {samples} samples");
    Ok(())
}

/// Every file with workflow code denies the lints of `.clippy.toml`, which are allowed elsewhere.
#[test]
fn workflow_code_is_linted() -> anyhow::Result<()> {
    let lines = "\n#![deny(clippy::disallowed_macros)]\n#![deny(clippy::disallowed_methods)]\n\
                 #![deny(clippy::disallowed_types)]\n";
    let top = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut folders = vec![top.join("shared/src")];
    for parent in ["samples", "shared"] {
        for entry in fs::read_dir(top.join(parent))? {
            folders.push(entry?.path().join("src"));
        }
    }
    let mut files = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        rust_files(folder, &mut files)?;
    }
    let workflow_code = Regex::new(r"#\[workflow_methods|\bWorkflowContext\b")?;
    let mut linted = 0;
    for file in files {
        let text = fs::read_to_string(&file)?;
        // The rule does not apply to tests and comments.
        let code = text.split("\n#[cfg(test)]\nmod tests {").next();
        let code = code.unwrap_or_default();
        let mut code = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        if code.any(|line| workflow_code.is_match(line)) {
            ensure!(
                text.contains(lines),
                "{} has workflow code and lacks these lines:{lines}",
                file.display()
            );
            linted += 1;
        }
    }
    ensure!(linted > 0, "there is no workflow code");
    Ok(())
}

/// A local activity's start-to-close timeout comes with `timer_backoff_threshold(Duration::ZERO)`, and a
/// local activity has a limited number of attempts. Otherwise the timer of a failed attempt can cancel the
/// next one, and the failure of the last attempt can be lost, as tests of `local-activity` show.
#[test]
fn local_activities_avoid_the_traps() -> anyhow::Result<()> {
    let mut options = 0;
    for (file, text) in workflows()? {
        for (at, _) in text.match_indices("LocalActivityOptions::builder()") {
            let (before, after) = text.split_at(at);
            let chain = after.split(".build()").next().unwrap_or_default();
            let starts = chain.contains(".start_to_close_timeout(");
            assert!(
                !starts || chain.contains(".timer_backoff_threshold(Duration::ZERO)"),
                "{}: `start_to_close_timeout` of a local activity without \
                 `timer_backoff_threshold(Duration::ZERO)`",
                file.display()
            );
            let policy = before.rsplit("let retry_policy").next().unwrap_or_default();
            assert!(
                chain.contains(".retry_policy(retry_policy)")
                    && policy.contains(".maximum_attempts("),
                "{}: a local activity without a `retry_policy` with `maximum_attempts`",
                file.display()
            );
            options += 1;
        }
    }
    assert!(options > 0, "no sample has a local activity");
    Ok(())
}

/// The error of an awaited activity or child goes through `or_cancelled` before it ends the workflow, or
/// a comment above says why not. With `?` alone a cancelled workflow may end FAILED, as tests of `hello`,
/// `child-workflow` and `polling-frequent` show.
#[test]
fn errors_do_not_hide_a_cancellation() -> anyhow::Result<()> {
    let awaited = Regex::new(
        r"(?s)\.\s*(?:execute_activity|execute_local_activity|start_child_workflow|result)\((?:[^()]|\([^()]*\))*\)\s*\.await\?",
    )?;
    for (file, text) in workflows()? {
        for found in awaited.find_iter(&text) {
            let before: Vec<_> = text[..found.start()].lines().rev().take(3).collect();
            assert!(
                before.iter().any(|line| line.contains("or_cancelled")),
                "{}: `?` on {}, in place of `or_cancelled`",
                file.display(),
                found.as_str()
            );
        }
    }
    Ok(())
}
