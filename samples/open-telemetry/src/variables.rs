//! OpenTelemetry's standard variables: those that this program supports, and those that it refuses.
//!
//! The crates read most of them by themselves, and silently ignore a value that they do not understand. This module
//! checks the values first.

use anyhow::{Context, bail, ensure};
use std::{net::IpAddr, ops::RangeInclusive};
use temporalio_client::Url;

/// Default address of a collector: the standard port on this machine.
pub const COLLECTOR: &str = "http://127.0.0.1:4317";

/// Values that a variable may have.
enum Rule {
    /// Any value. The code that uses the value checks it.
    Any,
    /// One of these values.
    OneOf(&'static [&'static str]),
    /// All of these values, separated by commas, in any order.
    AllOf(&'static [&'static str]),
    /// A whole number in this range.
    Number(RangeInclusive<u64>),
    /// A number from 0 to 1.
    Ratio,
    /// `key=value,key=value`. The values may be secrets.
    Pairs,
    /// Refused. The text says why, or what to do instead.
    Refused(&'static str),
    /// Refused even if it is empty, because the crates do not treat an empty value as unset.
    Unset(&'static str),
}

use Rule::{AllOf, Any, Number, OneOf, Pairs, Ratio, Refused, Unset};

const UNSUPPORTED: &str = "the OpenTelemetry crates have no such limit";
const ROOTS: &str = "https:// trusts the certificate authorities of the system";
const SCHEME: &str = "write http:// or https:// in the endpoint";
const RATIOS: [&str; 2] = ["traceidratio", "parentbased_traceidratio"];

/// As many as fit into memory.
const SIZE: RangeInclusive<u64> = 1..=1_000_000;

/// At most one day.
const MILLISECONDS: RangeInclusive<u64> = 1..=86_400_000;

/// All variables except those of the exporter, which are in [`EXPORTER`].
const GENERAL: [(&str, Rule); 26] = [
    ("OTEL_SDK_DISABLED", OneOf(&["true", "false"])),
    ("OTEL_SERVICE_NAME", Any),
    ("OTEL_RESOURCE_ATTRIBUTES", Pairs),
    ("OTEL_PROPAGATORS", AllOf(&["tracecontext", "baggage"])),
    (
        "OTEL_TRACES_SAMPLER",
        OneOf(&[
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ]),
    ),
    ("OTEL_TRACES_SAMPLER_ARG", Ratio),
    ("OTEL_TRACES_EXPORTER", OneOf(&["otlp", "none"])),
    ("OTEL_METRICS_EXPORTER", OneOf(&["otlp", "none"])),
    ("OTEL_BSP_SCHEDULE_DELAY", Number(MILLISECONDS)),
    ("OTEL_BSP_MAX_QUEUE_SIZE", Number(SIZE)),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Number(SIZE)),
    (
        "OTEL_BSP_EXPORT_TIMEOUT",
        Refused("set OTEL_EXPORTER_OTLP_TIMEOUT"),
    ),
    (
        "OTEL_BSP_MAX_CONCURRENT_EXPORTS",
        Refused("the program sends one batch at a time"),
    ),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", Number(0..=1_000_000)),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", Number(0..=1_000_000)),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", Number(0..=1_000_000)),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", Refused(UNSUPPORTED)),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", Refused(UNSUPPORTED)),
    (
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        Refused(UNSUPPORTED),
    ),
    ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", Refused(UNSUPPORTED)),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", Refused(UNSUPPORTED)),
    ("OTEL_METRICS_EXEMPLAR_FILTER", OneOf(&["always_off"])),
    (
        "OTEL_METRIC_EXPORT_INTERVAL",
        Refused("give the worker --otlp-metrics=SECONDS"),
    ),
    (
        "OTEL_METRIC_EXPORT_TIMEOUT",
        Refused("set OTEL_EXPORTER_OTLP_METRICS_TIMEOUT"),
    ),
    ("OTEL_LOG_LEVEL", Refused("set RUST_LOG")),
    ("OTEL_CONFIG_FILE", Refused("set the other variables")),
];

/// Variables of the exporter. The prefix `TRACES_` or `METRICS_` limits one to that signal.
const EXPORTER: [(&str, Rule); 9] = [
    ("ENDPOINT", Any),
    ("HEADERS", Pairs),
    ("TIMEOUT", Number(MILLISECONDS)),
    ("PROTOCOL", OneOf(&["grpc"])),
    ("COMPRESSION", Unset("nothing is compressed, so unset it")),
    ("INSECURE", Refused(SCHEME)),
    ("CERTIFICATE", Refused(ROOTS)),
    ("CLIENT_KEY", Refused(ROOTS)),
    ("CLIENT_CERTIFICATE", Refused(ROOTS)),
];

const METRICS_ONLY: [(&str, Rule); 2] = [
    ("TEMPORALITY_PREFERENCE", OneOf(&["cumulative"])),
    (
        "DEFAULT_HISTOGRAM_AGGREGATION",
        OneOf(&["explicit_bucket_histogram"]),
    ),
];

fn rules() -> impl Iterator<Item = (String, &'static Rule)> {
    let general = GENERAL
        .iter()
        .map(|(name, rule)| ((*name).to_owned(), rule));
    let exporter = ["", "TRACES_", "METRICS_"].into_iter().flat_map(|signal| {
        EXPORTER
            .iter()
            .map(move |(name, rule)| (format!("OTEL_EXPORTER_OTLP_{signal}{name}"), rule))
    });
    let metrics = METRICS_ONLY
        .iter()
        .map(|(name, rule)| (format!("OTEL_EXPORTER_OTLP_METRICS_{name}"), rule));
    general.chain(exporter).chain(metrics)
}

/// Refuses a value that would have no effect. Never prints a value that may be a secret.
fn check(name: &str, rule: &Rule, value: &str) -> anyhow::Result<()> {
    match rule {
        Unset(instead) => bail!("{name} is not supported: {instead}"),
        _ if value.is_empty() => {}
        Any => {}
        Refused(instead) => bail!("{name} is not supported: {instead}"),
        OneOf(known) => ensure!(
            known.contains(&value),
            "{name} is `{value}`; supported: {}",
            known.join(", ")
        ),
        AllOf(known) => {
            let mut given: Vec<_> = value.split(',').map(str::trim).collect();
            let mut known = known.to_vec();
            given.sort_unstable();
            known.sort_unstable();
            ensure!(
                given == known,
                "{name} is `{value}`; supported: {}",
                known.join(",")
            );
        }
        Number(range) => ensure!(
            value.parse().is_ok_and(|number| range.contains(&number)),
            "{name} is `{value}`; it must be a number from {} to {}",
            range.start(),
            range.end()
        ),
        Ratio => ensure!(
            value
                .parse()
                .is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio)),
            "{name} is `{value}`; it must be a number from 0 to 1"
        ),
        Pairs => {
            let good = |pair: &str| matches!(pair.split_once('='), Some((key, _)) if !key.trim().is_empty());
            ensure!(
                value.split_terminator(',').all(good),
                "{name} does not have the form key=value,key=value"
            );
        }
    }
    Ok(())
}

/// Settings from the variables and the flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whether tracing and metrics are turned off.
    pub disabled: bool,
    /// Collector of the spans, if they are sent.
    pub traces: Option<Url>,
    /// Collector of the metrics, if they may be sent.
    pub metrics: Option<Url>,
    /// Name of the service, if a variable sets it.
    pub service: Option<String>,
    /// Whether a variable sets the time limit for a batch of spans.
    pub timeout: bool,
}

impl Settings {
    /// Reads the variables with `get`. An address in `flag` takes precedence over those in variables.
    ///
    /// # Errors
    /// If a variable has a value that would have no effect, or that would reveal a secret.
    pub fn read(flag: Option<&str>, get: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let filled = |name: &str| get(name).filter(|value| !value.is_empty());
        let is = |name: &str, value: &str| {
            filled(name).is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        if is("OTEL_SDK_DISABLED", "true") {
            return Ok(Self {
                disabled: true,
                traces: None,
                metrics: None,
                service: None,
                timeout: false,
            });
        }
        for (name, rule) in rules() {
            if let Some(value) = get(&name) {
                check(&name, rule, &value)?;
            }
        }
        let number = |name: &str| filled(name).and_then(|value| value.parse().ok());
        let (batch, queue) = ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_MAX_QUEUE_SIZE");
        let room: u64 = number(queue).unwrap_or(2_048);
        ensure!(
            number(batch).is_none_or(|batch| batch <= room),
            "{batch} is greater than {queue}, which is {room}"
        );
        let sampler = filled("OTEL_TRACES_SAMPLER").unwrap_or_default();
        ensure!(
            filled("OTEL_TRACES_SAMPLER_ARG").is_none() || RATIOS.contains(&&*sampler),
            "OTEL_TRACES_SAMPLER_ARG needs OTEL_TRACES_SAMPLER to be {}",
            RATIOS.join(" or ")
        );
        let attributes = filled("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        ensure!(
            !attributes.contains('%'),
            "OTEL_RESOURCE_ATTRIBUTES has a percent sign, which the OpenTelemetry crates do not decode"
        );
        let named = attributes
            .split(',')
            .filter_map(|pair| pair.split_once('='));
        let named = named
            .filter(|(key, _)| key.trim() == "service.name")
            .map(|(_, name)| name.trim().to_owned())
            .next_back();
        let to = |signal: &str| {
            if is(&format!("OTEL_{signal}_EXPORTER"), "none") {
                return Ok(None);
            }
            let names = ["", signal].map(|signal| {
                let signal = if signal.is_empty() {
                    ""
                } else {
                    &format!("{signal}_")
                };
                ["ENDPOINT", "HEADERS"].map(|name| format!("OTEL_EXPORTER_OTLP_{signal}{name}"))
            });
            let given = |index: usize| {
                let mut names = names.iter().rev().map(|names| &names[index]);
                names.find_map(|name| Some((name.as_str(), filled(name)?)))
            };
            let (from, address) = match flag.filter(|flag| !flag.is_empty()) {
                Some(flag) => ("--otlp-endpoint", flag.to_owned()),
                None => given(0).unwrap_or(("--otlp-endpoint", COLLECTOR.to_owned())),
            };
            let url = endpoint(from, &address)?;
            if let Some((headers, _)) = given(1) {
                let host = url.host_str().unwrap_or_default();
                ensure!(
                    url.scheme() == "https" || is_loopback(host),
                    "{headers} would cross the network to {host} without TLS; write https:// in {from}"
                );
            }
            Ok(Some(url))
        };
        Ok(Self {
            disabled: false,
            traces: to("TRACES")?,
            metrics: to("METRICS")?,
            service: filled("OTEL_SERVICE_NAME").or(named),
            timeout: [
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            ]
            .iter()
            .any(|name| filled(name).is_some()),
        })
    }
}

fn endpoint(from: &str, address: &str) -> anyhow::Result<Url> {
    let url = Url::parse(address).ok();
    let url = url.filter(|url| ["http", "https"].contains(&url.scheme()));
    let url = url.with_context(|| {
        format!("the collector's address ({from}) is not a URL such as {COLLECTOR}")
    })?;
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "the collector's address ({from}) contains credentials; put them into \
         OTEL_EXPORTER_OTLP_HEADERS instead"
    );
    Ok(url)
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || ip.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Returns the OpenTelemetry variables among `names` that have no effect on this program: those of logs, of other
/// exporters and of other languages, and misspelt ones.
pub fn without_effect(names: impl Iterator<Item = String>) -> Vec<String> {
    let known: Vec<_> = rules().map(|(name, _)| name).collect();
    let mut names: Vec<_> = names
        .filter(|name| name.starts_with("OTEL_") && !known.contains(name))
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
        Settings::read(None, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// A value that would have no effect is refused in one line, which names the variable and contains no secret.
    #[test]
    fn refuses_values_without_effect() {
        let cases = [
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_EXPORTER", "otlp,console"),
            ("OTEL_METRICS_EXPORTER", "prometheus"),
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_PROPAGATORS", "b3"),
            ("OTEL_PROPAGATORS", "tracecontext"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "100"),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "x"),
            ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", ""),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2s"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/s3cret.pem"),
            ("OTEL_EXPORTER_OTLP_METRICS_INSECURE", "true"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "s3cret:4317"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://me:s3cret@localhost",
            ),
            ("OTEL_RESOURCE_ATTRIBUTES", "s3cret"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=s3cret%20"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
            ("OTEL_LOG_LEVEL", "debug"),
            ("OTEL_CONFIG_FILE", "/etc/otel.yaml"),
        ];
        for (name, value) in cases {
            let error = read(&[(name, value)]).expect_err(&format!("{name}={value}"));
            let error = format!("{error:#}");
            assert!(error.contains(name), "{name}={value}: {error}");
            assert!(
                !error.contains("s3cret") && error.lines().count() == 1,
                "{error}"
            );
        }
    }

    /// Headers contain keys, so they are never sent over the network without TLS, whichever variable sets them, and
    /// whichever variable sets the address.
    #[test]
    fn keeps_headers_secret() -> anyhow::Result<()> {
        for signal in ["", "TRACES_", "METRICS_"] {
            let headers = format!("OTEL_EXPORTER_OTLP_{signal}HEADERS");
            for address in ["", signal] {
                let address = format!("OTEL_EXPORTER_OTLP_{address}ENDPOINT");
                let to = |url| read(&[(&headers, "key=s3cret"), (&address, url)]);
                for url in ["http://collector:4317", "http://192.0.2.1:4317"] {
                    let error = format!("{:#}", to(url).expect_err("in the clear"));
                    assert!(
                        error.contains(&headers) && error.contains(&address),
                        "{error}"
                    );
                    assert!(!error.contains("s3cret"), "{error}");
                }
                for url in [
                    "https://collector:4317",
                    "http://localhost:4317",
                    "http://127.0.0.2:4317",
                    "http://[::1]:4317",
                ] {
                    to(url)?;
                }
            }
        }
        Ok(())
    }

    /// A variable for traces or metrics takes precedence over the general one, and the flag over both. An empty
    /// variable counts as unset.
    #[test]
    fn variables_have_an_order_of_precedence() -> anyhow::Result<()> {
        let url = |url: &str| Url::parse(url).ok();
        let plain = read(&[
            ("OTEL_TRACES_SAMPLER", ""),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ])?;
        assert_eq!(plain.traces, url(COLLECTOR));
        assert_eq!(plain.service, None);
        let both = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://both");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces");
        let settings = read(&[both, traces])?;
        assert_eq!(settings.traces, url("http://traces"));
        assert_eq!(settings.metrics, url("http://both"));
        let flag = Settings::read(Some("http://flag"), |name| {
            (name == both.0).then(|| both.1.to_owned())
        })?;
        assert_eq!(flag.traces, url("http://flag"));

        let none = read(&[("OTEL_TRACES_EXPORTER", "none"), both])?;
        assert_eq!((none.traces, none.metrics), (None, url("http://both")));
        // If everything is turned off, no other variable is checked.
        let off = read(&[("OTEL_SDK_DISABLED", "True"), ("OTEL_TRACES_SAMPLER", "x")])?;
        assert!(off.disabled && off.traces.is_none() && off.metrics.is_none());

        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name = shop ");
        assert_eq!(read(&[attributes])?.service.as_deref(), Some("shop"));
        let named = read(&[attributes, ("OTEL_SERVICE_NAME", "till")])?;
        assert_eq!(named.service.as_deref(), Some("till"));
        for fine in [
            ("OTEL_TRACES_SAMPLER", "always_off"),
            ("OTEL_PROPAGATORS", "baggage, tracecontext"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "key=value%20,other=x,"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
        ] {
            read(&[fine])?;
        }
        read(&[
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ])?;
        Ok(())
    }

    /// The table in `REFERENCE.md` has every variable, and says for each whether it is refused.
    #[test]
    fn table_has_all_variables() {
        let table: Vec<_> = include_str!("../REFERENCE.md")
            .lines()
            .filter(|line| line.starts_with("| ") && line.contains("`OTEL_"))
            .collect();
        let missing: Vec<_> = rules()
            .map(|(name, rule)| (name, matches!(rule, Refused(_) | Unset(_))))
            .filter(|(name, refused)| {
                let general = name
                    .replace("OTLP_TRACES_", "OTLP_")
                    .replace("OTLP_METRICS_", "OTLP_");
                let names = [name, &general].map(|name| format!("`{name}`"));
                let mut rows = table.iter();
                !rows.any(|row| {
                    names.iter().any(|name| row.contains(name))
                        && row.contains("refused: ") == *refused
                })
            })
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
