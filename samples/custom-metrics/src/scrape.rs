//! Reads the endpoint as Prometheus does, and finds the changes between two readings.

use anyhow::{Context, anyhow};
use http_client::http_client;
use reqwest::Url;
use std::{collections::HashMap, fmt, net::SocketAddr, time::Duration};
use tokio::time::{Instant, sleep};

/// The metrics that the table shows. The endpoint has about twenty more.
const SHOWN: [&str; 4] = [
    "activity_executions_total",
    "activity_schedule_to_start_latency_bucket",
    "orders_total",
    "temporal_activity_execution_failed",
];

/// How long a worker that starts at the same time may take to serve its metrics.
const STARTUP_LIMIT: Duration = Duration::from_secs(5);

/// One reading of the endpoint: every series with its value, in the order of the page.
pub struct Scrape(Vec<(String, f64)>);

impl Scrape {
    /// Reads `http://<address>/metrics`.
    ///
    /// # Errors
    /// If nothing answers there, or the answer has no metrics.
    pub async fn read(address: SocketAddr) -> anyhow::Result<Self> {
        let url = Url::parse(&format!("http://{address}/metrics"))?;
        let client = http_client(&url, Duration::from_secs(2))?;
        let answer = client.get(url.clone()).send().await;
        let answer = answer.and_then(|answer| answer.error_for_status());
        let answer = answer.map_err(|_| {
            anyhow!(
                "no worker serves metrics at {url}; start one, or give its address with --metrics-address"
            )
        })?;
        Self::parse(&answer.text().await?)
            .with_context(|| format!("the answer of {url} has no metrics"))
    }

    /// Reads the endpoint as [`Scrape::read`] does, and waits for a worker that is about to start.
    ///
    /// # Errors
    /// As [`Scrape::read`], after five seconds.
    pub async fn first(address: SocketAddr) -> anyhow::Result<Self> {
        let deadline = Instant::now() + STARTUP_LIMIT;
        loop {
            match Self::read(address).await {
                Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(100)).await,
                scrape => return scrape,
            }
        }
    }

    /// Parses a page of metrics.
    ///
    /// # Errors
    /// If a line is not a series with a value.
    pub fn parse(page: &str) -> anyhow::Result<Self> {
        let series = |line: &str| {
            let (series, value) = line.rsplit_once(' ').context("a line without a value")?;
            Ok((
                series.to_owned(),
                value.parse().with_context(|| line.to_owned())?,
            ))
        };
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        Ok(Self(lines.map(series).collect::<anyhow::Result<_>>()?))
    }

    /// Returns the value of a series, written as on the page, or `None` if it is not there.
    pub fn get(&self, series: &str) -> Option<f64> {
        let found = self.0.iter().find(|(name, _)| name == series);
        found.map(|(_, value)| *value)
    }

    /// Returns the sum of all series of a metric, or `None` if there are none.
    pub fn sum(&self, metric: &str) -> Option<f64> {
        let series = self.0.iter().filter(|(series, _)| name(series) == metric);
        series
            .map(|(_, value)| *value)
            .reduce(|sum, value| sum + value)
    }

    /// Returns all series, written as on the page.
    pub fn series(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(series, _)| series.as_str())
    }

    /// Returns the changes since `before`, of the metrics that the table shows.
    pub fn since(&self, before: &Scrape) -> Difference {
        let before: HashMap<_, _> = before.0.iter().map(|(s, value)| (s, value)).collect();
        let mut rows = Vec::new();
        let mut below = 0.0;
        for (series, value) in self.0.iter().filter(|(s, _)| SHOWN.contains(&name(s))) {
            let mut change = value - before.get(series).copied().unwrap_or(&0.0);
            let mut title = series.clone();
            if let Some((labels, bound)) = series.rsplit_once(",le=\"") {
                // A bucket includes the buckets below it. After the last bucket comes another series.
                let last = bound.starts_with("+Inf");
                (change, below) = (change - below, if last { 0.0 } else { change });
                title = match bound.trim_end_matches("\"}") {
                    "+Inf" => format!("{labels}}} longer"),
                    bound => format!("{labels}}} up to {bound} s"),
                };
                title = title.replacen("_bucket", "", 1);
            } else if title.starts_with("temporal_") {
                // The SDK's series have more labels, such as the namespace, which are too long for a table.
                title = name(series).to_owned();
            }
            if change != 0.0 {
                rows.push((title, change));
            }
        }
        Difference(rows)
    }
}

fn name(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

/// The changes that [`Scrape::since`] found. It prints as a table.
pub struct Difference(Vec<(String, f64)>);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, change) in &self.0 {
            writeln!(f, "{change:+8} {title}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series that is not there is not one with the value 0.
    #[test]
    fn absent_is_not_zero() -> anyhow::Result<()> {
        let page =
            Scrape::parse("orders_total{channel=\"web\"} 0\norders_total{channel=\"shop\"} 4\n")?;
        assert_eq!(page.get("orders_total{channel=\"web\"}"), Some(0.0));
        assert_eq!(page.get("orders_total{channel=\"phone\"}"), None);
        assert_eq!(
            (page.sum("orders_total"), page.sum("orders")),
            (Some(4.0), None)
        );
        Ok(())
    }

    /// The table counts each value in one bucket only, and leaves out unchanged series.
    #[test]
    fn shows_changes_by_bucket() -> anyhow::Result<()> {
        let before =
            "# HELP x y\norders_total{channel=\"web\"} 1\norders_total{channel=\"shop\"} 4\n";
        let after = "orders_total{channel=\"web\"} 3\n\
            orders_total{channel=\"shop\"} 4\n\
            other 7\n\
            activity_schedule_to_start_latency_bucket{activity_type=\"a\",le=\"0.5\"} 1\n\
            activity_schedule_to_start_latency_bucket{activity_type=\"a\",le=\"1\"} 1\n\
            activity_schedule_to_start_latency_bucket{activity_type=\"a\",le=\"+Inf\"} 3\n\
            activity_schedule_to_start_latency_bucket{activity_type=\"b\",le=\"0.5\"} 1\n";
        let difference = Scrape::parse(after)?.since(&Scrape::parse(before)?);
        let expected = "      +2 orders_total{channel=\"web\"}\n\
            \x20     +1 activity_schedule_to_start_latency{activity_type=\"a\"} up to 0.5 s\n\
            \x20     +2 activity_schedule_to_start_latency{activity_type=\"a\"} longer\n\
            \x20     +1 activity_schedule_to_start_latency{activity_type=\"b\"} up to 0.5 s\n";
        assert_eq!(difference.to_string(), expected);
        Ok(())
    }
}
