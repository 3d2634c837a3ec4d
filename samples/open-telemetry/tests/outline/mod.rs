//! Converts a trace into a form that tests can compare.

use open_telemetry::receiver::{Span, tree};

/// Returns the lines of [`tree`] without ids and durations: only names and errors.
pub fn outline(spans: &[Span]) -> Vec<String> {
    let tree = tree(spans);
    let lines = tree.lines().filter(|line| !line.starts_with("trace "));
    lines
        .map(|line| {
            let (span, error) = line.split_once(" ms").unwrap_or((line, ""));
            format!("{}{error}", span[2..46].trim_end())
        })
        .collect()
}
