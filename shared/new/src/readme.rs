//! Creates the README of a project: its own part, then the sample's README.

use crate::names::{Names, without_dropped};
use anyhow::{Context, ensure};
use regex::{Captures, Regex};
use std::path::Path;

/// Sections of a sample's README that are about the other samples.
const ABOUT_THE_SAMPLES: [&str; 2] = ["Take it", "See also"];

/// The texts that it consists of.
pub struct Sources<'a> {
    pub template: &'a str,
    pub sample: &'a str,
    pub top: &'a str,
    pub makefile: &'a str,
}

pub fn readme(sources: &Sources<'_>, names: &Names, description: &str) -> anyhow::Result<String> {
    let sample = without_dropped(sources.sample, Path::new("README.md"))?;
    // Where something was dropped, two empty lines are left.
    let sample = sample.replace("\n\n\n", "\n\n");
    let (_, sample) = sample
        .split_once("\n\n")
        .context("the README of the pattern has no title")?;
    let mut pattern = String::new();
    for section in sections(sample) {
        if !ABOUT_THE_SAMPLES.contains(&title(section)) {
            pattern.push_str(section);
        }
    }
    let connect = sections(sources.top)
        .into_iter()
        .find(|section| title(section) == "Connect elsewhere")
        .context("the top README does not say how to connect elsewhere")?;
    let connect = own_rows(connect, &names.pattern)?;
    let text = sources
        .template
        .replace("{{description}}", description)
        .replace("{{pattern-name}}", &names.pattern);
    let (before, after) = text
        .split_once("{{pattern}}")
        .context("the template has no place for the pattern")?;
    let renamed = format!(
        "{}{}{}",
        before,
        names.text(&links(pattern.trim_end(), &names.pattern)?),
        after.replace("{{connect}}", names.text(connect.trim_end()).as_str()),
    );
    lines_of_the_makefile(&renamed, sources.makefile)
}

/// Splits a page into the part before the first heading and one part for each heading.
fn sections(markdown: &str) -> Vec<&str> {
    let mut starts = vec![0];
    starts.extend(markdown.match_indices("\n## ").map(|(index, _)| index + 1));
    starts.push(markdown.len());
    starts
        .windows(2)
        .filter_map(|ends| markdown.get(ends[0]..ends[1]))
        .collect()
}

fn title(section: &str) -> &str {
    let title = section
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("## "));
    title.unwrap_or_default()
}

/// Removes table rows that are about another sample, and the links from the remaining rows.
fn own_rows(section: &str, pattern: &str) -> anyhow::Result<String> {
    let link = Regex::new(r", in \[([^\]]*)\]\(samples/([a-z-]+)/[^)]*\)")?;
    let mut kept = String::new();
    for line in section.split_inclusive('\n') {
        match link.captures(line) {
            Some(other) if &other[2] != pattern => {}
            _ => kept.push_str(&link.replace_all(line, "")),
        }
    }
    ensure!(!kept.contains("](samples/"), "a link into the samples");
    Ok(kept)
}

/// Turns links into the repository into links into the project, or into plain words.
fn links(markdown: &str, pattern: &str) -> anyhow::Result<String> {
    let out = r"\[[^\]]+\]\(\.\./(?:\.\./(?:README\.md#(?:in-containers|rust-traps)|docker|\.ci|shared/codec/benches|shared/docs)|[a-z-]+/README)[^)]*\)";
    // Words that only introduce the link are removed with it.
    let pointing = Regex::new(&format!(
        r"(?:\s+\(see {out}[^)]*\)|,\s+see (?:`[^`]*` in\s+)?{out})"
    ))?;
    let markdown = pointing.replace_all(markdown, "");
    let link = Regex::new(r"\[([^\]]+)\]\((\.\./[^)]*)\)")?;
    let renamed = link.replace_all(&markdown, |found: &Captures<'_>| {
        let (words, to) = (&found[1], &found[2]);
        match to.strip_prefix("../../") {
            Some("README.md#connect-elsewhere") => format!("[{words}](#connect-elsewhere)"),
            Some(file)
                if file == ".clippy.toml"
                    || (file.starts_with("shared/") && file.contains("/src/")) =>
            {
                format!("[{words}]({file})")
            }
            None if to == format!("../{pattern}/README.md") => "this".to_owned(),
            _ => words.to_owned(),
        }
    });
    ensure!(
        !renamed.contains("](../"),
        "a link out of the project, over two lines perhaps"
    );
    Ok(renamed.into_owned())
}

/// Corrects the line and the target that `make` names if a recipe fails.
fn lines_of_the_makefile(markdown: &str, makefile: &str) -> anyhow::Result<String> {
    let rule = Regex::new(r"\[Makefile:\d+: ([a-z-]+)\]")?;
    let targets = ["run", "worker", "start", "execute", "record", "pgo"];
    let renamed = rule.replace_all(markdown, |found: &Captures<'_>| {
        let target = targets
            .into_iter()
            .find(|target| found[1].starts_with(&format!("{target}-")))
            .unwrap_or(&found[1]);
        let line = makefile
            .lines()
            .position(|line| line.starts_with(&format!("{target}:")))
            .map_or(0, |line| line + 2);
        format!("[Makefile:{line}: {target}]")
    });
    Ok(renamed.into_owned())
}
