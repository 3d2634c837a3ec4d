//! The metrics endpoint, our own metrics, and the interceptor that records them.

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

/// How an order arrived.
///
/// It is an enum because it is a label of a metric. Each spelling of a text from outside would make one more
/// series.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The web shop.
    Web,
    /// A physical shop.
    Shop,
    /// The telephone.
    Phone,
}

impl Channel {
    /// Returns the value of the label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Shop => "shop",
            Self::Phone => "phone",
        }
    }
}

/// Default address of the metrics endpoint.
pub const ADDRESS: &str = "127.0.0.1:9090";

/// Value of the label `workflow_type` for all types that the worker has not registered.
///
/// Anyone who can start a workflow chooses its type, and each value of the label makes one more series.
pub const UNKNOWN: &str = "_unknown";

const SCHEDULE_TO_START: &str = "activity_schedule_to_start_latency";

/// Buckets of the histogram in seconds: from a free worker over a busy one to a backlog of a quarter of an hour.
///
/// A quantile is only as exact as the bucket that it falls into, so the buckets are narrow around the alert's
/// threshold.
const BUCKETS: [f64; 12] = [
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 900.0,
];

/// The exporter's meter and the metrics recorded on it.
///
/// The SDK gives activities and workflows no meter, so all code that records a metric holds a clone of this.
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
    /// Serves the metrics at `http://<address>/metrics`. Port 0 stands for any free port.
    ///
    /// # Errors
    /// If it cannot listen on the address.
    pub fn serve(address: SocketAddr) -> anyhow::Result<Self> {
        let options = PrometheusExporterOptions::builder()
            .socket_addr(address)
            // Prometheus's convention. The default is milliseconds.
            .use_seconds_for_durations(true)
            // This matches every name that contains the key, so the SDK's histogram with nearly the same name
            // has the same buckets, and the two can be compared.
            .histogram_bucket_overrides(HistogramBucketOverrides {
                overrides: HashMap::from([(SCHEDULE_TO_START.to_owned(), BUCKETS.to_vec())]),
            })
            .build();
        let exporter = start_prometheus_metric_exporter(options).map_err(|error| {
            anyhow!(
                "cannot serve metrics at {address}: {error}; choose another address with --metrics-address"
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
                "Seconds that an activity attempt waited for a worker",
            )),
            executions: meter.counter(parameters(
                "activity_executions_total",
                "Activity attempts by status: started, completed, failed",
            )),
            orders: meter.counter(parameters("orders_total", "Orders received, by channel")),
            meter,
        };
        // If a series appeared only with its first failure, Prometheus would see no increase, and an alert
        // would miss that failure.
        for status in ["started", "completed", "failed"] {
            metrics.executed(status, 0);
        }
        for channel in [Channel::Web, Channel::Shop, Channel::Phone] {
            metrics.ordered(channel, 0);
        }
        Ok(metrics)
    }

    /// Allows the types of these workflows as values of the label `workflow_type`. All others become [`UNKNOWN`].
    pub fn with_workflow_types(mut self, workflows: &WorkflowDefinitions) -> Self {
        let types = workflows.workflow_definitions();
        let types = types.map(|workflow| workflow.workflow_type.to_string());
        self.workflow_types = Arc::new(types.collect());
        self
    }

    /// Returns the address of the endpoint, with the port that was chosen for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the SDK's runtime, whose metrics go to the same endpoint.
    ///
    /// # Errors
    /// If called outside a tokio runtime.
    pub fn runtime(&self) -> anyhow::Result<Runtime> {
        let options = RuntimeOptions::builder()
            .telemetry_options(self.telemetry())
            .build()
            .map_err(anyhow::Error::msg)?;
        Runtime::from_current_tokio(options).context("cannot start the SDK's runtime")
    }

    /// Connects as [`ConnectionArgs::connect`] does, and lets the connection count its requests to the server.
    ///
    /// The runtime counts the work of the worker, but not these requests.
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

    /// Counts an order. Workflow code must not call this while it replays.
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

/// Records every activity attempt, without any code in the activity.
impl ActivityInboundInterceptor for Metrics {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let info = input.activity_info();
        // Both times are from the server's clock. An error means that the clock was set back in between.
        if let (Some(scheduled), Some(started)) =
            (info.current_attempt_scheduled_time, info.started_time)
            && let Ok(waited) = started.duration_since(scheduled)
        {
            // The labels may only have the types registered here as values. The SDK runs no other activities, but
            // the workflow may belong to another worker. An id as a label would make a new series for every
            // workflow, and the process would keep it until it ends.
            let workflow_type = match &info.workflow_type {
                Some(known) if self.workflow_types.contains(known) => known.clone(),
                Some(_) => UNKNOWN.to_owned(),
                // A standalone activity.
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
                // The activity continues elsewhere, and ends there.
                Err(ActivityError::WillCompleteAsync) => {}
                // This includes panics, which the SDK has already turned into errors.
                Err(_) => self.executed("failed", 1),
            }
            result
        })
    }
}
