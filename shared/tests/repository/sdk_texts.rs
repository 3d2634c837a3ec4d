//! Texts and names of the SDK that this repository relies on, although no interface promises them.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use testing::{outside, root};

/// A package, a file here that relies on it, and the texts in its source.
const TEXTS: [(&str, &str, &[&str]); 8] = [
    (
        "temporalio-sdk-core",
        "shared/testing/src/replay.rs",
        &[
            "Activity machine",
            "Cancel external WF machine",
            "Cancel workflow machine",
            "Change machine",
            "Child workflow machine",
            "Complete workflow machine",
            "Continue as new workflow machine",
            "Fail workflow machine",
            "Local activity machine",
            "Nexus operation machine",
            "No command scheduled",
            "Signal external WF machine",
            "Timer machine",
            "Update machine",
            "Activity id of scheduled",
            "Activity type of recorded",
            "Activity type of scheduled",
            "Child workflow id of",
            "Child workflow type of",
            "Nondeterminism error: ",
            "Non-deprecated patch marker encountered for change {patch_name}, but there is",
        ],
    ),
    (
        "temporalio-protos",
        "shared/testing/src/replay.rs",
        &["HistoryEvent(id: "],
    ),
    (
        "temporalio-common-wasm",
        "shared/src/failure.rs",
        &["\"Wrong encoding\""],
    ),
    (
        "temporalio-workflow",
        "shared/src/foreign.rs",
        &["returned the wrong concrete {value} type"],
    ),
    (
        "temporalio-client",
        "shared/src/tls.rs",
        &[
            "client_cert_resolver is not yet supported with dns_load_balancing",
            "url::Host::Domain(\"localhost\") => Ok(None)",
        ],
    ),
    (
        "tonic",
        "shared/src/tls.rs",
        &[
            "invalid compression flag: {f}",
            "response with status: {status}",
        ],
    ),
    (
        "rustls",
        "shared/src/tls.rs",
        &["received fatal alert: {alert:?}"],
    ),
    (
        "temporalio-workflow",
        "shared/src/sleep.rs",
        &["resolution must have a registered unblocker"],
    ),
];

/// The folder of each dependency's source.
fn sources() -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut metadata = outside("cargo");
    metadata
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(root());
    let output = metadata.output().context("cannot run cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let source = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        Some((
            package["name"].as_str()?.to_owned(),
            manifest.parent()?.join("src"),
        ))
    };
    Ok(packages.iter().filter_map(source).collect())
}

fn read_all(folder: &Path, text: &mut String) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, text)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path)?);
        }
    }
    Ok(())
}

/// A new version of the SDK that changes one of these texts fails here, and the message names the file that has
/// to follow.
#[test]
fn the_sdk_still_has_these_texts() -> anyhow::Result<()> {
    let sources = sources()?;
    for (package, file, texts) in TEXTS {
        let mut source = String::new();
        let folder = sources
            .get(package)
            .with_context(|| format!("no {package}"))?;
        read_all(folder, &mut source)?;
        for text in texts {
            ensure!(
                source.contains(text),
                "{package} no longer contains `{text}`, which {file} relies on"
            );
        }
    }
    Ok(())
}
