//! Replaces the pattern's name by the project's name.
//!
//! Some patterns are plain words (`schedule`, `encryption`), which also occur in prose, in field names and in the
//! wire format. So the word alone is never replaced. In code, the place among the tokens shows whether it is a
//! crate. Elsewhere, the text around it decides.

use anyhow::{Context, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use regex::{Captures, Regex};
use std::{ops::Range, path::Path};

/// Phrases about the samples, and their replacements for a project with a single application.
const PHRASES: [(&str, &str); 7] = [
    (
        "What every worker and starter needs and no sample is about",
        "What worker and starter need and the application is not about",
    ),
    ("the polling samples poll", "the worker polls"),
    ("A sample's `main` still", "`main` still"),
    (
        "Runs a sample: `sample VERB PATTERN",
        "Runs the application: `app VERB NAME",
    ),
    ("of a sample that needs", "of an application that needs"),
    ("shared/scripts/sample", "shared/scripts/app"),
    ("binary PATTERN-NAME", "binary NAME beside the worker"),
];

/// Both names, and the rules for places in which they can occur.
pub struct Names {
    pub pattern: String,
    pub name: String,
    /// The crate names as code spells them.
    old_crate: String,
    new_crate: String,
    rules: Vec<(Regex, String)>,
    in_literals: (Regex, String),
    /// The id of the schedule, the only id on the server that is not a workflow id.
    schedule_id: Regex,
}

impl Names {
    /// Creates the rules. `binaries` are `worker`, `starter`, …
    pub fn new(pattern: &str, name: &str, binaries: &[String]) -> anyhow::Result<Self> {
        let (old_crate, new_crate) = (pattern.replace('-', "_"), name.replace('-', "_"));
        let binaries = binaries.join("|");
        let rules = [
            // Commands.
            (
                r"\bmake (run|worker|start|execute|test|record|pgo)-[a-z-]+[a-z]".to_owned(),
                "make $1".to_owned(),
            ),
            (format!(r"(--package|-p) {pattern}\b"), format!("$1 {name}")),
            // Binaries, logs, task queue, ids: the prefix is followed by a known word.
            (
                format!(
                    r#"\b(CARGO_BIN_EXE_)?{pattern}-(task-queue\b|(?:{binaries})\b|recorded\b|before\b|[0-9a-f]{{8}}\b|[{{"'`]|$)"#
                ),
                format!("${{1}}{name}-$2"),
            ),
            // Files.
            (format!(r"\bsamples/{pattern}/"), String::new()),
            (format!(r"\bsamples/{pattern}\b"), name.to_owned()),
            // Paths in log lines, stack traces and prose. Protobuf has modules with the same names.
            (
                format!(r"(^|[^\w:]){old_crate}::"),
                format!("${{1}}{new_crate}::"),
            ),
            // Words.
            (
                r"\b([Tt]h(?:e|is)|its) sample\b".to_owned(),
                "$1 application".to_owned(),
            ),
        ];
        let rules = rules
            .into_iter()
            .map(|(rule, with)| Ok((Regex::new(&rule)?, with)))
            .collect::<anyhow::Result<_>>()?;
        let levels = "loud|trace|debug|info|warn|error";
        Ok(Self {
            pattern: pattern.to_owned(),
            name: name.to_owned(),
            rules,
            in_literals: (
                Regex::new(&format!(r"\b{old_crate}=({levels})\b"))?,
                format!("{new_crate}=$1"),
            ),
            schedule_id: Regex::new(r"\bworkflow-schedule-id\b( {2,})?")?,
            old_crate,
            new_crate,
        })
    }

    /// Renames in any text, line by line.
    pub fn text(&self, text: &str) -> String {
        let lines = text.split('\n').map(|line| self.line(line));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Whether the text may need a change. Most texts do not, and the rules are slow.
    fn may_concern(&self, text: &str) -> bool {
        let hints = [
            &*self.pattern,
            &*self.old_crate,
            "make ",
            "sample",
            "PATTERN",
            "schedule-id",
        ];
        hints.iter().any(|hint| text.contains(hint))
    }

    fn line(&self, line: &str) -> String {
        if !self.may_concern(line) {
            return line.to_owned();
        }
        let line = self.schedule_id.replace_all(line, |found: &Captures<'_>| {
            let (id, width) = (format!("{}-schedule", self.name), found[0].len());
            match found.get(1) {
                // In a column.
                Some(_) => format!("{id:0$}  ", width.saturating_sub(2)),
                None => id,
            }
        });
        let line = PHRASES
            .iter()
            .fold(line.into_owned(), |line, (from, to)| line.replace(from, to));
        self.rules.iter().fold(line, |line, (rule, with)| {
            rule.replace_all(&line, with.as_str()).into_owned()
        })
    }

    /// Renames in a shell script, which has the pattern in a variable.
    pub fn script(&self, text: &str) -> String {
        let text = text
            .replace("$pattern", "$name")
            .replace("pattern=", "name=");
        self.text(&text)
    }

    /// Renames in Rust source: in paths and string literals by their tokens, in comments as in text.
    pub fn rust(&self, source: &str) -> anyhow::Result<String> {
        if !self.may_concern(source) {
            return Ok(source.to_owned());
        }
        let mut edits = Vec::new();
        self.walk(tokens(source)?, source, Place::default(), &mut edits);
        let mut renamed = source.to_owned();
        for (range, with) in edits.into_iter().rev() {
            renamed.replace_range(range, &with);
        }
        let lines = renamed.split('\n').map(|line| {
            if line.trim_start().starts_with("//") {
                self.line(line)
            } else {
                line.to_owned()
            }
        });
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    fn walk(
        &self,
        tokens: TokenStream,
        source: &str,
        place: Place,
        edits: &mut Vec<(Range<usize>, String)>,
    ) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |index: Option<usize>, what: char| {
            index
                .and_then(|index| tokens.get(index))
                .is_some_and(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == what))
        };
        let two_colons = |index: Option<usize>| is(index, ':') && is(index.map(|i| i + 1), ':');
        let mut in_use = false;
        for (index, token) in tokens.iter().enumerate() {
            let range = token.span().byte_range();
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ';' => in_use = false,
                // `impl Trait + use<'a>` is not an import.
                TokenTree::Ident(word) if *word == "use" => in_use = !is(Some(index + 1), '<'),
                TokenTree::Ident(word)
                    if *word == self.old_crate
                        && two_colons(Some(index + 1))
                        && !two_colons(index.checked_sub(2))
                        && !place.import =>
                {
                    edits.push((range, self.new_crate.clone()));
                }
                TokenTree::Literal(_) => {
                    let literal = &source[range.clone()];
                    // For the compiler, a doc comment is a literal.
                    if literal.starts_with('"') || literal.starts_with('r') {
                        edits.push((range, self.literal(literal, place)));
                    }
                }
                TokenTree::Group(group) => {
                    let before = index.checked_sub(1).and_then(|index| tokens.get(index));
                    let inside = Place {
                        import: place.import || in_use && group.delimiter() == Delimiter::Brace,
                        workflow_id: matches!(before, Some(TokenTree::Ident(word)) if *word == "workflow_id"),
                    };
                    self.walk(group.stream(), source, inside, edits);
                }
                _ => {}
            }
        }
    }

    fn literal(&self, literal: &str, place: Place) -> String {
        if place.workflow_id && literal.trim_matches('"') == self.pattern {
            return format!("{:?}", self.name);
        }
        let (rule, with) = &self.in_literals;
        rule.replace_all(&self.text(literal), with.as_str())
            .into_owned()
    }
}

/// Place of a token.
#[derive(Clone, Copy, Default)]
struct Place {
    /// In the braces of a `use`, so below the crate at its beginning.
    import: bool,
    /// An argument of `workflow_id(…)`.
    workflow_id: bool,
}

pub fn tokens(source: &str) -> anyhow::Result<TokenStream> {
    source.parse().map_err(|error| anyhow!("no Rust: {error}"))
}

/// Returns the words that Rust source uses as modules or crates: those before `::`, and those after `mod`.
pub fn modules(source: &str) -> anyhow::Result<Vec<String>> {
    let rule = Regex::new(r"\b([a-z_][a-z0-9_]*)\s*::|\bmod ([a-z_][a-z0-9_]*)")?;
    let word = |found: Captures<'_>| {
        let word = found.get(1).or_else(|| found.get(2))?;
        Some(word.as_str().to_owned())
    };
    Ok(rule.captures_iter(source).filter_map(word).collect())
}

/// Removes the text between `make-new: drop` and `make-new: end`, in comments of any language. This text applies
/// only to the samples.
pub fn without_dropped(text: &str, file: &Path) -> anyhow::Result<String> {
    let (mut kept, mut dropping) = (String::new(), false);
    for line in text.split_inclusive('\n') {
        if line.contains("make-new: drop") {
            dropping = true;
        } else if line.contains("make-new: end") {
            dropping = false;
        } else if !dropping {
            kept.push_str(line);
        }
    }
    (!dropping)
        .then_some(kept)
        .with_context(|| format!("{}: `make-new: drop` without an end", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str) -> anyhow::Result<Names> {
        let binaries = ["worker".to_owned(), "codec-server".to_owned()];
        Names::new(pattern, "my-app", &binaries)
    }

    /// Renames the crate, but not a module, a field or a word with the same name.
    #[test]
    fn crates_by_their_place() -> anyhow::Result<()> {
        let names = names("schedule")?;
        for (old, new) in [
            ("use schedule::{a, b};", "use my_app::{a, b};"),
            (
                "let a: schedule::A = schedule::a();",
                "let a: my_app::A = my_app::a();",
            ),
            ("assert!(schedule::a())", "assert!(my_app::a())"),
            (
                "use protos::{schedule::v1::Schedule};",
                "use protos::{schedule::v1::Schedule};",
            ),
            ("api::schedule::v1::Schedule", "api::schedule::v1::Schedule"),
            (
                "// by `schedule::a`, a schedule",
                "// by `my_app::a`, a schedule",
            ),
            (
                "starter.workflow_id(\"schedule\")",
                "starter.workflow_id(\"my-app\")",
            ),
            ("print(\"schedule\")", "print(\"schedule\")"),
        ] {
            assert_eq!(names.rust(old)?, new);
        }
        Ok(())
    }

    /// Renames task queue, ids, binaries, commands and log filters, but nothing in the wire format.
    #[test]
    fn names_by_what_is_around() -> anyhow::Result<()> {
        let names = names("encryption")?;
        for (old, new) in [
            ("\"encryption-task-queue\"", "\"my-app-task-queue\""),
            ("\"encryption-1d69c33e\"", "\"my-app-1d69c33e\""),
            (
                "\"CARGO_BIN_EXE_encryption-worker\"",
                "\"CARGO_BIN_EXE_my-app-worker\"",
            ),
            ("\"encryption-codec-server\"", "\"my-app-codec-server\""),
            ("\"encryption-key-id\"", "\"encryption-key-id\""),
            ("\"encryption=info\"", "\"my_app=info\""),
            ("\"`make worker-encryption`\"", "\"`make worker`\""),
            ("\"make encryption work\"", "\"make encryption work\""),
        ] {
            assert_eq!(names.rust(old)?, new);
        }
        Ok(())
    }
}
