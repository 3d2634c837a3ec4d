//! Sets up the plugin, and sends spans and metrics to a collector before the process ends.

use crate::{
    baggage::LosslessBaggage,
    spans::{EndOnEviction, FailureReasons, ReportOutages, WarnOnce, WithoutPayloads},
    variables::{Settings, without_effect},
};
use anyhow::Context;
use opentelemetry::{propagation::TextMapCompositePropagator, trace::TracerProvider};
use opentelemetry_otlp::{
    SpanExporter as OtlpExporter, WithExportConfig, WithTonicConfig,
    tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    propagation::TraceContextPropagator,
    trace::{
        BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanExporter, TracerProviderBuilder,
    },
};
use shared::ConnectionArgs;
use std::{sync::Arc, time::Duration};
use temporalio_client::{Client, ClientOptions};
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

/// Time limit for sending a batch.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long the process waits at its end until the last spans are sent.
const GRACE: Duration = Duration::from_secs(3);

/// Address of the collector.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "OpenTelemetry")]
pub struct OtlpArgs {
    /// Collector that speaks OTLP over gRPC [env: OTEL_EXPORTER_OTLP_ENDPOINT] [default: http://127.0.0.1:4317]
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
}

impl OtlpArgs {
    /// Reads OpenTelemetry's standard variables, and warns about those that have no effect.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let settings = Settings::read(self.otlp_endpoint.as_deref(), |name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })?;
        let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
        let set = set.map(|(name, _)| name.to_string_lossy().into_owned());
        let without_effect = without_effect(set);
        if !settings.disabled && !without_effect.is_empty() {
            tracing::warn!(
                "these variables have no effect here: {}",
                without_effect.join(", ")
            );
        }
        Ok(settings)
    }
}

/// Sends the spans of this process to a collector.
pub struct Tracing {
    provider: SdkTracerProvider,
}

impl Tracing {
    /// Starts to send spans as the settings say, whether a collector answers or not.
    ///
    /// # Errors
    /// If the exporter cannot be created from the settings.
    pub fn start(service: &'static str, settings: &Settings) -> anyhow::Result<Self> {
        let service = settings
            .service
            .clone()
            .unwrap_or_else(|| service.to_owned());
        let Some(endpoint) = &settings.traces else {
            let provider = provider(service).build();
            if settings.disabled {
                // After the shutdown its spans are empty, and no context has a trace.
                provider.shutdown()?;
            }
            return Ok(Self { provider });
        };
        let mut exporter = OtlpExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.as_str());
        if !settings.timeout {
            exporter = exporter.with_timeout(TIMEOUT);
        }
        if endpoint.scheme() == "https" {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
        }
        let exporter = exporter
            .build()
            .context("cannot create the OTLP exporter")?;
        Ok(Self::with_exporter(
            service,
            ReportOutages::new(exporter, endpoint),
        ))
    }

    /// Sends spans to `exporter` from a queue, in a thread of its own, so that code that ends a span does not wait.
    pub fn with_exporter(
        service: impl Into<String>,
        exporter: impl SpanExporter + 'static,
    ) -> Self {
        let batches = BatchSpanProcessor::builder(WithoutPayloads(exporter)).build();
        let provider = provider(service.into())
            // Drops spans that workflow code itself creates during a replay. The plugin drops its own.
            .with_span_processor(WorkflowSpanProcessor::new(batches))
            .build();
        Self { provider }
    }

    /// Returns the options of the client, with the plugin. A worker takes the plugin from its client.
    pub fn client_options(&self, namespace: &str) -> ClientOptions {
        let propagator = TextMapCompositePropagator::new(vec![
            Box::new(TraceContextPropagator::new()),
            // Replaces the plugin's default, which changes values.
            Box::new(LosslessBaggage::default()),
        ]);
        let plugin = OpenTelemetryPlugin::builder()
            .tracer(self.tracer())
            .propagator(propagator);
        let reasons: Arc<dyn ActivityInboundInterceptor> = Arc::new(FailureReasons);
        let inside = SimplePlugin::builder("inside-its-spans")
            .activity_inbound_interceptors(vec![reasons])
            .workflow_interceptors(vec![WorkflowInterceptorConstructor::new(|_| EndOnEviction)]);
        ClientOptions::new(namespace)
            .data_converter(shared::data_converter())
            .plugin(plugin.build())
            .plugin(inside.build())
            .build()
    }

    /// Connects as [`ConnectionArgs::connect`] does, with the plugin.
    ///
    /// # Errors
    /// As [`ConnectionArgs::connect`].
    pub async fn connect(&self, args: &ConnectionArgs) -> anyhow::Result<Client> {
        // A plugin can be added only before the options are built.
        let connected =
            args.connect_as(|_, client| *client = self.client_options(&client.namespace));
        connected.await
    }

    /// Returns a tracer for spans of your own.
    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer(env!("CARGO_PKG_NAME"))
    }

    /// Sends the spans that have ended so far.
    ///
    /// # Errors
    /// If the collector does not accept them.
    pub fn flush(&self) -> OTelSdkResult {
        self.provider.force_flush()
    }

    /// Sends the remaining spans, for at most `GRACE`. Without this, the spans of the last seconds are lost.
    pub fn finish(self) {
        // `ReportOutages` has already logged failures, but not timeouts.
        if let Err(error @ OTelSdkError::Timeout(_)) = self.provider.shutdown_with_timeout(GRACE) {
            tracing::warn!("the last spans are lost: {error}");
        }
    }
}

fn provider(service: String) -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(service).build())
        // In workflows, a replay must get the same ids, because spans that have been sent refer to them.
        .with_id_generator(WorkflowIdGenerator::default())
}

/// Starts the SDK's runtime. It sends metrics to the collector with the period `every`, or not at all.
///
/// # Errors
/// If called outside a tokio runtime.
pub fn runtime(settings: &Settings, every: Option<Duration>) -> anyhow::Result<Runtime> {
    let mut telemetry = TelemetryOptions::builder().build();
    if let (Some(every), Some(endpoint)) = (every, &settings.metrics) {
        let options = OtelCollectorOptions::builder()
            .url(endpoint.clone())
            .metric_periodicity(every)
            .use_seconds_for_durations(true)
            .build();
        // The exporter keeps the subscriber under which it is created.
        let once = Dispatch::new(WarnOnce::default());
        let exporter = dispatcher::with_default(&once, || build_otlp_metric_exporter(options))?;
        telemetry.metrics = Some(Arc::new(exporter));
    }
    let options = RuntimeOptions::builder()
        .telemetry_options(telemetry)
        .build()
        .map_err(anyhow::Error::msg)?;
    Runtime::from_current_tokio(options).context("cannot start the SDK's runtime")
}
