//! Checks that the SDK is compiled only once, for binaries and tests.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use testing::{outside, root};

/// The features of each dependency. A dependency has several sets if build scripts use other features.
type Features = BTreeMap<String, BTreeSet<String>>;

fn features(edges: &str) -> anyhow::Result<Features> {
    let mut tree = outside("cargo");
    tree.args(["tree", "--workspace", "--locked", "--prefix", "none"])
        .args(["--edges", edges, "--format", "{p}|{f}"])
        .current_dir(root());
    let output = tree.output().context("cannot run cargo tree")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8(output.stderr)?
    );
    let mut all = Features::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        // There is an empty line between the trees of two members.
        let Some((package, features)) = line.split_once('|') else {
            continue;
        };
        let name = package.split(" (").next().unwrap_or(package);
        let features = features.trim_end_matches(" (*)").to_owned();
        all.entry(name.to_owned()).or_default().insert(features);
    }
    Ok(all)
}

/// A sample has at most two test binaries, because each one takes seconds to link and about 100 MB on disk.
#[test]
fn samples_have_at_most_two_test_binaries() -> anyhow::Result<()> {
    let mut metadata = outside("cargo");
    metadata
        .args(["metadata", "--no-deps", "--locked", "--format-version", "1"])
        .current_dir(root());
    let output = metadata.output().context("cannot run cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let samples = root().join("samples").canonicalize()?;
    let samples: Vec<_> = packages
        .iter()
        .filter(|package| {
            let manifest = package["manifest_path"].as_str().unwrap_or_default();
            Path::new(manifest).starts_with(&samples)
        })
        .collect();
    ensure!(!samples.is_empty(), "there are no samples");
    for sample in samples {
        let targets = sample["targets"].as_array().context("no targets")?;
        let tested = targets.iter().filter(|target| target["test"] == true);
        let names: Vec<_> = tested.map(|target| &target["name"]).collect();
        ensure!(names.len() <= 2, "{} has more: {names:?}", sample["name"]);
    }
    Ok(())
}

/// Development dependencies add no features to dependencies of the binaries. Otherwise cargo would compile these, and
/// everything that depends on them, twice.
#[test]
fn tests_ask_for_no_more_features_than_binaries() -> anyhow::Result<()> {
    let (binaries, tests) = (features("normal,build")?, features("normal,build,dev")?);
    let differ = binaries
        .iter()
        .filter(|(package, features)| tests.get(*package) != Some(features))
        .map(|(package, features)| {
            let tests = tests.get(package).cloned().unwrap_or_default();
            format!("{package}: binaries have {features:?}, tests {tests:?}")
        });
    let differ: Vec<String> = differ.collect();
    ensure!(
        differ.is_empty(),
        "add these features to shared/one-build/Cargo.toml:\n{}",
        differ.join("\n")
    );
    Ok(())
}
