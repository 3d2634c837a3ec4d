//! Checks the request before anything is written.

use crate::{
    files::{files, read},
    names,
};
use anyhow::{Context, bail, ensure};
use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};
use toml_edit::DocumentMut;

/// Reserved words of Rust. `cargo new` refuses the same ones.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Names of the standard library, of crates in a project, and of folders in cargo's target directory.
const TAKEN: [&str; 15] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "http-client",
    "incremental",
    "payload-codec",
    "polled-service",
    "proc-macro",
    "shared",
    "std",
    "test",
    "testing",
    "tests",
];

/// An existing pattern, a name that cargo accepts, and a free folder.
pub struct Request {
    pub pattern: String,
    pub name: String,
    pub dir: PathBuf,
}

impl Request {
    /// # Errors
    /// If one of them is not usable. The error is one line that says what is wrong, and what is possible.
    pub fn check(root: &Path, from: &str, name: &str, dir: &str) -> anyhow::Result<Self> {
        ensure!(
            ![from, name, dir].contains(&""),
            "usage: make new FROM=<pattern> NAME=<my-app> DIR=<path>"
        );
        let patterns = patterns(root)?;
        ensure!(
            patterns.iter().any(|pattern| pattern == from),
            "there is no pattern {from}; there are: {}",
            patterns.join(" ")
        );
        check_name(root, from, name)?;
        Ok(Self {
            pattern: from.to_owned(),
            name: name.to_owned(),
            dir: check_dir(root, dir)?,
        })
    }
}

/// Returns the words before `::` or after `mod` in a sample. The new crate cannot have one of these names.
fn modules(root: &Path, pattern: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut sources = String::new();
    for file in files(&root.join("samples").join(pattern))? {
        if file.extension().is_some_and(|extension| extension == "rs") {
            sources += &read(&file)?;
            sources.push('\n');
        }
    }
    let mut modules = BTreeSet::from_iter(names::modules(&sources)?);
    modules.remove(&pattern.replace('-', "_"));
    Ok(modules)
}

/// Returns the folder for the new sample `name`: `dir`, or a folder among the samples.
pub fn sample_dir(root: &Path, name: &str, dir: &str) -> anyhow::Result<PathBuf> {
    ensure!(!name.is_empty(), "usage: make new-sample NAME=<pattern>");
    ensure!(
        !name.contains('_'),
        "NAME cannot be `{name}`: a pattern's words are joined by dashes"
    );
    check_name(root, "hello", name)?;
    Ok(match dir {
        "" => root.join("samples").join(name),
        dir => without_dots(&std::path::absolute(dir)?),
    })
}

fn patterns(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut patterns = Vec::new();
    for entry in std::fs::read_dir(root.join("samples")).context("cannot list samples")? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            patterns.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    patterns.sort();
    Ok(patterns)
}

fn check_name(root: &Path, from: &str, name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    ensure!(
        name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.ends_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(plain),
        "NAME cannot be `{name}`: a package here is named in up to 64 lower-case letters, digits, `-` and `_`, with a letter first and no dash last"
    );
    ensure!(
        !KEYWORDS.contains(&name),
        "NAME cannot be `{name}`: it is a word of Rust's own"
    );
    let module = |word: &str| word.replace('-', "_");
    ensure!(
        !TAKEN.iter().any(|taken| module(taken) == module(name)),
        "NAME cannot be `{name}`: cargo, Rust or this project has something of that name"
    );
    ensure!(
        !packages(root)?.contains(&module(name)),
        "NAME cannot be `{name}`: a dependency has that name"
    );
    // `use activities::…` would be ambiguous between the crate and the module.
    ensure!(
        !modules(root, from)?.contains(&module(name)),
        "NAME cannot be `{name}`: a module has that name"
    );
    Ok(())
}

/// Returns the names of the packages from a registry, as code spells them.
fn packages(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let lock: DocumentMut = std::fs::read_to_string(root.join("Cargo.lock"))?.parse()?;
    let packages = lock["package"].as_array_of_tables();
    Ok(packages
        .into_iter()
        .flatten()
        .filter(|package| package.contains_key("source"))
        .filter_map(|package| Some(package.get("name")?.as_str()?.replace('-', "_")))
        .collect())
}

fn check_dir(root: &Path, dir: &str) -> anyhow::Result<PathBuf> {
    let dir = without_dots(&std::path::absolute(dir)?);
    if dir.symlink_metadata().is_ok() {
        // An empty folder, for example from `mkdir`, is fine.
        let empty = dir
            .read_dir()
            .is_ok_and(|mut inside| inside.next().is_none());
        ensure!(empty, "DIR is there already: {}", dir.display());
    }
    let there = dir
        .ancestors()
        .find(|above| above.exists())
        .context("DIR has no folder above it")?;
    ensure!(
        there.is_dir(),
        "DIR cannot be made: {} is no folder",
        there.display()
    );
    if there.canonicalize()?.starts_with(root) {
        bail!(
            "DIR is inside this workspace: {}; choose one outside, such as ../my-app",
            dir.display()
        );
    }
    Ok(dir)
}

/// Resolves `..` in a path that may not exist, so that `canonicalize` cannot do it.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
