//! The figures in the READMEs: ratios, because absolute figures say more about the machine than about
//! the worker.

use crate::results::{Figures, Results, Setting};
use anyhow::Context;
use std::path::Path;

const BEGIN: &str = "<!-- bench: written by `make bench` -->\n";
const END: &str = "<!-- bench: end -->\n";

/// The workers in other languages, by their names in the results, with their titles.
pub const OTHERS: [(&str, &str); 4] = [
    ("go", "Go"),
    ("java", "Java"),
    ("python", "Python"),
    ("typescript", "TypeScript"),
];

type Row = (&'static str, fn(&Figures) -> Option<f64>);

const ROWS: [Row; 5] = [
    ("CPU time per workflow", |figures| Some(figures.cpu_ms)),
    ("resident memory", |figures| Some(figures.rss_mib)),
    ("workflows per second, 20 at a time", |figures| {
        Some(figures.workflows_per_second)
    }),
    ("p50 latency at 10 per second", |figures| figures.p50_ms),
    ("p99 latency at 10 per second", |figures| figures.p99_ms),
];

/// Renders the tables of throughput's README, as Markdown. Languages that were not measured have
/// neither columns nor rows; a line names them.
pub fn tables(results: &Results) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let cells = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let rule = |columns: usize| format!("|---{}|", "|--:".repeat(columns - 1));

    if let Some((ours, others)) = results.workers.split_first() {
        let (own, others): (Vec<_>, Vec<_>) = others
            .iter()
            .partition(|other| other.name.starts_with(&ours.name));
        if !others.is_empty() {
            let names = others.iter().map(|other| title(&other.name).to_owned());
            line(cells(
                [vec!["Rust, relative to".to_owned()], names.collect()].concat(),
            ));
            line(rule(others.len() + 1));
            for worker in [vec![ours], own].concat() {
                let switches = worker.name.trim_start_matches(&ours.name).trim();
                for (name, figure) in ROWS {
                    let ratios = others
                        .iter()
                        .map(|other| ratio(figure(&worker.figures), figure(&other.figures)));
                    let name = match switches {
                        "" => name.to_owned(),
                        switches => format!("{name}, with `{switches}`"),
                    };
                    line(cells([vec![name], ratios.collect()].concat()));
                }
            }
            line(String::new());
        }
        let missing: Vec<_> = OTHERS
            .iter()
            .filter(|(name, _)| !others.iter().any(|other| other.name == *name))
            .map(|(_, title)| *title)
            .collect();
        if !missing.is_empty() {
            line(format!("Not measured here: {}.", list(&missing)));
            line(String::new());
        }
    }

    if let Some((plain, switched)) = results.switches.split_first() {
        line(cells(
            [
                "Rust, relative to no switches",
                "CPU time",
                "memory",
                "workflows per second",
            ]
            .map(str::to_owned)
            .into(),
        ));
        line(rule(4));
        for switch in switched {
            let ratios = ROWS
                .iter()
                .take(3)
                .map(|(_, figure)| ratio(figure(&switch.figures), figure(&plain.figures)));
            line(cells(
                [vec![format!("`{}`", switch.name)], ratios.collect()].concat(),
            ));
        }
        line(String::new());
    }

    if let Some(first) = results.payloads.first() {
        let base = first.cpu_ms.first().copied();
        let sizes = first.bytes.iter().map(|size| bytes(*size));
        line(cells(
            [vec!["CPU time by payload".to_owned()], sizes.collect()].concat(),
        ));
        line(rule(first.bytes.len() + 1));
        for row in &results.payloads {
            let ratios = row.cpu_ms.iter().map(|cpu| ratio(Some(*cpu), base));
            line(cells(
                [vec![title(&row.worker).to_owned()], ratios.collect()].concat(),
            ));
        }
        line(String::new());
    }

    if let Some(first) = results.open.first() {
        let numbers = first
            .workflows
            .iter()
            .map(|number| format!("{number} open"));
        line(cells(
            [
                vec!["KiB per waiting workflow".to_owned()],
                numbers.collect(),
            ]
            .concat(),
        ));
        line(rule(first.workflows.len() + 1));
        for row in &results.open {
            let kib = row.kib_each.iter().map(|kib| format!("{kib:.1}"));
            line(cells(
                [vec![title(&row.worker).to_owned()], kib.collect()].concat(),
            ));
        }
    }
    text
}

/// Renders the line of the root README; it is empty if no other language was measured.
fn summary(results: &Results) -> String {
    let Some((ours, others)) = results.workers.split_first() else {
        return String::new();
    };
    let percent = |of: f64, to: f64| format!("{:.0} %", of / to * 100.0);
    let compared = |other: &Setting, title: &str, first: bool| {
        let (our, their) = (&ours.figures, &other.figures);
        let cpu = percent(our.cpu_ms, their.cpu_ms);
        let memory = percent(our.rss_mib, their.rss_mib);
        match first {
            true => format!(
                "{cpu} of the CPU time and {memory} of the memory of the same worker in {title}"
            ),
            false => format!("{cpu} and {memory} of one in {title}"),
        }
    };
    let measured = OTHERS.iter().filter_map(|(name, title)| {
        let other = others.iter().find(|other| other.name == *name)?;
        Some((other, *title))
    });
    let compared: Vec<_> = measured
        .enumerate()
        .map(|(number, (other, title))| compared(other, title, number == 0))
        .collect();
    if compared.is_empty() {
        return String::new();
    }
    let compared: Vec<_> = compared.iter().map(String::as_str).collect();
    format!(
        "A Rust worker needs {}: `make bench` [measures it](samples/throughput/README.md#what-it-costs).\n",
        list(&compared)
    )
}

/// Writes the figures between the marks in the README of this sample and of the repository.
///
/// # Errors
/// If a README has no marks, or cannot be read or written. Then neither of the two changes, unless writing itself
/// fails.
pub fn update(results: &Results, repository: &Path) -> anyhow::Result<()> {
    let rounds = match results.rounds {
        1 => "One round".to_owned(),
        rounds => format!("Medians of {rounds} rounds"),
    };
    let mut block = format!(
        "{rounds} on {} cores, server and load on the same machine.\n\n{}",
        results.cores,
        tables(results).trim_end()
    );
    block.push_str("\n\n![The Rust worker against the others](bench/workers.svg)\n");
    if !results.payloads.is_empty() {
        block.push_str("![CPU time by payload](bench/payloads.svg)\n");
    }
    let root = repository.join("README.md");
    let sample = repository.join("samples/throughput/README.md");
    let new = [
        (marked(&root, &summary(results))?, root),
        (marked(&sample, &block)?, sample),
    ];
    for (text, readme) in new {
        std::fs::write(&readme, text)
            .with_context(|| format!("cannot write {}", readme.display()))?;
    }
    Ok(())
}

/// Returns the text of a README with `block` between its marks.
fn marked(readme: &Path, block: &str) -> anyhow::Result<String> {
    let name = readme.display();
    let old = std::fs::read_to_string(readme).with_context(|| format!("cannot read {name}"))?;
    let marks = old
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) =
        marks.with_context(|| format!("{name} has lost the marks of `make bench`"))?;
    Ok(format!("{before}{BEGIN}\n{block}\n{END}{after}"))
}

/// Joins `items` with commas and "and".
fn list(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} and {two}"),
        [most @ .., last] => format!("{}, and {last}", most.join(", ")),
    }
}

pub fn title(name: &str) -> &str {
    match name {
        "rust" => "Rust",
        "rust --threads 1" => "Rust, one thread",
        name => OTHERS
            .iter()
            .find(|(other, _)| *other == name)
            .map_or(name, |(_, title)| title),
    }
}

pub fn bytes(bytes: u32) -> String {
    match bytes {
        1_048_576.. => format!("{} MiB", bytes >> 20),
        1_024.. => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

fn ratio(of: Option<f64>, to: Option<f64>) -> String {
    match (of, to) {
        (Some(of), Some(to)) if to > 0.0 => format!("{:.2}", of / to),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Folder, results};

    const ALL: [&str; 6] = [
        "rust",
        "go",
        "java",
        "python",
        "typescript",
        "rust --threads 1",
    ];

    /// Each other language has a column, and each language has a row by payload and by open workflows.
    #[test]
    fn tables_have_all_languages() {
        assert_eq!(
            tables(&results(&ALL)),
            "\
| Rust, relative to | Go | Java | Python | TypeScript |
|---|--:|--:|--:|--:|
| CPU time per workflow | 0.50 | 0.33 | 0.25 | 0.20 |
| resident memory | 0.50 | 0.33 | 0.25 | 0.20 |
| workflows per second, 20 at a time | 0.50 | 0.33 | 0.25 | 0.20 |
| p50 latency at 10 per second | 0.50 | 0.33 | 0.25 | 0.20 |
| p99 latency at 10 per second | 0.50 | 0.33 | 0.25 | 0.20 |
| CPU time per workflow, with `--threads 1` | 3.00 | 2.00 | 1.50 | 1.20 |
| resident memory, with `--threads 1` | 3.00 | 2.00 | 1.50 | 1.20 |
| workflows per second, 20 at a time, with `--threads 1` | 3.00 | 2.00 | 1.50 | 1.20 |
| p50 latency at 10 per second, with `--threads 1` | 3.00 | 2.00 | 1.50 | 1.20 |
| p99 latency at 10 per second, with `--threads 1` | 3.00 | 2.00 | 1.50 | 1.20 |

| CPU time by payload | 64 B | 1 MiB |
|---|--:|--:|
| Rust | 1.00 | 2.00 |
| Go | 2.00 | 4.00 |
| Java | 3.00 | 6.00 |
| Python | 4.00 | 8.00 |
| TypeScript | 5.00 | 10.00 |

| KiB per waiting workflow | 100 open |
|---|--:|
| Rust | 1.0 |
| Go | 2.0 |
| Java | 3.0 |
| Python | 4.0 |
| TypeScript | 5.0 |
"
        );
    }

    /// Languages without figures have no columns, and a line says which ones they are.
    #[test]
    fn tables_name_missing_languages() {
        for (measured, header, missing) in [
            (
                vec!["rust", "go", "python", "typescript"],
                "| Rust, relative to | Go | Python | TypeScript |",
                "Not measured here: Java.",
            ),
            (
                vec!["rust", "python", "typescript", "rust --threads 1"],
                "| Rust, relative to | Python | TypeScript |",
                "Not measured here: Go and Java.",
            ),
            (
                vec!["rust", "java", "rust --threads 1"],
                "| Rust, relative to | Java |",
                "Not measured here: Go, Python, and TypeScript.",
            ),
        ] {
            let mut results = results(&measured);
            results.payloads.clear();
            results.open.clear();
            let tables = tables(&results);
            let lines: Vec<_> = tables.trim_end().lines().collect();
            assert_eq!(lines.first(), Some(&header));
            assert_eq!(lines.last(), Some(&missing));
        }
        let mut alone = results(&["rust", "rust --threads 1"]);
        alone.payloads.clear();
        alone.open.clear();
        assert_eq!(
            tables(&alone).trim_end(),
            "Not measured here: Go, Java, Python, and TypeScript."
        );
        assert_eq!(tables(&Results::default()), "");
    }

    /// A figure that is missing or zero gives no ratio.
    #[test]
    fn tables_have_no_false_ratios() {
        let mut results = results(&["rust", "go"]);
        results.workers[1].figures.p50_ms = None;
        results.workers[1].figures.cpu_ms = 0.0;
        let tables = tables(&results);
        assert!(
            tables.contains("| p50 latency at 10 per second | ? |"),
            "{tables}"
        );
        assert!(tables.contains("| CPU time per workflow | ? |"), "{tables}");
    }

    /// The root README's line compares with each language that was measured, and with no other.
    #[test]
    fn summary_has_measured_languages() {
        let end = ": `make bench` [measures it](samples/throughput/README.md#what-it-costs).\n";
        for (measured, needs) in [
            (
                ALL.to_vec(),
                "50 % of the CPU time and 50 % of the memory of the same worker in Go, 33 % and 33 % \
                 of one in Java, 25 % and 25 % of one in Python, and 20 % and 20 % of one in TypeScript",
            ),
            (
                vec!["rust", "python", "typescript", "rust --threads 1"],
                "50 % of the CPU time and 50 % of the memory of the same worker in Python and 33 % \
                 and 33 % of one in TypeScript",
            ),
            (
                vec!["rust", "go"],
                "50 % of the CPU time and 50 % of the memory of the same worker in Go",
            ),
        ] {
            let expected = format!("A Rust worker needs {needs}{end}");
            assert_eq!(summary(&results(&measured)), expected);
        }
        assert_eq!(summary(&results(&["rust", "rust --threads 1"])), "");
        assert_eq!(summary(&Results::default()), "");
    }

    /// Both READMEs get their figures between their marks, and nothing else in them changes.
    #[test]
    fn update_writes_both_readmes() -> anyhow::Result<()> {
        let repository = Folder::new()?;
        let root = repository.path().join("README.md");
        let sample = repository.path().join("samples/throughput/README.md");
        std::fs::create_dir_all(sample.parent().context("in a folder")?)?;
        let readme = |figures: &str| format!("# Before\n\n{BEGIN}\n{figures}\n{END}\nAfter\n");
        let mut results = results(&ALL);
        let figures = format!(
            "Medians of 3 rounds on 2 cores, server and load on the same machine.\n\n{}\n\
             ![The Rust worker against the others](bench/workers.svg)\n\
             ![CPU time by payload](bench/payloads.svg)\n",
            tables(&results)
        );
        for old in ["old figures\n", ""] {
            std::fs::write(&root, readme(old))?;
            std::fs::write(&sample, readme(old))?;
            for _again in 0..2 {
                update(&results, repository.path())?;
                assert_eq!(std::fs::read_to_string(&root)?, readme(&summary(&results)));
                assert_eq!(std::fs::read_to_string(&sample)?, readme(&figures));
            }
        }
        results.rounds = 1;
        update(&results, repository.path())?;
        let sample = std::fs::read_to_string(&sample)?;
        assert!(sample.contains("\nOne round on 2 cores, "), "{sample}");
        Ok(())
    }

    /// If one of the READMEs has no marks, the error names it, and neither of the two changes.
    #[test]
    fn update_needs_marks() -> anyhow::Result<()> {
        let repository = Folder::new()?;
        let root = repository.path().join("README.md");
        let sample = repository.path().join("samples/throughput/README.md");
        std::fs::create_dir_all(sample.parent().context("in a folder")?)?;
        let (with, without) = (format!("{BEGIN}{END}"), format!("{END}{BEGIN}"));
        for (at_root, in_sample, lost) in [(&with, &without, &sample), (&without, &with, &root)] {
            std::fs::write(&root, at_root)?;
            std::fs::write(&sample, in_sample)?;
            let error = update(&results(&ALL), repository.path()).expect_err("no marks");
            let expected = format!("{} has lost the marks of `make bench`", lost.display());
            assert_eq!(error.to_string(), expected);
            assert_eq!(&std::fs::read_to_string(&root)?, at_root);
            assert_eq!(&std::fs::read_to_string(&sample)?, in_sample);
        }
        Ok(())
    }

    /// The READMEs of this repository show the figures of `bench/results.json`. After a change to the generated text,
    /// `make bench PART=readme` writes them again.
    #[test]
    fn readmes_show_the_results() -> anyhow::Result<()> {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR"));
        let results = Results::read(&sample.join("bench/results.json"))?;
        let copy = Folder::new()?;
        std::fs::create_dir_all(copy.path().join("samples/throughput"))?;
        for readme in ["README.md", "samples/throughput/README.md"] {
            std::fs::copy(sample.join("../..").join(readme), copy.path().join(readme))?;
        }
        update(&results, copy.path())?;
        for readme in ["README.md", "samples/throughput/README.md"] {
            let shown = std::fs::read_to_string(sample.join("../..").join(readme))?;
            let written = std::fs::read_to_string(copy.path().join(readme))?;
            assert_eq!(shown, written, "{readme}");
        }
        Ok(())
    }
}
