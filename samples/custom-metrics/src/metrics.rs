//! The endpoint, the metrics of our own on it, and the interceptor that records them.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "no workflow code in here, except `Metrics::order`, which only adds"
)]

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use shared::ConnectionArgs;
use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};
use temporalio_client::Client;
use temporalio_common::telemetry::{
    HistogramBucketOverrides, PrometheusExporterOptions, TelemetryOptions,
    metrics::{CoreMeter, Counter, HistogramDuration, MetricKeyValue, MetricParameters},
    start_prometheus_metric_exporter, telemetry_init,
};
use temporalio_sdk::{
    Runtime, WorkflowDefinitions,
    activities::ActivityError,
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
    runtime::RuntimeOptions,
};

/// How an order came in. A label of a metric, so an enum and no text: text from outside would make
/// as many series as there are spellings.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The web shop.
    Web,
    /// Over the counter.
    Shop,
    /// By telephone.
    Phone,
}

impl Channel {
    /// As the label says it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Shop => "shop",
            Self::Phone => "phone",
        }
    }
}

/// Where the metrics are read, unless somebody says otherwise.
pub const ADDRESS: &str = "127.0.0.1:9090";

/// The label's value for all workflow types that the worker has not registered. Anybody who may start a workflow
/// chooses its type, and each value is one more series.
pub const UNKNOWN: &str = "_unknown";

const SCHEDULE_TO_START: &str = "activity_schedule_to_start_latency";

/// In seconds: from a worker that is free, over one that is busy, to a backlog of a quarter of an
/// hour. A quantile is only as exact as the bucket that it falls into, so they are close together
/// where the alert is.
const BUCKETS: [f64; 12] = [
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 900.0,
];

/// The meter of the exporter and what is recorded on it. The SDK hands no meter to activities or
/// workflows, so whoever records holds this one.
#[derive(Clone)]
pub struct Metrics {
    address: SocketAddr,
    workflow_types: Arc<BTreeSet<String>>,
    meter: Arc<dyn CoreMeter>,
    schedule_to_start: HistogramDuration,
    executions: Counter,
    orders: Counter,
}

impl Metrics {
    /// Serves them at `http://<address>/metrics`; port 0 stands for any that is free.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn serve(address: SocketAddr) -> anyhow::Result<Self> {
        let options = PrometheusExporterOptions::builder()
            .socket_addr(address)
            // Prometheus's own unit. The default is milliseconds.
            .use_seconds_for_durations(true)
            // Matches any name that contains this one, so the SDK's histogram of nearly the same
            // name too: the two can be compared.
            .histogram_bucket_overrides(HistogramBucketOverrides {
                overrides: HashMap::from([(SCHEDULE_TO_START.to_owned(), BUCKETS.to_vec())]),
            })
            .build();
        let exporter = start_prometheus_metric_exporter(options).map_err(|error| {
            anyhow!(
                "cannot serve metrics at {address}: {error}; say where else with --metrics-address"
            )
        })?;
        let meter: Arc<dyn CoreMeter> = exporter.meter;
        let parameters = |name, description| {
            MetricParameters::builder()
                .name(name)
                .description(description)
                .build()
        };
        let metrics = Self {
            address: exporter.bound_addr,
            workflow_types: Arc::default(),
            schedule_to_start: meter.histogram_duration(parameters(
                SCHEDULE_TO_START,
                "Seconds that an attempt at an activity waited for a worker",
            )),
            executions: meter.counter(parameters(
                "activity_executions_total",
                "Attempts at activities by status: started, completed, failed",
            )),
            orders: meter.counter(parameters("orders_total", "Orders received, by channel")),
            meter,
        };
        // A series that appears with its first failure has not increased since the scrape before,
        // so the alert on it would miss that failure.
        for status in ["started", "completed", "failed"] {
            metrics.executed(status, 0);
        }
        for channel in [Channel::Web, Channel::Shop, Channel::Phone] {
            metrics.ordered(channel, 0);
        }
        Ok(metrics)
    }

    /// As before, with these types as values of the label `workflow_type`, and [`UNKNOWN`] for all others.
    pub fn of(mut self, workflows: &WorkflowDefinitions) -> Self {
        let types = workflows.workflow_definitions();
        let types = types.map(|workflow| workflow.workflow_type.to_string());
        self.workflow_types = Arc::new(types.collect());
        self
    }

    /// Where they are served, with the port that was free.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The SDK's runtime, whose own metrics go to the same endpoint.
    ///
    /// # Errors
    /// When called outside a tokio runtime.
    pub fn runtime(&self) -> anyhow::Result<Runtime> {
        let options = RuntimeOptions::builder()
            .telemetry_options(self.telemetry())
            .build()
            .map_err(anyhow::Error::msg)?;
        Runtime::from_current_tokio(options).context("cannot start the SDK's runtime")
    }

    /// As [`ConnectionArgs::connect`], and the connection counts its requests to the server: the
    /// runtime counts what the worker does, but not those.
    ///
    /// # Errors
    /// As [`ConnectionArgs::connect`].
    pub async fn connect(&self, args: &ConnectionArgs) -> anyhow::Result<Client> {
        let meter = telemetry_init(self.telemetry())?.get_temporal_metric_meter();
        let counted = args.connect_as(|connection, _| connection.metrics_meter = meter);
        counted.await
    }

    fn telemetry(&self) -> TelemetryOptions {
        TelemetryOptions::builder()
            .metrics(self.meter.clone())
            .build()
    }

    /// Counts an order. For workflow code, and only while it is not replaying.
    pub fn order(&self, channel: Channel) {
        self.ordered(channel, 1);
    }

    fn ordered(&self, channel: Channel, count: u64) {
        let labels = [MetricKeyValue::new("channel", channel.label())];
        self.orders
            .add(count, &self.meter.new_attributes(labels.into()));
    }

    fn executed(&self, status: &'static str, count: u64) {
        let labels = [MetricKeyValue::new("status", status)];
        self.executions
            .add(count, &self.meter.new_attributes(labels.into()));
    }
}

/// Around every attempt at every activity, which knows nothing of it.
impl ActivityInboundInterceptor for Metrics {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let info = input.activity_info();
        // Both by the server's clock. An error means that it was set back in between.
        if let (Some(scheduled), Some(started)) =
            (info.current_attempt_scheduled_time, info.started_time)
            && let Ok(waited) = started.duration_since(scheduled)
        {
            // Both labels have as many values as this worker has types: the SDK runs no activity that is not
            // registered, but the workflow may be another worker's. An id in a label would make new series
            // for every workflow, and the process would keep them until it ends.
            let workflow_type = match &info.workflow_type {
                Some(known) if self.workflow_types.contains(known) => known.clone(),
                Some(_) => UNKNOWN.to_owned(),
                // Started without a workflow.
                None => String::new(),
            };
            let labels = [
                MetricKeyValue::new("workflow_type", workflow_type),
                MetricKeyValue::new("activity_type", info.activity_type.clone()),
            ];
            self.schedule_to_start
                .record(waited, &self.meter.new_attributes(labels.into()));
        }
        self.executed("started", 1);
        Box::pin(async move {
            let result = next.run(input).await;
            match &result {
                Ok(_) => self.executed("completed", 1),
                // Goes on elsewhere, and ends there.
                Err(ActivityError::WillCompleteAsync) => {}
                // Panics as well: the SDK makes errors of them before they come here.
                Err(_) => self.executed("failed", 1),
            }
            result
        })
    }
}
