//! Makes a `Cargo.toml` that does not inherit from a workspace.

use anyhow::{Context, ensure};
use std::{collections::BTreeSet, path::Path};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// Names of the dependency tables.
pub const DEPENDENCIES: [&str; 2] = ["dependencies", "dev-dependencies"];

/// Replaces everything that `package` inherits from `workspace` by its value.
pub fn resolve(package: &mut DocumentMut, workspace: &DocumentMut) -> anyhow::Result<()> {
    let inherited = workspace["workspace"]
        .as_table()
        .context("Cargo.toml has no workspace")?;
    let own = package["package"].as_table_mut().context("no package")?;
    for (key, item) in own.iter_mut() {
        if item.get("workspace").is_some() {
            let value = inherited["package"][key.get()].clone();
            *item = plain(value).with_context(|| format!("no {} to inherit", key.get()))?;
        }
    }
    for table in DEPENDENCIES {
        let Some(table) = package.get_mut(table).and_then(Item::as_table_mut) else {
            continue;
        };
        for (key, item) in table.iter_mut() {
            if item.get("workspace").is_some() {
                let base = &inherited["dependencies"][key.get()];
                *item = dependency(base, item)
                    .with_context(|| format!("cannot resolve {}", key.get()))?;
            }
        }
        table.set_dotted(false);
    }
    package["lints"] = table(&inherited["lints"]);
    Ok(())
}

/// Returns a copy of a table that is placed at the end of another document.
pub fn table(item: &Item) -> Item {
    fn detach(table: &mut Table) {
        table.set_position(None);
        let only_tables = table.iter().all(|(_, item)| item.is_table());
        table.set_implicit(only_tables);
        for (_, item) in table.iter_mut() {
            if let Some(inner) = item.as_table_mut() {
                detach(inner);
            }
        }
    }
    let mut item = item.clone();
    if let Some(table) = item.as_table_mut() {
        detach(table);
    }
    item
}

/// Returns the profiles of the workspace without the settings for incremental builds, which only suit many small crates.
pub fn profiles(workspace: &DocumentMut) -> anyhow::Result<Item> {
    let mut profiles = table(&workspace["profile"]);
    let dev = profiles["dev"].as_table_mut().context("no profile dev")?;
    let packages = dev.get_mut("package").and_then(Item::as_table_mut);
    let shared = packages.and_then(|packages| packages.remove("shared"));
    shared.context("no profile of shared")?;
    dev.remove("incremental").context("no incremental")?;
    Ok(profiles)
}

/// Returns a value without the comment above it.
fn plain(item: Item) -> anyhow::Result<Item> {
    let mut value = item.into_value().ok().context("no value")?;
    value.decor_mut().clear();
    Ok(Item::Value(value))
}

/// Returns a dependency with the workspace's version and the features of both.
fn dependency(base: &Item, own: &Item) -> anyhow::Result<Item> {
    let mut merged = InlineTable::new();
    match base.as_str() {
        Some(version) => {
            merged.insert("version", version.into());
        }
        None => {
            let base = base.as_table_like().context("not in the workspace")?;
            for (key, value) in base.iter() {
                merged.insert(key, value.as_value().context("no value")?.clone());
            }
        }
    }
    let own = own.as_table_like().context("no table")?;
    for (key, value) in own.iter() {
        match key {
            "workspace" => {}
            "features" => {
                let mut features = features(&merged)?;
                features.extend(self::features(own)?);
                merged.insert("features", Value::Array(array(&features)));
            }
            key => {
                merged.insert(key, value.as_value().context("no value")?.clone());
            }
        }
    }
    merged.fmt();
    let version = merged.get("version").filter(|_| merged.len() == 1).cloned();
    Ok(Item::Value(version.unwrap_or(Value::InlineTable(merged))))
}

fn features(table: &dyn TableLike) -> anyhow::Result<BTreeSet<String>> {
    let Some(features) = table.get("features") else {
        return Ok(BTreeSet::new());
    };
    strings(features)
}

fn strings(item: &Item) -> anyhow::Result<BTreeSet<String>> {
    let array = item.as_array().context("no list")?;
    let strings = array.iter().map(|value| value.as_str().map(str::to_owned));
    strings.collect::<Option<_>>().context("no list of strings")
}

fn array(strings: &BTreeSet<String>) -> Array {
    strings.iter().map(String::as_str).collect()
}

/// Returns the folders of the workspace's crates in these dependency tables.
pub fn crates(package: &DocumentMut, tables: &[&str], workspace: &DocumentMut) -> BTreeSet<String> {
    let known = &workspace["workspace"]["dependencies"];
    let dependencies = tables
        .iter()
        .filter_map(|table| package.get(table)?.as_table_like());
    let names = dependencies.flat_map(|table| table.iter().map(|(name, _)| name.to_owned()));
    names
        .filter_map(|name| Some(known.get(&name)?.get("path")?.as_str()?.to_owned()))
        .collect()
}

/// Removes from a crate's manifest what is not copied: its integration tests and benchmarks, and the development
/// dependencies that `sources` do not use.
pub fn prune(package: &mut DocumentMut, sources: &str) -> anyhow::Result<()> {
    package.remove("bench");
    package.remove("test");
    let own = package["package"].as_table_mut().context("no package")?;
    own.remove("autotests");
    if let Some(development) = package
        .get_mut("dev-dependencies")
        .and_then(Item::as_table_mut)
    {
        // The code that the SDK's macros generate uses this one.
        let generated =
            |name: &str| name == "temporalio-workflow" && names(sources, "temporalio-macros");
        development
            .retain(|name, _| name != "testing" && (names(sources, name) || generated(name)));
        if development.is_empty() {
            package.remove("dev-dependencies");
        }
    }
    Ok(())
}

/// Changes the paths to other crates, which are relative to the workspace, so that they are relative to `folder`.
pub fn lead_to_crates(package: &mut DocumentMut, folder: &str) -> anyhow::Result<()> {
    let up = "../".repeat(folder.split('/').count());
    for table in DEPENDENCIES {
        let Some(table) = package.get_mut(table).and_then(Item::as_table_like_mut) else {
            continue;
        };
        for (_, item) in table.iter_mut() {
            if let Some(path) = item.get("path").and_then(Item::as_str) {
                let path = format!("{up}{path}");
                let dependency = item.as_table_like_mut().context("no table")?;
                dependency.insert("path", toml_edit::value(path));
            }
        }
    }
    Ok(())
}

fn names(sources: &str, package: &str) -> bool {
    let package = package.replace('-', "_");
    sources.contains(&format!("{package}::")) || sources.contains(&format!("{package}!"))
}

/// Removes the sample's `package.metadata`, which is only for this workspace, and the dependencies and binaries that
/// its `make-new.without` lists. Returns the files and folders in that list.
pub fn without(sample: &mut DocumentMut) -> anyhow::Result<BTreeSet<String>> {
    let package = sample["package"].as_table_mut().context("no package")?;
    let metadata = package.remove("metadata");
    let make_new = metadata.as_ref().and_then(|table| table.get("make-new"));
    let Some(without) = make_new.and_then(|table| table.get("without")) else {
        return Ok(BTreeSet::new());
    };
    let dependencies = sample["dependencies"]
        .as_table_mut()
        .context("no dependencies")?;
    let listed = |what| without.get(what).map_or(Ok(BTreeSet::new()), strings);
    for name in listed("dependencies")? {
        let removed = dependencies.remove(&name);
        removed.with_context(|| format!("without {name}, which it does not depend on"))?;
    }
    let files = listed("files")?;
    let binaries = sample["bin"]
        .as_array_of_tables_mut()
        .context("no binaries")?;
    binaries.retain(|binary| {
        let path = Path::new(binary["path"].as_str().unwrap_or_default());
        !files.iter().any(|file| path.starts_with(file))
    });
    Ok(files)
}

/// Returns the names of a sample's binaries, without the sample's name.
pub fn binaries(sample: &DocumentMut, pattern: &str) -> anyhow::Result<Vec<String>> {
    let binaries = sample["bin"].as_array_of_tables().context("no binaries")?;
    let name = |binary: &Table| {
        let name = binary.get("name")?.as_str()?;
        Some(name.strip_prefix(pattern)?.strip_prefix('-')?.to_owned())
    };
    let names: Option<Vec<_>> = binaries.iter().map(name).collect();
    names.with_context(|| format!("a binary whose name does not begin with {pattern}-"))
}

/// Turns the sample's package into the project's package and workspace.
pub fn rename(
    sample: &mut DocumentMut,
    workspace: &DocumentMut,
    pattern: &str,
    name: &str,
    crates: &BTreeSet<String>,
) -> anyhow::Result<()> {
    sample["package"]["name"] = toml_edit::value(name);
    // The user chooses the licence. shared/LICENSE covers the copied code.
    sample["package"]
        .as_table_mut()
        .context("no package")?
        .remove("license");
    for kind in ["bin", "test"] {
        let targets = sample[kind].as_array_of_tables_mut();
        for target in targets.context("no binaries or no tests")?.iter_mut() {
            let old = target["name"].as_str().context("no name")?;
            let renamed = old.replacen(pattern, name, 1);
            ensure!(renamed != old || name == pattern, "{old} keeps its name");
            target["name"] = toml_edit::value(renamed);
        }
    }
    let mut members = Table::new();
    members["resolver"] = workspace["workspace"]["resolver"].clone();
    members["members"] = toml_edit::value(Array::from_iter(crates));
    // Otherwise `cargo run` would select only this package, and build the SDK again with fewer features.
    let all = [".".to_owned()].into_iter().chain(crates.iter().cloned());
    members["default-members"] = toml_edit::value(Array::from_iter(all));
    members.decor_mut().set_prefix("\n");
    sample["workspace"] = Item::Table(members);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The metadata is always removed. Dependencies and binaries are removed only if `make-new.without` lists them.
    #[test]
    fn metadata_goes_with_what_it_lists() -> anyhow::Result<()> {
        let sample = |metadata: &str| {
            format!(
                "[package]\nname = 'app'\n{metadata}[[bin]]\npath = 'src/bin/bench.rs'\n\
                 [dependencies]\nplotters = '1'\n"
            )
        };
        let covers = "[package.metadata.covers]\ngo = ['mutex']\n";
        let dependency = "[package.metadata.make-new.without]\ndependencies = ['plotters']\n";
        let file = "[package.metadata.make-new.without]\nfiles = ['src/bin/bench.rs']\n";
        for (metadata, dependencies, binaries) in [
            ("", 1, 1),
            (covers, 1, 1),
            (dependency, 0, 1),
            (file, 1, 0),
            (&format!("{covers}{file}"), 1, 0),
        ] {
            let mut sample: DocumentMut = sample(metadata).parse()?;
            without(&mut sample)?;
            let count = |table: &str| sample[table].as_table().map(Table::len);
            assert_eq!(count("package"), Some(1), "{metadata}");
            assert_eq!(count("dependencies"), Some(dependencies), "{metadata}");
            let left = sample["bin"]
                .as_array_of_tables()
                .map_or(0, |bin| bin.len());
            assert_eq!(left, binaries, "{metadata}");
        }
        Ok(())
    }
}
