//! Additions to the exporter and the plugin: one warning if the collector is missing, no payloads in spans, and an
//! end for the spans of evicted workflows.

use opentelemetry::{
    Context, KeyValue,
    trace::{Status, TraceContextExt},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use temporalio_client::Url;
use temporalio_sdk::{
    activities::ActivityError,
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
    workflow_interceptors::{
        ExecuteWorkflowInput, ExecuteWorkflowResult, WorkflowInterceptor,
        WorkflowInterceptorContext, WorkflowInterceptorFuture, WorkflowNext,
    },
};
use tracing::{
    Dispatch, Event, Metadata, Subscriber, dispatcher, level_filters::LevelFilter, span,
    subscriber::Interest,
};

/// An exporter that logs once if its collector does not accept spans, and once if it accepts them again.
/// OpenTelemetry's own exporter logs every batch or nothing, depending on the crate's features.
#[derive(Debug)]
pub(crate) struct ReportOutages<E> {
    exporter: E,
    endpoint: Url,
    missing: AtomicBool,
}

impl<E> ReportOutages<E> {
    pub(crate) fn new(exporter: E, endpoint: &Url) -> Self {
        Self {
            exporter,
            endpoint: endpoint.clone(),
            missing: AtomicBool::new(false),
        }
    }
}

impl<E: SpanExporter> SpanExporter for ReportOutages<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_missing = self.missing.swap(result.is_err(), Ordering::Relaxed);
        let endpoint = &self.endpoint;
        match &result {
            Err(error) if !was_missing => {
                // The last cause, without the error number of the system.
                let error = error.to_string();
                let reason = error.rsplit(": ").next().unwrap_or_default();
                let reason = reason.split(" (os error").next().unwrap_or_default();
                tracing::warn!(
                    "the collector at {endpoint} does not accept spans, so they are lost: {reason}; start a \
                     collector there, or set OTEL_EXPORTER_OTLP_ENDPOINT to the URL of another one"
                );
            }
            Ok(()) if was_missing => {
                tracing::info!("the collector at {endpoint} accepts spans again");
            }
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// A log subscriber for the exporter of metrics. It lets only the first warning through, because the exporter
/// logs one for each failed export.
pub(crate) struct WarnOnce {
    to: Dispatch,
    warned: AtomicBool,
}

impl Default for WarnOnce {
    fn default() -> Self {
        Self {
            to: dispatcher::get_default(Clone::clone),
            warned: AtomicBool::new(false),
        }
    }
}

impl Subscriber for WarnOnce {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().ends_with("::metric_export")
    }

    fn event(&self, event: &Event<'_>) {
        if !self.warned.swap(true, Ordering::Relaxed) && self.to.enabled(event.metadata()) {
            self.to.event(event);
        }
    }

    // These are never called, because no span is enabled.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// An activity interceptor that adds to the span of each attempt why it failed. [`WithoutPayloads`] removes the
/// plugin's own description.
pub(crate) struct FailureReasons;

impl ActivityInboundInterceptor for FailureReasons {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        Box::pin(async move {
            let result = next.run(input).await;
            let (kind, message) = match &result {
                Err(ActivityError::Application(failure)) => {
                    (failure.type_name().unwrap_or_default(), failure.to_string())
                }
                Err(ActivityError::Cancelled { .. }) => ("Cancelled", "cancelled".to_owned()),
                _ => return result,
            };
            let context = Context::current();
            let kind = KeyValue::new("error.type", kind.to_owned());
            context
                .span()
                .set_attributes([kind, KeyValue::new(MESSAGE, message)]);
            result
        })
    }
}

const MESSAGE: &str = "error.message";

/// A workflow interceptor that ends the span of a workflow when the worker evicts it from its cache.
///
/// The plugin does not end it, so the span would never be sent, and its children would have no parent. A span
/// cannot continue in the process that replays the workflow.
pub(crate) struct EndOnEviction;

impl WorkflowInterceptor for EndOnEviction {
    fn execute<'a>(
        &'a self,
        _ctx: WorkflowInterceptorContext,
        input: ExecuteWorkflowInput,
        next: WorkflowNext<
            'a,
            ExecuteWorkflowInput,
            WorkflowInterceptorFuture<'a, ExecuteWorkflowResult>,
        >,
    ) -> WorkflowInterceptorFuture<'a, ExecuteWorkflowResult> {
        let open_span = OpenSpan(Some(Context::current()));
        WorkflowInterceptorFuture::new(async move {
            let result = next.run(input).await;
            // The plugin ends the span, with a status.
            open_span.leave_to_plugin();
            result
        })
    }
}

/// Ends the span of its context when it is dropped.
struct OpenSpan(Option<Context>);

impl OpenSpan {
    fn leave_to_plugin(mut self) {
        self.0 = None;
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// An exporter that removes payloads from spans. The plugin describes an error with its `Debug` text: with the
/// backtrace, the details and everything that the codec has just decrypted.
#[derive(Debug)]
pub(crate) struct WithoutPayloads<E>(pub(crate) E);

impl<E: SpanExporter> SpanExporter for WithoutPayloads<E> {
    fn export(&self, mut batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        for span in &mut batch {
            if let Status::Error { description } = &mut span.status {
                let mut attributes = span.attributes.iter();
                let message = attributes.find(|attribute| attribute.key.as_str() == MESSAGE);
                *description = message
                    .map_or_else(String::new, |m| m.value.to_string())
                    .into();
                span.events.events.retain(|event| event.name != "exception");
            }
        }
        self.0.export(batch)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}
