//! What exporter and plugin leave to us: a collector that is missing, errors that say too much, and
//! workflows that a worker forgets.

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

/// An exporter that says once that its collector does not take the spans, and once that it does
/// again. OpenTelemetry's own exporter says it with every batch, or never, as features have it.
#[derive(Debug)]
pub(crate) struct Collector<E> {
    exporter: E,
    endpoint: Url,
    missing: AtomicBool,
}

impl<E> Collector<E> {
    pub(crate) fn new(exporter: E, endpoint: &Url) -> Self {
        Self {
            exporter,
            endpoint: endpoint.clone(),
            missing: AtomicBool::new(false),
        }
    }
}

impl<E: SpanExporter> SpanExporter for Collector<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_missing = self.missing.swap(result.is_err(), Ordering::Relaxed);
        let endpoint = &self.endpoint;
        match &result {
            Err(error) if !was_missing => {
                // The last of its causes, less the system's number for it.
                let error = error.to_string();
                let reason = error.rsplit(": ").next().unwrap_or_default();
                let reason = reason.split(" (os error").next().unwrap_or_default();
                tracing::warn!(
                    "the collector at {endpoint} takes no spans, they are dropped: {reason}; start \
                     one there, or say where one is with OTEL_EXPORTER_OTLP_ENDPOINT"
                );
            }
            Ok(()) if was_missing => {
                tracing::info!("the collector at {endpoint} takes spans again");
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

/// The log of the exporter of metrics, which warns each time that it fails: of the same, once.
pub(crate) struct Once {
    to: Dispatch,
    said: AtomicBool,
}

impl Default for Once {
    fn default() -> Self {
        Self {
            to: dispatcher::get_default(Clone::clone),
            said: AtomicBool::new(false),
        }
    }
}

impl Subscriber for Once {
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
        if !self.said.swap(true, Ordering::Relaxed) && self.to.enabled(event.metadata()) {
            self.to.event(event);
        }
    }

    // There are no spans: none is enabled.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Around every attempt at every activity: says on its span why it failed. What the plugin says is
/// for [`Discreet`] to drop.
pub(crate) struct Reasons;

impl ActivityInboundInterceptor for Reasons {
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

/// Around every workflow: ends its span when the worker forgets the workflow before it is done. The
/// plugin does not, so whatever the workflow began would hang in the air; and a span cannot go on
/// in the process that replays it.
pub(crate) struct EndIfForgotten;

impl WorkflowInterceptor for EndIfForgotten {
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
        let unfinished = Unfinished(Some(Context::current()));
        WorkflowInterceptorFuture::new(async move {
            let result = next.run(input).await;
            // The plugin ends it, with a status.
            unfinished.done();
            result
        })
    }
}

struct Unfinished(Option<Context>);

impl Unfinished {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// An exporter of spans that hold no payloads. The plugin describes an error by its `Debug`: with
/// backtrace, details and whatever the codec has just decrypted.
#[derive(Debug)]
pub(crate) struct Discreet<E>(pub(crate) E);

impl<E: SpanExporter> SpanExporter for Discreet<E> {
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
