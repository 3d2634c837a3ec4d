//! The SDK is compiled once, for binaries and tests alike.

use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};
use testing::{outside, root};

/// The features of each dependency; more than one set where build scripts have their own.
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
        // Between the trees of two members there is an empty line.
        let Some((package, features)) = line.split_once('|') else {
            continue;
        };
        let name = package.split(" (").next().unwrap_or(package);
        let features = features.trim_end_matches(" (*)").to_owned();
        all.entry(name.to_owned()).or_default().insert(features);
    }
    Ok(all)
}

/// A development dependency that adds a feature to something the binaries have too would compile
/// that again, and all that depends on it.
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
