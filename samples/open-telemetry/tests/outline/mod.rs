//! A trace as a test compares it.

use open_telemetry::receiver::{Span, tree};

/// What [`tree`] prints, less the ids and how long it took: name and error.
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
