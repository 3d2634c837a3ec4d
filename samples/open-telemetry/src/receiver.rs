//! A small collector: receives spans and metrics over OTLP, and formats the spans of a trace as a tree. Only the
//! binary `open-telemetry-collector` and the tests use it. Your worker does not need it.

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{Span as Raw, status::StatusCode},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// A received span.
#[derive(Clone, Debug)]
pub struct Span {
    /// Name of the service that sent it.
    pub service: String,
    /// The span in the form in which it was sent.
    pub raw: Raw,
}

impl Span {
    /// Returns the message of its status, if the status is "error".
    pub fn error(&self) -> Option<&str> {
        let status = self.raw.status.as_ref();
        let failed = status.filter(|status| status.code() == StatusCode::Error)?;
        Some(&failed.message)
    }

    /// Returns the text of an attribute.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        text(&self.raw.attributes, key)
    }
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn service(resource: Option<&Resource>) -> String {
    let name = resource.and_then(|resource| text(&resource.attributes, "service.name"));
    name.unwrap_or("?").to_owned()
}

/// Spans and metrics that have arrived so far.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Spans by the id of their trace.
    pub traces: BTreeMap<Vec<u8>, Vec<Span>>,
    /// Names of the metrics.
    pub metrics: BTreeSet<String>,
}

/// Receives spans and metrics. [`Receiver::subscribe`] gives access to them.
#[derive(Clone, Default)]
pub struct Receiver(watch::Sender<Received>);

impl Receiver {
    /// Returns a channel with everything that arrives.
    pub fn subscribe(&self) -> watch::Receiver<Received> {
        self.0.subscribe()
    }

    /// Takes the spans and metrics that have arrived since the last call.
    pub fn take(&self) -> Received {
        let mut taken = Received::default();
        self.0.send_if_modified(|received| {
            taken = std::mem::take(received);
            // Nothing new has arrived, so no subscriber needs to wake.
            false
        });
        taken
    }

    /// Serves `listener` as long as the future is polled.
    ///
    /// # Errors
    /// If the server fails.
    pub async fn serve(self, listener: TcpListener) -> Result<(), tonic::transport::Error> {
        Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self))
            .serve_with_incoming(TcpIncoming::from(listener))
            .await
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send_modify(|received| {
            for spans in request.into_inner().resource_spans {
                let service = service(spans.resource.as_ref());
                for raw in spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    let trace = received.traces.entry(raw.trace_id.clone()).or_default();
                    let service = service.clone();
                    trace.push(Span { service, raw });
                }
            }
        });
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics.into_iter();
        let scopes = resources.flat_map(|metrics| metrics.scope_metrics);
        let names = scopes
            .flat_map(|scope| scope.metrics)
            .map(|metric| metric.name);
        self.0
            .send_modify(|received| received.metrics.extend(names));
        Ok(Response::new(Default::default()))
    }
}

/// Formats a trace: its id, then one line per span. The children of a span are below it, in the order of their start.
pub fn tree(spans: &[Span]) -> String {
    let mut spans: Vec<_> = spans.iter().collect();
    spans.sort_by_key(|span| span.raw.start_time_unix_nano);
    let here = |id: &[u8]| spans.iter().any(|span| span.raw.span_id == id);
    let roots = spans.iter().filter(|span| !here(&span.raw.parent_span_id));
    let mut tree = String::new();
    for root in roots {
        if tree.is_empty() {
            let id: String = root
                .raw
                .trace_id
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            tree = format!("trace    {id}\n");
        }
        push(&mut tree, &spans, root, 1);
    }
    tree
}

fn push(tree: &mut String, spans: &[&Span], span: &Span, depth: usize) {
    let raw = &span.raw;
    let took = raw
        .end_time_unix_nano
        .saturating_sub(raw.start_time_unix_nano);
    let took = Duration::from_nanos(took).as_millis();
    let name = format!("{:1$}{2}", "", 2 * depth, raw.name);
    let error = match span.error() {
        None => String::new(),
        Some("") => " error".to_owned(),
        Some(message) => format!(" error: {message}"),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(tree, "{name:<46} {:<15} {took:>5} ms{error}", span.service);
    for child in spans
        .iter()
        .filter(|child| child.raw.parent_span_id == raw.span_id)
    {
        push(tree, spans, child, depth + 1);
    }
}
