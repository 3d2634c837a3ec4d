//! Runs every command in a README, and compares its output with the README.
//!
//! In a block marked `console`, a line that begins with `$ ` is a command, and the lines after it are its expected
//! output on stdout and stderr. `...` stands for any lines, and `^C` as the last line interrupts a command that would
//! keep running. Everything that differs between two runs (ids, ports, times) is masked on both sides.

#![allow(clippy::expect_used, reason = "a test may panic, its helpers too")]

use crate::{GATEWAY, alone};
use anyhow::{Context, bail, ensure};
use regex::Regex;
use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::{LazyLock, Mutex, mpsc},
    time::{Duration, Instant},
};
use testing::{binaries, outside, root};

/// Time limit of a command. Everything is built before the first command runs.
const PATIENCE: Duration = Duration::from_secs(40);

/// Sentences that every sample's README has, word for word.
const FIXED_TEXTS: [&str; 2] = [
    "If a worker is killed, its workflows continue on another worker. `make test` checks this: it kills the worker \
     (`kill -9`) under the load in [`tests/load.json`](tests/load.json), and every workflow still ends as expected.",
    "This creates a project of your own: the code of this sample under the new name, the parts of `shared` that it \
     needs, tests, a Makefile, a Dockerfile and CI. `make test` and `make run` work there, and the project does not \
     depend on this repository.",
];

/// The sections of every sample's README, in this order.
const SECTIONS: [&str; 7] = [
    "What it shows",
    "Run it",
    "Break it",
    "How it works",
    "In production",
    "Take it",
    "See also",
];

/// Returns the names of the sample folders.
pub(crate) fn patterns() -> anyhow::Result<Vec<String>> {
    let mut patterns = Vec::new();
    for entry in std::fs::read_dir(root().join("samples"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            patterns.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    patterns.sort();
    ensure!(!patterns.is_empty(), "there are no samples");
    Ok(patterns)
}

struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
}

fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in markdown.lines().enumerate() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            line => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step {
                    line: number + 1,
                    command: command.to_owned(),
                    expected: Vec::new(),
                }),
                None => {
                    if let Some(step) = steps.last_mut() {
                        step.expected.push(line.to_owned());
                    }
                }
            },
        }
    }
    steps
}

/// What differs between two runs, and its name. Compiled once, because each takes milliseconds.
static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"-[0-9a-f]{8}\b", "-<id>"),
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "<run id>",
        ),
        (r"\b[0-9a-f]{32}\b", "<trace id>"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>"),
        (r" +[0-9.]+ ?m?s\b", " <duration>"),
        (r"failed \d+ times", "failed <n> times"),
        (r"Makefile:\d+", "Makefile:<line>"),
        (r"(src/\w+\.rs):\d+", "$1:<line>"),
        (r"(localhost|127\.0\.0\.1):\d+", "<address>"),
        (r"^server   .*", "server"),
    ]
    .map(|(pattern, name)| (Regex::new(pattern).expect("a valid mask"), name))
    .into()
});

fn mask(line: &str) -> String {
    let line = line.trim_end().to_owned();
    MASKS.iter().fold(line, |line, (pattern, name)| {
        pattern.replace_all(&line, *name).into_owned()
    })
}

/// Whether `expected`, in which `...` stands for any lines, describes the whole of `actual`. Both are masked.
fn matches(expected: &[String], actual: &[String]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=actual.len()).any(|skipped| matches(rest, &actual[skipped..]))
        }
        Some((first, rest)) => actual
            .split_first()
            .is_some_and(|(line, more)| first == line && matches(rest, more)),
    }
}

fn run(step: &Step, address: &str, binaries: &Path) -> anyhow::Result<()> {
    let interrupted = step.expected.last().is_some_and(|line| line == "^C");
    let expected = &step.expected[..step.expected.len() - usize::from(interrupted)];
    let masked: Vec<String> = expected.iter().map(|line| mask(line)).collect();
    let mut command = outside("sh");
    let mut child = command
        .args(["-c", &format!("exec 2>&1; {}", step.command)])
        .current_dir(root())
        .env("TEMPORAL_ADDRESS", address)
        // Runs the binaries without cargo. `scripts` tests that `make` builds them.
        .env("SAMPLE_BINARIES", binaries)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let group = format!("-{}", child.id());
    let kill = |signal: &str| {
        Command::new("kill")
            .args(["-s", signal, "--", &group])
            .status()
    };

    let (sender, lines) = mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    std::thread::spawn(move || {
        stdout
            .lines()
            .map_while(Result::ok)
            .try_for_each(|l| sender.send(l))
    });
    let (deadline, mut actual, mut masked_actual) =
        (Instant::now() + PATIENCE, Vec::new(), Vec::new());
    let building = Regex::new(r"^ +(Compiling|Finished|Blocking) ").expect("valid");
    let matched = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if building.is_match(&line) => {}
            Ok(line) => {
                masked_actual.push(mask(&line));
                actual.push(line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break matches(&masked, &masked_actual),
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
        if interrupted && matches(&masked, &masked_actual) {
            break true;
        }
    };
    if interrupted || !matched {
        kill("INT")?;
        // The output ends when the last of its processes has ended.
        let deadline = Instant::now() + Duration::from_secs(15);
        let wait = || lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        while let Err(mpsc::RecvTimeoutError::Timeout) | Ok(_) = wait() {
            if Instant::now() >= deadline {
                kill("KILL")?;
                bail!("`{}` does not end by Ctrl-C", step.command);
            }
        }
    }
    child.wait()?;
    ensure!(
        matched,
        "line {}: `{}` should print\n{}\nand printed\n{}",
        step.line,
        step.command,
        expected.join("\n"),
        actual.join("\n"),
    );
    Ok(())
}

/// Runs all commands of one README, in order.
fn check(readme: &Path, address: &str, binaries: &Path) -> anyhow::Result<()> {
    let markdown = std::fs::read_to_string(readme)?;
    let steps = steps(&markdown);
    ensure!(!steps.is_empty(), "{} shows no command", readme.display());
    for step in &steps {
        run(step, address, binaries).with_context(|| format!("{}", readme.display()))?;
    }
    Ok(())
}

/// All commands in the READMEs print the documented output.
#[test]
fn commands_print_what_is_documented() -> anyhow::Result<()> {
    // `scripts` also runs the sample whose gateway has a fixed port.
    let _alone = alone(&GATEWAY);
    let binaries = binaries()?;
    let address = testing::address()?;
    let mut readmes = vec![root().join("README.md")];
    for pattern in patterns()? {
        readmes.push(root().join("samples").join(pattern).join("README.md"));
    }
    let (queue, failures) = (Mutex::new(readmes.into_iter()), Mutex::new(Vec::new()));
    // Commands mostly wait, so several of them run side by side.
    std::thread::scope(|scope| {
        for _ in 0..7 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic").next();
                    let Some(readme) = next else { return };
                    if let Err(error) = check(&readme, address, &binaries) {
                        failures
                            .lock()
                            .expect("no panic")
                            .push(format!("{error:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner()?;
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

/// Every sample has the same files, and its README has the same sections in the same order.
#[test]
fn samples_are_alike() -> anyhow::Result<()> {
    let files = [
        "Cargo.toml",
        "README.md",
        "src/lib.rs",
        "src/workflows.rs",
        "src/bin/worker.rs",
        "src/bin/starter.rs",
        "tests/workflow.rs",
        "tests/replay.rs",
    ];
    for pattern in patterns()? {
        let folder = root().join("samples").join(&pattern);
        for file in files {
            ensure!(folder.join(file).is_file(), "{pattern} has no {file}");
        }
        let readme = std::fs::read_to_string(folder.join("README.md"))?;
        let sections: Vec<&str> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        ensure!(
            sections == SECTIONS,
            "{pattern}'s README has the sections {sections:?}"
        );
        let run = format!("$ make run-{pattern}");
        ensure!(
            readme.contains(&run),
            "{pattern}'s README does not say `{run}`"
        );
        let worker = Regex::new(&format!("cargo run (--release )?--bin {pattern}-worker"))?;
        ensure!(
            worker.is_match(&readme),
            "{pattern}'s README does not say how to run its worker without make"
        );
        let words: Vec<&str> = readme.split_whitespace().collect();
        for text in FIXED_TEXTS {
            ensure!(
                words.join(" ").contains(text),
                "{pattern}'s README does not say: {text}"
            );
        }
        ensure!(
            std::fs::read_to_string(root().join("README.md"))?
                .contains(&format!("samples/{pattern}/README.md")),
            "the catalogue in the top README lacks {pattern}"
        );
    }
    Ok(())
}

/// The README names the oldest Rust that `Cargo.toml` accepts, and CI builds with it.
#[test]
fn the_minimum_rust_is_tested() -> anyhow::Result<()> {
    let read = |file: &str| std::fs::read_to_string(root().join(file));
    let manifest = read("Cargo.toml")?;
    let line = Regex::new(r#"(?m)^rust-version = "(.*)"$"#)?;
    let version = &line.captures(&manifest).context("no rust-version")?[1];
    let readme = read("README.md")?;
    for sentence in [
        format!("Rust {version} or newer"),
        format!("| Rust | {version} at least"),
    ] {
        ensure!(readme.contains(&sentence), "no `{sentence}` in README.md");
    }
    let ci = read(".github/workflows/ci.yml")?;
    ensure!(
        ci.contains("^rust-version = ") && ci.contains(r#"cargo "+$version" check"#),
        "CI does not build with Rust {version}"
    );
    Ok(())
}

/// Links between files of this repository lead to a file, and to a heading in it if they name one.
#[test]
fn links_lead_somewhere() -> anyhow::Result<()> {
    let link = Regex::new(r"\]\(([^)#:]*)(?:#([^)]*))?\)")?;
    let mut pages = vec![root().join("README.md")];
    let samples = patterns()?;
    let samples = samples.iter().map(|pattern| format!("samples/{pattern}"));
    let folders = ["shared", "shared/docs", ".github"].map(str::to_owned);
    for folder in samples.chain(folders) {
        for file in std::fs::read_dir(root().join(folder))? {
            let file = file?.path();
            if file.extension() == Some("md".as_ref()) {
                pages.push(file);
            }
        }
    }
    for page in pages {
        let markdown = std::fs::read_to_string(&page)?;
        for found in link.captures_iter(&markdown) {
            let target = match &found[1] {
                "" => page.clone(),
                path => page.parent().context("in a folder")?.join(path),
            };
            let shown = format!("{}: {}", page.display(), &found[0]);
            ensure!(target.exists(), "{shown} leads nowhere");
            if let Some(anchor) = found.get(2) {
                let anchors = anchors(&std::fs::read_to_string(&target)?);
                ensure!(
                    anchors.iter().any(|known| known == anchor.as_str()),
                    "{shown} names no heading"
                );
            }
        }
    }
    Ok(())
}

/// Returns the anchors of headings: in lower case, with hyphens instead of spaces, and without other punctuation.
fn anchors(markdown: &str) -> Vec<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    let text = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    text.map(|text| {
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
    .collect()
}
