//! `shared/docs/coverage.md` shows which sample covers which of Temporal's published patterns and
//! samples. It follows from `shared/docs/published.toml`, which lists what is published, and from
//! the `Cargo.toml` of each sample, which declares what it covers.
//!
//! `UPDATE=1 cargo test --test new-project-tests coverage` rewrites the page.

use crate::common::root;
use anyhow::{Context, ensure};
use std::{collections::BTreeMap, fs, path::Path};
use toml_edit::{DocumentMut, Item};

const PUBLISHED: &str = "shared/docs/published.toml";
const PAGE: &str = "shared/docs/coverage.md";
const UPDATE: &str = "UPDATE=1 cargo test --test new-project-tests coverage";

/// Divides the page: the text above is written by hand, everything below is generated.
const GENERATED: &str = "<!-- Generated from here on. -->\n";

/// The reasons why no sample covers something: the key in `published.toml`, and its text on the page.
const REASONS: [(&str, &str); 4] = [
    ("planned", "planned"),
    ("possible", "not yet"),
    ("cannot", "not possible"),
    ("elsewhere", "out of scope"),
];

/// A place where Temporal publishes patterns: its documentation, or a repository of samples.
struct Source {
    /// The key by which samples refer to it.
    key: String,
    name: String,
    /// The revision that was read, and when.
    read: String,
    entries: Vec<Entry>,
}

/// A published pattern or sample.
struct Entry {
    name: String,
    title: String,
    link: String,
    /// The key and the text of each reason. More than one is a mistake.
    reasons: Vec<(&'static str, String)>,
}

impl Source {
    fn key_of(&self, entry: &Entry) -> (String, String) {
        (self.key.clone(), entry.name.clone())
    }
}

/// The samples that declare that they cover an entry, by the key of its source and its name.
type Covers = BTreeMap<(String, String), Vec<String>>;

/// Each published entry has a sample or one reason, and samples declare only what is published.
#[test]
fn every_published_sample_is_accounted_for() -> anyhow::Result<()> {
    let samples = samples()?;
    let problems = problems(&sources(&published()?)?, &covers(&samples)?, &samples);
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// The page matches what the samples declare.
#[test]
fn the_page_is_up_to_date() -> anyhow::Result<()> {
    let file = root().join(PAGE);
    let page = read(&file)?;
    let (by_hand, generated) = page
        .split_once(GENERATED)
        .with_context(|| format!("{PAGE} lacks the line {}", GENERATED.trim_end()))?;
    let today = tables(&sources(&published()?)?, &covers(&samples()?)?);
    if std::env::var_os("UPDATE").is_some() {
        let page = format!("{by_hand}{GENERATED}{today}");
        return fs::write(&file, page).with_context(|| format!("cannot write {PAGE}"));
    }
    ensure!(generated == today, "{PAGE} is out of date; run `{UPDATE}`");
    Ok(())
}

/// Each inconsistency is refused with a line that names the entry and the file to change.
#[test]
fn inconsistencies_are_refused() -> anyhow::Result<()> {
    let cases = [
        (
            "mutex = { cannot = 'no locks' }",
            "go = ['mutexes']",
            "samples/lock/Cargo.toml covers `mutexes` of go, which shared/docs/published.toml does not list",
        ),
        (
            "mutex = { cannot = 'no locks' }",
            "rust = ['mutex']",
            "samples/lock/Cargo.toml covers `mutex` of rust, which shared/docs/published.toml does not list",
        ),
        (
            "mutex = {}",
            "go = ['mutex', 'mutex']",
            "samples/lock/Cargo.toml lists `mutex` of go twice",
        ),
        (
            "mutex = {}",
            "",
            "`mutex` of go is covered by no sample; declare it in a sample's Cargo.toml, or give a reason in shared/docs/published.toml",
        ),
        (
            "mutex = { cannot = 'no locks' }",
            "go = ['mutex']",
            "`mutex` of go is covered by lock; remove the reason in shared/docs/published.toml",
        ),
        (
            "mutex = { cannot = 'no locks', planned = 'mutex' }",
            "",
            "`mutex` of go has more than one reason in shared/docs/published.toml",
        ),
        (
            "mutex = { elsewhere = '' }",
            "",
            "`mutex` of go has an empty reason in shared/docs/published.toml",
        ),
        (
            "mutex = { planned = 'lock' }",
            "",
            "`mutex` of go is planned as lock, which exists; declare it in samples/lock/Cargo.toml, or change the reason in shared/docs/published.toml",
        ),
        (
            "mutex = { plan = 'mutex' }",
            "",
            "shared/docs/published.toml: `mutex` of go: unknown key plan",
        ),
    ];
    for (entry, declared, expected) in cases {
        let published = format!("[go]\nname = ''\nread = ''\nurl = ''\n[go.published]\n{entry}");
        let manifest = format!("[package.metadata.covers]\n{declared}");
        let samples = BTreeMap::from([("lock".to_owned(), manifest.parse()?)]);
        let found = match (sources(&published.parse()?), covers(&samples)) {
            (Ok(sources), Ok(covers)) => problems(&sources, &covers, &samples).join("\n"),
            (Err(error), _) | (_, Err(error)) => format!("{error:#}"),
        };
        ensure!(found.contains(expected), "{entry} with {declared}: {found}");
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn published() -> anyhow::Result<DocumentMut> {
    let text = read(&root().join(PUBLISHED))?;
    text.parse()
        .with_context(|| format!("cannot parse {PUBLISHED}"))
}

/// Returns the manifest of every sample, by the name of its folder.
fn samples() -> anyhow::Result<BTreeMap<String, DocumentMut>> {
    let mut samples = BTreeMap::new();
    for folder in fs::read_dir(root().join("samples"))? {
        let folder = folder?;
        let manifest = folder.path().join("Cargo.toml");
        if manifest.is_file() {
            let parsed = read(&manifest)?.parse();
            let parsed = parsed.with_context(|| format!("cannot parse {}", manifest.display()))?;
            samples.insert(folder.file_name().to_string_lossy().into_owned(), parsed);
        }
    }
    ensure!(!samples.is_empty(), "there are no samples");
    Ok(samples)
}

/// Returns the sources in `published.toml`, in its order.
fn sources(published: &DocumentMut) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for (key, source) in published.iter() {
        let text = |name: &str| {
            let value = source.get(name).and_then(Item::as_str);
            value.with_context(|| format!("{PUBLISHED}: [{key}] has no {name}"))
        };
        let url = text("url")?;
        let listed = source.get("published").and_then(Item::as_table_like);
        let listed =
            listed.with_context(|| format!("{PUBLISHED}: there is no [{key}.published]"))?;
        let mut entries = Vec::new();
        for (name, about) in listed.iter() {
            let entry = entry(name, about, url);
            entries.push(entry.with_context(|| format!("{PUBLISHED}: `{name}` of {key}"))?);
        }
        sources.push(Source {
            key: key.to_owned(),
            name: text("name")?.to_owned(),
            read: text("read")?.to_owned(),
            entries,
        });
    }
    Ok(sources)
}

fn entry(name: &str, about: &Item, url: &str) -> anyhow::Result<Entry> {
    let mut entry = Entry {
        name: name.to_owned(),
        title: name.to_owned(),
        link: url.replace("{}", name),
        reasons: Vec::new(),
    };
    for (key, value) in about.as_table_like().context("not a table")?.iter() {
        let text = value
            .as_str()
            .with_context(|| format!("{key} is not a string"))?;
        match key {
            "title" => text.clone_into(&mut entry.title),
            "link" => text.clone_into(&mut entry.link),
            _ => {
                let known = REASONS.into_iter().find(|(reason, _)| *reason == key);
                let (reason, _) = known.with_context(|| format!("unknown key {key}"))?;
                entry.reasons.push((reason, text.to_owned()));
            }
        }
    }
    Ok(entry)
}

/// Returns what the samples declare under `[package.metadata.covers]`.
fn covers(samples: &BTreeMap<String, DocumentMut>) -> anyhow::Result<Covers> {
    let mut covers = Covers::new();
    for (sample, manifest) in samples {
        let mut declared = manifest.get("package");
        for table in ["metadata", "covers"] {
            declared = declared.and_then(|item| item.get(table));
        }
        let Some(declared) = declared.and_then(Item::as_table_like) else {
            continue;
        };
        for (source, names) in declared.iter() {
            let wrong =
                || format!("samples/{sample}/Cargo.toml: {source} is not a list of strings");
            for name in names.as_array().with_context(wrong)? {
                let name = name.as_str().with_context(wrong)?;
                let key = (source.to_owned(), name.to_owned());
                let covered: &mut Vec<String> = covers.entry(key).or_default();
                ensure!(
                    !covered.contains(sample),
                    "samples/{sample}/Cargo.toml lists `{name}` of {source} twice"
                );
                covered.push(sample.clone());
            }
        }
    }
    Ok(covers)
}

/// Returns a line for each inconsistency.
fn problems(
    sources: &[Source],
    covers: &Covers,
    samples: &BTreeMap<String, DocumentMut>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut unlisted = covers.clone();
    for source in sources {
        for entry in &source.entries {
            let covered = unlisted.remove(&source.key_of(entry));
            let problem = match (covered, &entry.reasons[..]) {
                (Some(_), []) => continue,
                (Some(samples), _) => format!(
                    "is covered by {}; remove the reason in {PUBLISHED}",
                    samples.join(", ")
                ),
                (None, []) => format!(
                    "is covered by no sample; declare it in a sample's Cargo.toml, or give a \
                     reason in {PUBLISHED}"
                ),
                (None, [(_, text)]) if text.is_empty() => {
                    format!("has an empty reason in {PUBLISHED}")
                }
                (None, [("planned", sample)]) if samples.contains_key(sample) => format!(
                    "is planned as {sample}, which exists; declare it in \
                     samples/{sample}/Cargo.toml, or change the reason in {PUBLISHED}"
                ),
                (None, [_]) => continue,
                (None, _) => format!("has more than one reason in {PUBLISHED}"),
            };
            problems.push(format!("`{}` of {} {problem}", entry.name, source.key));
        }
    }
    for ((source, name), samples) in unlisted {
        for sample in samples {
            problems.push(format!(
                "samples/{sample}/Cargo.toml covers `{name}` of {source}, which {PUBLISHED} does \
                 not list"
            ));
        }
    }
    problems
}

/// Returns the generated part of the page: totals, then a table for each source.
fn tables(sources: &[Source], covers: &Covers) -> String {
    let mut page = "\n| | read | published | covered |".to_owned();
    page.extend(REASONS.map(|(_, label)| format!(" {label} |")));
    page.push_str("\n|---|---|--:|--:|--:|--:|--:|--:|\n");
    for source in sources {
        let count = |wanted: Option<&str>| {
            let reason =
                |entry: &&Entry| entry.reasons.first().map(|(reason, _)| *reason) == wanted;
            source.entries.iter().filter(reason).count()
        };
        let Source {
            name,
            read,
            entries,
            ..
        } = source;
        let anchor = name.to_lowercase().replace(' ', "-");
        let (published, covered) = (entries.len(), count(None));
        page.push_str(&format!(
            "| [{name}](#{anchor}) | {read} | {published} | {covered} |"
        ));
        page.extend(REASONS.map(|(reason, _)| format!(" {} |", count(Some(reason)))));
        page.push('\n');
    }
    for source in sources {
        page.push_str(&format!("\n## {}\n\n", source.name));
        page.push_str("| published | here | note |\n|---|---|---|\n");
        for entry in &source.entries {
            let (here, note) = match entry.reasons.first() {
                None => (links(covers.get(&source.key_of(entry))), ""),
                Some(("planned", sample)) => (format!("planned: {sample}"), ""),
                Some((reason, text)) => (label(reason).to_owned(), text.as_str()),
            };
            let Entry { title, link, .. } = entry;
            let row = format!("| [{title}]({link}) | {here} | {note}");
            page.push_str(&format!("{} |\n", row.trim_end()));
        }
    }
    page
}

fn label(reason: &str) -> &str {
    let label = REASONS.iter().find(|(key, _)| *key == reason);
    label.map_or(reason, |(_, label)| label)
}

/// Returns links from the page to these samples.
fn links(samples: Option<&Vec<String>>) -> String {
    let link = |sample: &String| format!("[{sample}](../../samples/{sample}/README.md)");
    let links: Vec<_> = samples.into_iter().flatten().map(link).collect();
    links.join(", ")
}
