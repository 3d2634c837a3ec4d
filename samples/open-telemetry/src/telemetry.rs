//! The plugin, where spans and metrics go, and how they get there before the process ends.

#![allow(clippy::disallowed_methods, reason = "no workflow code in here")]

use crate::spans::{Collector, Discreet, EndIfForgotten, Once, Reasons};
use anyhow::{Context, ensure};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{
    SpanExporter as OtlpExporter, WithExportConfig, WithTonicConfig,
    tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanExporter},
};
use shared::ConnectionArgs;
use std::{sync::Arc, time::Duration};
use temporalio_client::{Client, ClientOptions, Url};
use temporalio_common::telemetry::{
    OtelCollectorOptions, TelemetryOptions, build_otlp_metric_exporter,
};
use temporalio_sdk::{
    Runtime, SimplePlugin,
    interceptors::ActivityInboundInterceptor,
    opentelemetry::{OpenTelemetryPlugin, WorkflowIdGenerator, WorkflowSpanProcessor},
    runtime::RuntimeOptions,
    workflow_interceptors::WorkflowInterceptorConstructor,
};
use tracing::{Dispatch, dispatcher};

const COLLECTOR: &str = "http://127.0.0.1:4317";

/// How long the collector has for a batch.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long the process waits at its end for what is left to be sent.
const GRACE: Duration = Duration::from_secs(3);

/// Where the collector is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "OpenTelemetry")]
pub struct OtlpArgs {
    /// Collector that speaks OTLP over gRPC [default: http://127.0.0.1:4317]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true,
        value_name = "URL"
    )]
    otlp_endpoint: Option<String>,
}

impl OtlpArgs {
    /// The address asked for.
    ///
    /// # Errors
    /// If it is no URL, or one with credentials in it.
    pub fn endpoint(&self) -> anyhow::Result<Url> {
        let text = self.otlp_endpoint.as_deref();
        let text = text.filter(|text| !text.is_empty()).unwrap_or(COLLECTOR);
        let from = "OTEL_EXPORTER_OTLP_ENDPOINT, --otlp-endpoint";
        let url = Url::parse(text).ok();
        let url = url.filter(|url| ["http", "https"].contains(&url.scheme()));
        let url = url.with_context(|| {
            format!("the collector's address is no URL like {COLLECTOR} ({from})")
        })?;
        ensure!(
            url.username().is_empty() && url.password().is_none(),
            "the collector's address has credentials in it ({from}); they belong into \
             OTEL_EXPORTER_OTLP_HEADERS"
        );
        Ok(url)
    }
}

/// The spans of this process, on their way to a collector.
pub struct Tracing {
    provider: SdkTracerProvider,
}

impl Tracing {
    /// To the collector at `endpoint`, whether it answers or not. The exporter obeys the standard
    /// variables too, `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_BSP_*` among them.
    ///
    /// # Errors
    /// If the exporter cannot be made of what these variables say.
    pub fn start(service: &'static str, endpoint: &Url) -> anyhow::Result<Self> {
        let mut exporter = OtlpExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.as_str())
            .with_timeout(TIMEOUT);
        if endpoint.scheme() == "https" {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
        }
        let exporter = exporter.build().context("cannot make an OTLP exporter")?;
        Ok(Self::with_exporter(
            service,
            Collector::new(exporter, endpoint),
        ))
    }

    /// To `exporter`, by way of a queue and a thread: who ends a span does not wait for it.
    pub fn with_exporter(service: &'static str, exporter: impl SpanExporter + 'static) -> Self {
        let batches = BatchSpanProcessor::builder(Discreet(exporter)).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name(service).build())
            // In workflows, ids that are the same in a replay: what has been sent names them.
            .with_id_generator(WorkflowIdGenerator::default())
            // Drops what workflow code itself starts during a replay; the plugin drops its own.
            .with_span_processor(WorkflowSpanProcessor::new(batches))
            .build();
        Self { provider }
    }

    /// For the client, and for it alone: workers take plugins from there.
    pub fn client_options(&self, namespace: &str) -> ClientOptions {
        let plugin = OpenTelemetryPlugin::builder().tracer(self.tracer());
        let reasons: Arc<dyn ActivityInboundInterceptor> = Arc::new(Reasons);
        let inside = SimplePlugin::builder("inside-its-spans")
            .activity_inbound_interceptors(vec![reasons])
            .workflow_interceptors(vec![WorkflowInterceptorConstructor::new(|_| {
                EndIfForgotten
            })]);
        ClientOptions::new(namespace)
            .plugin(plugin.build())
            .plugin(inside.build())
            .build()
    }

    /// As [`ConnectionArgs::connect`], with the plugin.
    ///
    /// # Errors
    /// As [`ConnectionArgs::connect`].
    pub async fn connect(&self, args: &ConnectionArgs) -> anyhow::Result<Client> {
        // Options that are built take no plugin any more.
        let connected =
            args.connect_as(|_, client| *client = self.client_options(&client.namespace));
        connected.await
    }

    /// For spans of one's own.
    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer(env!("CARGO_PKG_NAME"))
    }

    /// Sends what has ended so far.
    ///
    /// # Errors
    /// If the collector does not take it.
    pub fn flush(&self) -> OTelSdkResult {
        self.provider.force_flush()
    }

    /// Sends what is left, for [`GRACE`] at most. Without this, the last seconds are lost.
    pub fn finish(self) {
        // That it has failed, `Collector` has said already; that it took too long, nobody has.
        if let Err(error @ OTelSdkError::Timeout(_)) = self.provider.shutdown_with_timeout(GRACE) {
            tracing::warn!("the last spans are lost: {error}");
        }
    }
}

/// The SDK's runtime; its metrics go to the collector at `endpoint` so often, or nowhere.
///
/// # Errors
/// When called outside a tokio runtime.
pub fn runtime(endpoint: &Url, every: Option<Duration>) -> anyhow::Result<Runtime> {
    let mut telemetry = TelemetryOptions::builder().build();
    if let Some(every) = every {
        let options = OtelCollectorOptions::builder()
            .url(endpoint.clone())
            .metric_periodicity(every)
            .use_seconds_for_durations(true)
            .build();
        // The exporter keeps the subscriber that it is made under.
        let once = Dispatch::new(Once::default());
        let exporter = dispatcher::with_default(&once, || build_otlp_metric_exporter(options))?;
        telemetry.metrics = Some(Arc::new(exporter));
    }
    let options = RuntimeOptions::builder()
        .telemetry_options(telemetry)
        .build()
        .map_err(anyhow::Error::msg)?;
    Runtime::from_current_tokio(options).context("cannot start the SDK's runtime")
}
