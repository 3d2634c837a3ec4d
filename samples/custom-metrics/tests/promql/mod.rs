//! Finds the metrics in the queries of the dashboard, and checks whether they exist.

use anyhow::{Context, ensure};
use custom_metrics::scrape::Scrape;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;

const DASHBOARD: &str = include_str!("../../dashboard.json");

/// A metric in a query, with the labels that the query selects or groups by.
#[derive(Debug)]
pub struct QueriedMetric {
    /// Name of the metric.
    pub metric: String,
    labels: BTreeSet<String>,
}

/// Returns every metric in the dashboard.
pub fn queried_metrics() -> anyhow::Result<Vec<QueriedMetric>> {
    let mut all = Vec::new();
    let dashboard: Value = serde_json::from_str(DASHBOARD)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    for target in targets.flatten() {
        let query = target["expr"].as_str().context("no expr")?;
        // The labels in the legend are those that the query groups by.
        let legend = captures(r"\{\{(\w+)\}\}", target["legendFormat"].as_str())?;
        all.extend(metrics(query, legend)?);
    }
    let variables = dashboard["templating"]["list"].as_array();
    for variable in variables.context("no variables")? {
        let query = variable["query"]["query"].as_str().context("no query")?;
        let values = query.strip_prefix("label_values(");
        let (metric, label) = values
            .and_then(|values| values.strip_suffix(')')?.split_once(", "))
            .with_context(|| query.to_owned())?;
        all.push(QueriedMetric {
            metric: metric.to_owned(),
            labels: BTreeSet::from([label.to_owned()]),
        });
    }
    // With fewer, the dashboard has changed in a way that this code does not understand.
    ensure!(all.len() > 30, "{all:?}");
    Ok(all)
}

fn captures<'a>(
    pattern: &str,
    texts: impl IntoIterator<Item = &'a str>,
) -> anyhow::Result<Vec<String>> {
    let pattern = Regex::new(pattern)?;
    let texts = texts.into_iter();
    let found = texts.flat_map(|text| pattern.captures_iter(text).collect::<Vec<_>>());
    Ok(found.map(|captures| captures[1].to_owned()).collect())
}

/// Returns the metrics in a query. They are the names that no parenthesis follows.
fn metrics(query: &str, grouped: Vec<String>) -> anyhow::Result<Vec<QueriedMetric>> {
    let by = captures(r"\bby \(([^)]*)\)", [query])?;
    let by = by.iter().flat_map(|labels| labels.split(", "));
    let mut grouped: BTreeSet<String> = grouped.into_iter().collect();
    grouped.extend(by.map(str::to_owned));
    let rest = Regex::new(r"\bby \([^)]*\)|\[[^\]]*\]")?.replace_all(query, "");
    let name = Regex::new(r"([a-z_]+)\s*(?:(\()|\{([^}]*)\})?")?;
    let mut found = Vec::new();
    for part in name.captures_iter(&rest) {
        // Prometheus itself makes `up` and its labels.
        if part.get(2).is_some() || &part[1] == "up" {
            continue;
        }
        let selected = captures(r"(\w+)[=!]", part.get(3).map(|labels| labels.as_str()))?;
        found.push(QueriedMetric {
            metric: part[1].to_owned(),
            labels: grouped.iter().cloned().chain(selected).collect(),
        });
    }
    Ok(found)
}

impl QueriedMetric {
    /// Returns whether one of the pages has this metric with all of these labels.
    pub fn is_on(&self, pages: &[&Scrape]) -> bool {
        let mut series = pages.iter().flat_map(|page| page.series());
        series.any(|series| {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            name == self.metric
                && self.labels.iter().all(|label| {
                    labels
                        .split(',')
                        .any(|pair| pair.split_once('=').is_some_and(|(name, _)| name == label))
                })
        })
    }
}
