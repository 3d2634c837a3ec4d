//! `make new-sample`: creates the skeleton of a sample from hello.

use crate::{
    files::{files, read},
    manifest::table,
};
use anyhow::{Context, ensure};
use regex::Regex;
use std::{fs, path::Path};
use toml_edit::DocumentMut;

const README: &str = include_str!("../template/sample.md");

/// Line of hello's `lib.rs` that includes a further page.
const WITHOUT_SHARED: &str = "#![doc = include_str!(\"../WITHOUT-SHARED.md\")]\n";

/// Creates the sample `name` in `dir`: a copy of hello under that name, with a README to fill in.
///
/// # Errors
/// If `dir` already exists, or if a file cannot be read or written.
pub fn create(root: &Path, name: &str, dir: &Path) -> anyhow::Result<()> {
    ensure!(!dir.exists(), "{} is there already", dir.display());
    let hello = root.join("samples/hello");
    let names = Names::new(name)?;
    for file in files(&hello)? {
        let path = file.strip_prefix(&hello)?;
        // Further pages of hello are about hello alone.
        if path.extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        let text = match path.to_str() {
            Some("Cargo.toml") => manifest(&read(&file)?)?,
            Some("src/lib.rs") => read(&file)?.replace(WITHOUT_SHARED, ""),
            _ => read(&file)?,
        };
        let to = dir.join(names.text(path.to_str().context("a path that is not UTF-8")?));
        put(&to, &names.text(&text))?;
    }
    put(&dir.join("README.md"), &names.text(README))?;
    eprintln!("created  {}", dir.display());
    eprintln!("next     make test-{name} && make run-{name}; then .github/CONTRIBUTING.md");
    Ok(())
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    let parent = path.parent().context("a file is in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Returns hello's manifest with a description to fill in, and without the list of covered patterns.
fn manifest(text: &str) -> anyhow::Result<String> {
    let mut manifest: DocumentMut = text.parse()?;
    let package = manifest["package"].as_table_mut().context("no package")?;
    package.remove("metadata");
    package["description"] = toml_edit::value("What this pattern does, in one line.");
    manifest["lints"] = table(&manifest["lints"]);
    Ok(manifest.to_string())
}

/// The rules that replace hello's names by those of the sample.
struct Names(Vec<(Regex, String)>);

impl Names {
    fn new(name: &str) -> anyhow::Result<Self> {
        let capital = |word: &str| {
            let mut letters = word.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        };
        let camel: String = name.split('-').map(capital).collect();
        let title = capital(&name.replace('-', " "));
        let rules = [
            (r"\bHello(Workflow|Activities)\b", format!("{camel}${{1}}")),
            ("^# Hello\n", format!("# {title}\n")),
            (r"\bhello::", format!("{}::", name.replace('-', "_"))),
            (r"\bhello\b", name.to_owned()),
        ];
        let rules = rules
            .into_iter()
            .map(|(rule, with)| Ok((Regex::new(rule)?, with)));
        Ok(Self(rules.collect::<anyhow::Result<_>>()?))
    }

    fn text(&self, text: &str) -> String {
        let Self(rules) = self;
        rules.iter().fold(text.to_owned(), |text, (rule, with)| {
            rule.replace_all(&text, with.as_str()).into_owned()
        })
    }
}
