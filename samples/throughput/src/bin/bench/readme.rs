//! The tables in the README: ratios alone, for absolute figures say more of the machine than of the
//! worker.

use crate::results::{Figures, Results};
use anyhow::{Context, ensure};
use std::{fmt::Write, path::Path};

const BEGIN: &str = "<!-- bench: written by `make bench` -->\n";
const END: &str = "<!-- bench: end -->\n";

type Row = (&'static str, fn(&Figures) -> Option<f64>);

const ROWS: [Row; 5] = [
    ("CPU time a workflow", |figures| Some(figures.cpu_ms)),
    ("resident memory", |figures| Some(figures.rss_mib)),
    ("workflows a second, 20 at a time", |figures| {
        Some(figures.workflows_per_second)
    }),
    ("p50 latency at 10 a second", |figures| figures.p50_ms),
    ("p99 latency at 10 a second", |figures| figures.p99_ms),
];

/// Markdown.
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
        let names = others
            .iter()
            .map(|other| format!("of {}'s", title(&other.name)));
        line(cells(
            [vec!["The Rust worker's".to_owned()], names.collect()].concat(),
        ));
        line(rule(others.len() + 1));
        for (name, figure) in ROWS {
            let ratios = others
                .iter()
                .map(|other| ratio(figure(&ours.figures), figure(&other.figures)));
            line(cells([vec![name.to_owned()], ratios.collect()].concat()));
        }
        for own in own {
            let switches = own.name.trim_start_matches(&ours.name).trim();
            for (name, figure) in ROWS {
                let ratios = others
                    .iter()
                    .map(|other| ratio(figure(&own.figures), figure(&other.figures)));
                let name = format!("{name}, with `{switches}`");
                line(cells([vec![name], ratios.collect()].concat()));
            }
        }
        line(String::new());
    }

    if let Some((plain, switched)) = results.switches.split_first() {
        line(cells(
            ["With", "CPU time", "memory", "workflows a second"]
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
                vec!["KiB a workflow that waits".to_owned()],
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

/// Puts tables and charts where the README has its marks.
pub fn update(results: &Results, readme: &Path) -> anyhow::Result<()> {
    let old = std::fs::read_to_string(readme)?;
    let marks = old
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = marks.context("the README has lost the marks of `make bench`")?;
    let mut new = before.to_owned();
    writeln!(
        new,
        "{BEGIN}\nMedians of {} rounds on {} cores, server and load on the same machine.\n\n{}",
        results.rounds,
        results.cores,
        tables(results).trim_end()
    )?;
    new.push_str("\n![The Rust worker against the others](bench/workers.svg)\n");
    if !results.payloads.is_empty() {
        new.push_str("![CPU time by payload](bench/payloads.svg)\n");
    }
    write!(new, "\n{END}{after}")?;
    ensure!(new.contains(END), "the README would lose its marks");
    Ok(std::fs::write(readme, new)?)
}

pub fn title(name: &str) -> &str {
    match name {
        "rust" => "Rust",
        "rust --threads 2" => "Rust, two threads",
        "python" => "Python",
        "typescript" => "TypeScript",
        other => other,
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
