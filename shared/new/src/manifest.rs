//! `Cargo.toml` without a workspace to inherit from.

use anyhow::{Context, ensure};
use std::{collections::BTreeSet, path::Path};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// The package's tables of dependencies.
const DEPENDENCIES: [&str; 2] = ["dependencies", "dev-dependencies"];

/// Writes out what `package` inherits from `workspace`.
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

/// A table for the end of another document, where it has no place of its own yet.
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

/// A value without the comment that stood above it.
fn plain(item: Item) -> anyhow::Result<Item> {
    let mut value = item.into_value().ok().context("no value")?;
    value.decor_mut().clear();
    Ok(Item::Value(value))
}

/// The version of the workspace with the features of both.
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

/// The features of `shared` that the sample asks for, and those that these ask for.
pub fn features_of_shared(
    sample: &DocumentMut,
    shared: &DocumentMut,
) -> anyhow::Result<BTreeSet<String>> {
    let mut wanted = BTreeSet::new();
    for table in DEPENDENCIES {
        if let Some(dependency) = sample[table].get("shared").and_then(Item::as_table_like) {
            wanted.extend(features(dependency)?);
        }
    }
    let known = shared["features"].as_table().context("no features")?;
    loop {
        let mut more = wanted.clone();
        for feature in &wanted {
            let needs = strings(known.get(feature).context("no such feature")?)?;
            more.extend(needs.into_iter().filter(|need| known.contains_key(need)));
        }
        if more.len() == wanted.len() {
            return Ok(wanted);
        }
        wanted = more;
    }
}

/// Leaves out of `shared` the features that are not wanted, with what only they need, and of the
/// development dependencies those that `sources` do not name.
pub fn prune(
    shared: &mut DocumentMut,
    wanted: &BTreeSet<String>,
    sources: &str,
) -> anyhow::Result<()> {
    let features = shared["features"].as_table_mut().context("no features")?;
    features.retain(|feature, _| wanted.contains(feature));
    let mut needed = BTreeSet::new();
    for (_, needs) in features.iter() {
        needed.extend(strings(needs)?);
    }
    if features.is_empty() {
        shared.remove("features");
    }
    let dependencies = shared["dependencies"]
        .as_table_mut()
        .context("no dependencies")?;
    dependencies.retain(|name, item| {
        let optional = item.get("optional").and_then(Item::as_bool) == Some(true);
        !optional || needed.contains(&format!("dep:{name}"))
    });
    let development = shared["dev-dependencies"]
        .as_table_mut()
        .context("no dev-dependencies")?;
    // What the SDK's macros write names this one.
    let generated =
        |name: &str| name == "temporalio-workflow" && names(sources, "temporalio-macros");
    development.retain(|name, _| name == "shared" || names(sources, name) || generated(name));
    if let Some(itself) = development
        .get_mut("shared")
        .and_then(Item::as_table_like_mut)
    {
        itself.insert("features", Item::Value(Value::Array(array(wanted))));
    }
    shared.remove("bench");
    Ok(())
}

fn names(sources: &str, package: &str) -> bool {
    let package = package.replace('-', "_");
    sources.contains(&format!("{package}::")) || sources.contains(&format!("{package}!"))
}

/// Takes out what the sample's `package.metadata.make-new.without` lists: dependencies, and files or
/// folders with the binaries in them. Returns the latter.
pub fn without(sample: &mut DocumentMut) -> anyhow::Result<BTreeSet<String>> {
    let package = sample["package"].as_table_mut().context("no package")?;
    let Some(metadata) = package.remove("metadata") else {
        return Ok(BTreeSet::new());
    };
    let without = &metadata["make-new"]["without"];
    let dependencies = sample["dependencies"]
        .as_table_mut()
        .context("no dependencies")?;
    for name in strings(&without["dependencies"])? {
        let removed = dependencies.remove(&name);
        removed.with_context(|| format!("without {name}, which it does not depend on"))?;
    }
    let files = strings(&without["files"])?;
    let binaries = sample["bin"]
        .as_array_of_tables_mut()
        .context("no binaries")?;
    binaries.retain(|binary| {
        let path = Path::new(binary["path"].as_str().unwrap_or_default());
        !files.iter().any(|file| path.starts_with(file))
    });
    Ok(files)
}

/// The sample's library, as code has it.
pub fn library(sample: &DocumentMut, pattern: &str) -> String {
    let name = sample.get("lib").and_then(|lib| lib.get("name"));
    match name.and_then(Item::as_str) {
        Some(name) => name.to_owned(),
        None => pattern.replace('-', "_"),
    }
}

/// The binaries of a sample, without its name before them.
pub fn binaries(sample: &DocumentMut, pattern: &str) -> anyhow::Result<Vec<String>> {
    let binaries = sample["bin"].as_array_of_tables().context("no binaries")?;
    let name = |binary: &Table| {
        let name = binary.get("name")?.as_str()?;
        Some(name.strip_prefix(pattern)?.strip_prefix('-')?.to_owned())
    };
    let names: Option<Vec<_>> = binaries.iter().map(name).collect();
    names.with_context(|| format!("a binary whose name does not begin with {pattern}-"))
}

/// Makes the sample's package that of the project, and its workspace.
pub fn rename(
    sample: &mut DocumentMut,
    workspace: &DocumentMut,
    pattern: &str,
    name: &str,
) -> anyhow::Result<()> {
    sample["package"]["name"] = toml_edit::value(name);
    // A name of its own is for a pattern that cannot have it.
    if let Some(lib) = sample.get_mut("lib").and_then(Item::as_table_mut) {
        lib.remove("name");
        if lib.is_empty() {
            sample.remove("lib");
        }
    }
    // Up to the user; shared/LICENSE is that of what was copied.
    sample["package"]
        .as_table_mut()
        .context("no package")?
        .remove("license");
    for binary in sample["bin"]
        .as_array_of_tables_mut()
        .context("no binaries")?
        .iter_mut()
    {
        let old = binary["name"].as_str().context("no name")?;
        let renamed = old.replacen(pattern, name, 1);
        ensure!(renamed != old || name == pattern, "the binary {old} stays");
        binary["name"] = toml_edit::value(renamed);
    }
    for table in DEPENDENCIES {
        if let Some(shared) = sample[table]
            .get_mut("shared")
            .and_then(Item::as_table_like_mut)
        {
            shared.insert("path", toml_edit::value("shared"));
        }
    }
    let mut members = Table::new();
    members["resolver"] = workspace["workspace"]["resolver"].clone();
    members["members"] = toml_edit::value(Array::from_iter(["shared"]));
    members.decor_mut().set_prefix("\n");
    sample["workspace"] = Item::Table(members);
    Ok(())
}
