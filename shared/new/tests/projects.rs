//! Creates a project from every sample, without building it, and tests which requests are refused.

use crate::common::{FOLDER, free_address, new_project, outside, patterns, root, temporal_cli};
use anyhow::{Context, ensure};
use regex::Regex;
use std::{collections::BTreeSet, path::Path, sync::Mutex};
use toml_edit::DocumentMut;
use walkdir::WalkDir;

/// A name that occurs in no sample.
const NAME: &str = "zed-two";

/// A project has all its files under the new name, and no dependency on the repository.
#[test]
fn every_sample_becomes_a_project() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let ours = packages(&root().join("Cargo.lock"))?;
    let (queue, failures) = (Mutex::new(patterns()?.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic").next();
                    let Some(pattern) = next else { return };
                    let taken = take(&pattern, &folder.path().join(&pattern), &ours);
                    if let Err(error) = taken {
                        let mut failures = failures.lock().expect("no panic");
                        failures.push(format!("{pattern}: {error:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner()?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    let left = std::fs::read_dir(folder.path())?.count();
    ensure!(left == patterns()?.len(), "something half-written is left");
    Ok(())
}

fn take(pattern: &str, dir: &Path, ours: &BTreeSet<String>) -> anyhow::Result<()> {
    let made = new_project(pattern, NAME, dir)?;
    let said = String::from_utf8(made.stderr)?;
    ensure!(made.status.success(), "{said}");
    ensure!(said.starts_with("created  "), "{said}");
    for file in [
        ".clippy.toml",
        ".dockerignore",
        ".github/workflows/ci.yml",
        ".gitignore",
        "Cargo.lock",
        "Dockerfile",
        "Makefile",
        "README.md",
        "docker-compose.yml",
        "shared/LICENSE",
        "shared/scripts/app",
        "src/bin/worker.rs",
        "tests/replay.rs",
    ] {
        ensure!(dir.join(file).is_file(), "no {file}");
    }
    let compose = std::fs::read_to_string(dir.join("docker-compose.yml"))?;
    let accepts = compose.contains("\n    command: --insecure-development-key\n");
    let takes_keys = compose.contains("\n      TEMPORAL_ENCRYPTION_KEY: ");
    let encrypts = pattern == "encryption";
    ensure!((accepts, takes_keys) == (encrypts, encrypts), "{compose}");
    names_are_new(pattern, dir)?;
    commands_are_there(dir)?;
    versions_are_ours(dir, ours)
}

/// Checks that a project has no name of the sample, no path into the repository, nothing that it inherits from a
/// workspace, no metadata for this workspace, and no placeholder.
fn names_are_new(pattern: &str, dir: &Path) -> anyhow::Result<()> {
    let root = root().canonicalize()?;
    let root = root.to_str().context("UTF-8")?;
    let old_crate = pattern.replace('-', "_");
    // An id with another suffix is that of a key in encrypted payloads, or of a schedule.
    let names = Regex::new(&format!(
        r#"\b{pattern}-(?:worker|starter|task|recorded|[0-9a-f]{{8}}\b)|\bmake [a-z]+-{pattern}\b|\bworkflow_id\("{pattern}"|\buse {old_crate}::|[( ]{old_crate}::[a-z_]+[(;]"#
    ))?;
    let paths = [
        "samples/",
        "](../",
        "\"/../../..",
        "workspace = true",
        "[package.metadata",
        "{{name}}",
        "{{command}}",
        "{{environment}}",
        "{{pattern",
        "{{connect}}",
    ];
    for entry in WalkDir::new(dir) {
        let entry = entry?;
        if !entry.file_type().is_file() {
            continue;
        }
        // Pictures are skipped.
        let Ok(text) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        let file = entry.path().strip_prefix(dir)?.display();
        ensure!(!text.contains(root), "{file} names {root}");
        let path = paths.iter().find(|path| text.contains(**path));
        ensure!(path.is_none(), "{file} has {path:?}");
        if text.contains(pattern) || text.contains(&old_crate) {
            let old = names.find(&text).map(|found| found.as_str());
            ensure!(old.is_none(), "{file} has {old:?}");
        }
    }
    Ok(())
}

/// Checks that the Makefile has every target that the README names.
fn commands_are_there(dir: &Path) -> anyhow::Result<()> {
    let makefile = std::fs::read_to_string(dir.join("Makefile"))?;
    let readme = std::fs::read_to_string(dir.join("README.md"))?;
    let command = Regex::new(r"(?m)(?:`|^\$ |^)make ([a-z-]+)")?;
    for found in command.captures_iter(&readme) {
        let target = format!("\n{}:", &found[1]);
        let known = makefile.contains(&target) || &found[1] == "new";
        ensure!(known, "the README says `make {}`", &found[1]);
    }
    Ok(())
}

/// Returns name and version of each package from a registry in a lock file.
fn packages(lock: &Path) -> anyhow::Result<BTreeSet<String>> {
    let lock: DocumentMut = std::fs::read_to_string(lock)?.parse()?;
    let packages = lock["package"].as_array_of_tables().context("packages")?;
    let from_a_registry = packages.iter().filter(|p| p.contains_key("source"));
    Ok(from_a_registry
        .map(|package| format!("{} {}", package["name"], package["version"]))
        .collect())
}

/// Checks that the project has the package versions that were tested here, and no unneeded packages.
fn versions_are_ours(dir: &Path, ours: &BTreeSet<String>) -> anyhow::Result<()> {
    let theirs = packages(&dir.join("Cargo.lock"))?;
    let other = Vec::from_iter(theirs.difference(ours));
    ensure!(other.is_empty(), "other versions: {other:?}");
    ensure!(theirs.len() < ours.len(), "the lock file was not pruned");
    Ok(())
}

/// A bad request fails with one line that says what is wrong, and leaves nothing on disk.
#[test]
fn bad_requests_are_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let free = folder.path().join("free");
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken)?;
    std::fs::write(taken.join("mine"), "")?;
    let inside = root().join("samples/my-app");
    let cases = [
        (
            "",
            "my-app",
            &free,
            "usage: make new FROM=<pattern> NAME=<my-app> DIR=<path>",
        ),
        ("hello", "", &free, "usage: make new "),
        (
            "hello",
            "my-app",
            &Path::new("").to_owned(),
            "usage: make new ",
        ),
        (
            "nope",
            "my-app",
            &free,
            "there is no pattern nope; there are: activity-choice approval async-activity-completion ",
        ),
        (
            "../hello",
            "my-app",
            &free,
            "there is no pattern ../hello; ",
        ),
        (
            "hello",
            "My App",
            &free,
            "NAME cannot be `My App`: a package here is named in ",
        ),
        (
            "hello",
            "1app",
            &free,
            "NAME cannot be `1app`: a package here is named in ",
        ),
        (
            "hello",
            "my-app-",
            &free,
            "NAME cannot be `my-app-`: a package here is named in ",
        ),
        (
            "hello",
            "../app",
            &free,
            "NAME cannot be `../app`: a package here is named in ",
        ),
        (
            "hello",
            "async",
            &free,
            "NAME cannot be `async`: it is a word of Rust's own",
        ),
        (
            "hello",
            "shared",
            &free,
            "NAME cannot be `shared`: cargo, Rust or this project ",
        ),
        (
            "hello",
            "test",
            &free,
            "NAME cannot be `test`: cargo, Rust or this project ",
        ),
        (
            "hello",
            "proc_macro",
            &free,
            "NAME cannot be `proc_macro`: cargo, Rust or this project ",
        ),
        (
            "hello",
            "serde-json",
            &free,
            "NAME cannot be `serde-json`: a dependency has that name",
        ),
        (
            "hello",
            "workflows",
            &free,
            "NAME cannot be `workflows`: a module has that name",
        ),
        ("hello", "my-app", &taken, "DIR is there already: "),
        (
            "hello",
            "my-app",
            &taken.join("mine"),
            "DIR is there already: ",
        ),
        (
            "hello",
            "my-app",
            &taken.join("mine/deeper"),
            "DIR cannot be made: ",
        ),
        ("hello", "my-app", &inside, "DIR is inside this workspace: "),
    ];
    for (from, name, dir, expected) in cases {
        let made = new_project(from, name, dir)?;
        let said = String::from_utf8(made.stderr)?;
        ensure!(!made.status.success(), "{from} {name} {}", dir.display());
        ensure!(said.starts_with(&format!("Error: {expected}")), "{said}");
        ensure!(said.lines().count() == 1, "{said}");
    }
    let left = std::fs::read_dir(folder.path())?.count();
    ensure!(left == 1 && !inside.exists(), "something is left");
    Ok(())
}

/// In a path with spaces and quotes, a project's scripts find their files and leave other files alone. The command that
/// `make new` prints as the next step can be pasted into a shell.
#[cfg(unix)]
#[test]
fn a_project_may_be_anywhere() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join(FOLDER).join("my-app");
    // The words into which a shell would split an unquoted path.
    let bystander = folder.path().join("my");
    std::fs::write(&bystander, "somebody's")?;
    let made = new_project("hello", "my-app", &dir)?;
    let said = String::from_utf8(made.stderr)?;
    let next = said.lines().find_map(|line| line.strip_prefix("next     "));
    let (enter, _) = next
        .and_then(|next| next.split_once(" && "))
        .context(said.clone())?;
    let entered = outside("sh", folder.path())
        .args(["-c", &format!("{enter} && pwd")])
        .output()?;
    ensure!(
        String::from_utf8(entered.stdout)?.trim_end() == dir.to_string_lossy(),
        "{said}"
    );

    let (cli, address) = (temporal_cli()?, free_address()?);
    let make = |target: &str, expected: &str| -> anyhow::Result<()> {
        let output = outside("make", &dir)
            .arg(target)
            .env("TEMPORAL_CLI", &cli)
            .env("TEMPORAL_ADDRESS", &address)
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.success() && said.contains(expected),
            "make {target}: {said}"
        );
        ensure!(bystander.exists(), "make {target} removed {bystander:?}");
        Ok(())
    };
    let worked = make("server", "(started)").and_then(|()| make("server", "(running)"));
    make("clean-server", "(stopped)")?;
    worked?;
    let left = std::fs::read_dir(dir.join(".temporal"))?.count();
    ensure!(left == 0, "something is left in .temporal");
    let beside = std::fs::read_dir(folder.path())?.count();
    ensure!(beside == 2, "something was written beside the project");
    Ok(())
}

/// An empty folder is accepted as the destination.
#[test]
fn an_empty_folder_is_accepted() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let made = new_project("hello", "my-app", folder.path())?;
    ensure!(made.status.success(), "{}", String::from_utf8(made.stderr)?);
    ensure!(folder.path().join("src/lib.rs").is_file(), "no source");
    Ok(())
}
