//! The measured figures, and their medians.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::{io::ErrorKind, path::Path};

/// All measured figures.
#[derive(Default, Serialize, Deserialize)]
pub struct Results {
    pub rounds: usize,
    pub cores: usize,
    pub workers: Vec<Setting>,
    pub switches: Vec<Setting>,
    pub payloads: Vec<Payload>,
    pub open: Vec<Open>,
}

/// A worker, or the Rust worker with a flag.
#[derive(Serialize, Deserialize)]
pub struct Setting {
    pub name: String,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Figures {
    /// CPU time of the worker per workflow.
    pub cpu_ms: f64,
    pub rss_mib: f64,
    pub workflows_per_second: f64,
    /// Latency at the fixed rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

/// CPU time of a worker per workflow, by payload size.
#[derive(Serialize, Deserialize)]
pub struct Payload {
    pub worker: String,
    pub bytes: Vec<u32>,
    pub cpu_ms: Vec<f64>,
}

/// Memory of a worker per waiting workflow, by the number of workflows.
#[derive(Serialize, Deserialize)]
pub struct Open {
    pub worker: String,
    pub workflows: Vec<u32>,
    pub kib_each: Vec<f64>,
}

/// Returns the median, which is the lower one of the two middle values if their number is even.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(f64::NAN)
}

impl Figures {
    /// Returns the median of each figure.
    pub fn median(rounds: Vec<Self>) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        let maybe = |figure: fn(&Self) -> Option<f64>| {
            let values: Vec<_> = rounds.iter().filter_map(figure).collect();
            (!values.is_empty()).then(|| median(values))
        };
        Self {
            cpu_ms: of(|figures| figures.cpu_ms),
            rss_mib: of(|figures| figures.rss_mib),
            workflows_per_second: of(|figures| figures.workflows_per_second),
            p50_ms: maybe(|figures| figures.p50_ms),
            p99_ms: maybe(|figures| figures.p99_ms),
        }
    }
}

impl Results {
    /// Reads the results of earlier calls, if there are any.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        match std::fs::read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            json => serde_json::from_slice(&json?)
                .with_context(|| format!("{} is not what this program writes", file.display())),
        }
    }

    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))
    }
}
