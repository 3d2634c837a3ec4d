//! Runs the workflows on a real server, with the `worker_options` of the worker binary. The spans stay in memory.
//! `otlp.rs` sends them to a collector.

use crate::outline::outline;
use anyhow::ensure;
use open_telemetry::{
    activities::{CheckoutActivities, TENANT},
    receiver::Span,
    telemetry::Tracing,
    worker_options,
    workflows::{Checkout, CheckoutWorkflow, ShipmentWorkflow},
};
use opentelemetry::{
    Context, KeyValue,
    baggage::BaggageExt,
    trace::{FutureExt, Span as _, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracer, SpanData};
use serde_json::{Value, json};
use shared::{Input, describe, sleep};
use std::{collections::BTreeSet, time::Duration};
use temporalio_client::{Client, UntypedWorkflow, WorkflowHandle};
use temporalio_common::protos::temporal::api::{
    common::v1::Header,
    enums::v1::EventType::{
        ChildWorkflowExecutionStarted, ChildWorkflowExecutionTerminated, WorkflowTaskCompleted,
    },
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    WorkerOptions, WorkflowContext, WorkflowRegistrationError, WorkflowResult, WorkflowTermination,
    opentelemetry::TRACE_HEADER_KEY,
};
use testing::{TestEnv, bad_input, event_types, raw_json, until, with_worker};

/// Name of the buyer, with characters that have a meaning in a header.
const BUYER: &str = " a,b;c=d 100% ==";

/// A test environment whose client has the plugin, and so the worker too, and the spans of both.
struct Traced {
    env: TestEnv,
    tracing: Tracing,
    spans: InMemorySpanExporter,
}

impl Traced {
    async fn new() -> anyhow::Result<Self> {
        let mut env = TestEnv::new().await?;
        let spans = InMemorySpanExporter::default();
        let tracing = Tracing::with_exporter("test", spans.clone());
        let connection = env.client.connection().clone();
        env.client = Client::new(connection, tracing.client_options("default"))?;
        Ok(Self {
            env,
            tracing,
            spans,
        })
    }

    /// Starts a checkout as the starter does, in a span and with baggage.
    async fn checkout(
        &self,
        failures: u32,
    ) -> anyhow::Result<WorkflowHandle<Client, CheckoutWorkflow>> {
        let input = Checkout {
            item: "apples".to_owned(),
            failures,
        };
        let span = self.tracing.tracer().start("checkout");
        let context = Context::new()
            .with_span(span)
            .with_baggage([KeyValue::new(TENANT, BUYER)]);
        let options = self.env.start_options();
        let id = options.workflow_id.clone();
        let run = CheckoutWorkflow::run;
        let started = self.env.client.start_workflow(run, input.into(), options);
        started.with_context(context).await?;
        Ok(self.env.client.get_workflow_handle(id))
    }

    fn spans(&self) -> anyhow::Result<Vec<SpanData>> {
        self.tracing.flush()?;
        Ok(self.spans.get_finished_spans()?)
    }

    /// Returns the outline of the only trace.
    fn outline(&self) -> anyhow::Result<Vec<String>> {
        let spans = self.spans()?;
        let traces: BTreeSet<_> = spans
            .iter()
            .map(|s| s.span_context.trace_id().to_string())
            .collect();
        ensure!(traces.len() == 1, "{} traces", traces.len());
        let spans = spans.into_iter().map(|span| Span {
            service: "test".to_owned(),
            raw: span.into(),
        });
        Ok(outline(&spans.collect::<Vec<_>>()))
    }
}

/// Returns worker options without a cache, so that every workflow task replays the workflow.
fn without_cache(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    let mut options = worker_options(task_queue)?;
    options.max_cached_workflows = 0;
    Ok(options)
}

const TREE: [&str; 13] = [
    "checkout",
    "  StartWorkflow:CheckoutWorkflow",
    "    RunWorkflow:CheckoutWorkflow",
    "      StartActivity:check_stock",
    "        RunActivity:check_stock",
    "      StartActivity:charge",
    "        RunActivity:charge error: attempt 1 was declined",
    "        RunActivity:charge",
    "      StartChildWorkflow:ShipmentWorkflow",
    "        RunWorkflow:ShipmentWorkflow",
    "          StartActivity:book_courier",
    "            RunActivity:book_courier",
    "",
];

/// There is one trace from the starter to the last activity, in which each attempt is a span. The baggage names the
/// buyer, whatever characters the name contains.
#[tokio::test]
async fn one_trace() -> anyhow::Result<()> {
    let traced = Traced::new().await?;
    let body = async {
        let handle = traced.checkout(1).await?;
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(result, format!("{BUYER} pays; apples by bicycle"));
        Ok(())
    };
    traced.env.work(worker_options, body).await?;
    assert_eq!(traced.outline()?, TREE[..12]);
    Ok(())
}

/// A workflow that is replayed in every workflow task creates the same spans, each of them once.
#[tokio::test]
async fn replay_adds_no_spans() -> anyhow::Result<()> {
    let traced = Traced::new().await?;
    let body = async {
        let handle = traced.checkout(1).await?;
        handle.get_result(Default::default()).await?;
        let mut tasks = event_types(&handle).await?;
        tasks.retain(|event| *event == WorkflowTaskCompleted);
        ensure!(tasks.len() > 2, "nothing was replayed");
        Ok(())
    };
    traced.env.work(without_cache, body).await?;
    assert_eq!(traced.outline()?, TREE[..12]);
    let spans = traced.spans()?;
    let ids: BTreeSet<_> = spans
        .iter()
        .map(|s| s.span_context.span_id().to_string())
        .collect();
    assert_eq!(ids.len(), spans.len());
    Ok(())
}

/// A workflow that creates a span itself before it waits.
#[workflow]
struct OwnSpan {
    tracer: SdkTracer,
}

#[workflow_methods(factory_only)]
impl OwnSpan {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, _nothing: Input<()>) -> WorkflowResult<()> {
        ctx.state(|this| this.tracer.start("own span").end());
        sleep(ctx, Duration::from_millis(10)).await
    }
}

/// A span that workflow code creates itself is sent once, although the second workflow task replays the code that
/// creates it.
#[tokio::test]
async fn replay_adds_no_spans_of_workflow_code() -> anyhow::Result<()> {
    let traced = Traced::new().await?;
    let tracer = traced.tracing.tracer();
    let options = |task_queue: &str| -> anyhow::Result<WorkerOptions> {
        let mut options = WorkerOptions::new(task_queue)
            .register_workflow_with_factory(move || OwnSpan {
                tracer: tracer.clone(),
            })?
            .build();
        options.max_cached_workflows = 0;
        Ok(options)
    };
    let body = async {
        let client = &traced.env.client;
        let started = client.start_workflow(OwnSpan::run, ().into(), traced.env.start_options());
        started.await?.get_result(Default::default()).await?;
        Ok(())
    };
    traced.env.work(options, body).await?;
    let expected = [
        "StartWorkflow:OwnSpan",
        "  RunWorkflow:OwnSpan",
        "    own span",
    ];
    assert_eq!(traced.outline()?, expected);
    Ok(())
}

/// A workflow that a client in Go starts is part of that client's trace. Its baggage arrives unchanged, with `=` in
/// the value.
#[tokio::test]
async fn started_by_go() -> anyhow::Result<()> {
    let traced = Traced::new().await?;
    let elsewhere = TestEnv::new().await?;
    let body = async {
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let carrier = json!({
            "traceparent": format!("00-{trace_id}-00f067aa0ba902b7-01"),
            "baggage": "tenant=%20a%2Cb%3Bc=d%20100%25%20==",
        });
        let payloads = raw_json(&[carrier]).payloads;
        let fields = payloads
            .into_iter()
            .map(|payload| (TRACE_HEADER_KEY.to_owned(), payload));
        let mut options = traced.env.start_options();
        options.header = Some(Header {
            fields: fields.collect(),
        });
        let started = elsewhere.client.start_workflow(
            CheckoutWorkflow::run,
            Checkout {
                item: "apples".to_owned(),
                failures: 0,
            }
            .into(),
            options,
        );
        let result = started.await?.get_result(Default::default()).await?;
        assert_eq!(result, format!("{BUYER} pays; apples by bicycle"));
        for span in traced.spans()? {
            assert_eq!(span.span_context.trace_id().to_string(), trace_id);
        }
        Ok(())
    };
    traced.env.work(worker_options, body).await
}

/// A workflow that a client without the plugin starts has a trace of its own and no baggage. A replay adds no second
/// trace.
#[tokio::test]
async fn started_without_the_plugin() -> anyhow::Result<()> {
    let traced = Traced::new().await?;
    let elsewhere = TestEnv {
        task_queue: traced.env.task_queue.clone(),
        ..TestEnv::new().await?
    };
    let body = async {
        let input = [json!({"item": "apples"})];
        let handle = elsewhere
            .start_json::<CheckoutWorkflow>("CheckoutWorkflow", &input)
            .await?;
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(result, "nobody pays; apples by bicycle");
        Ok(())
    };
    traced.env.work(without_cache, body).await?;
    assert_eq!(traced.outline()?[0], "RunWorkflow:CheckoutWorkflow");
    Ok(())
}

/// The spans of everything that failed have the status error. The span where the failure began has its message, and
/// no span has anything else from the failure.
#[tokio::test]
async fn spans_show_failures() -> anyhow::Result<()> {
    let traced = Traced::new().await?;
    let body = async {
        let handle = traced.checkout(3).await?;
        let failed = handle.get_result(Default::default()).await;
        let reason = "workflow failed: activity charge failed: attempt 3 was declined (Declined)";
        assert_eq!(describe(&failed.expect_err("failed")), reason);
        Ok(())
    };
    traced.env.work(worker_options, body).await?;
    let expected = [
        "checkout",
        "  StartWorkflow:CheckoutWorkflow",
        "    RunWorkflow:CheckoutWorkflow error",
        "      StartActivity:check_stock",
        "        RunActivity:check_stock",
        "      StartActivity:charge error",
        "        RunActivity:charge error: attempt 1 was declined",
        "        RunActivity:charge error: attempt 2 was declined",
        "        RunActivity:charge error: attempt 3 was declined",
    ];
    assert_eq!(traced.outline()?, expected);
    for span in traced.spans()? {
        assert!(span.events.is_empty(), "{span:?}");
    }
    Ok(())
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED, and its span has the status error.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let traced = Traced::new().await?;
    let handle = traced.checkout(0).await?;
    traced.env.ends_cancelled(&handle, worker_options).await?;
    let spans = traced.spans()?;
    let errors = spans.iter().filter(|span| span.status != Status::Unset);
    let mut names: Vec<_> = errors.map(|span| span.name.as_ref()).collect();
    names.sort();
    let expected = ["RunWorkflow:CheckoutWorkflow", "StartActivity:check_stock"];
    assert_eq!(names, expected);
    Ok(())
}

/// Stands in for `ShipmentWorkflow`, and never ends by itself.
#[workflow]
#[derive(Default)]
struct EndlessShipment;

#[workflow_methods]
impl EndlessShipment {
    #[run(name = "ShipmentWorkflow")]
    async fn run(ctx: &mut WorkflowContext<Self>, _item: Input<String>) -> WorkflowResult<String> {
        ctx.cancelled().await;
        Err(WorkflowTermination::cancelled())
    }
}

/// The parent ends CANCELED even if its child is terminated before a worker learns about the cancellation.
/// If the SDK cancelled the child by itself, the parent's workflow task would fail forever.
#[tokio::test]
async fn ends_cancelled_with_a_terminated_child() -> anyhow::Result<()> {
    let traced = Traced::new().await?;
    let env = &traced.env;
    let handle = traced.checkout(0).await?;
    let options = |task_queue: &str| -> anyhow::Result<WorkerOptions> {
        Ok(WorkerOptions::new(task_queue)
            .register_workflow::<CheckoutWorkflow>()?
            .register_workflow::<EndlessShipment>()?
            .register_activities(CheckoutActivities)
            .build())
    };
    env.work(options, until(&handle, ChildWorkflowExecutionStarted))
        .await?;
    let child_id = format!("{}-shipment", handle.info().workflow_id);
    let child: WorkflowHandle<_, UntypedWorkflow> = env.client.get_workflow_handle(child_id);
    child.terminate(Default::default()).await?;
    until(&handle, ChildWorkflowExecutionTerminated).await?;
    env.ends_cancelled(&handle, worker_options).await
}

/// Bad input fails both workflows at once, and no span contains it.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    let traced = Traced::new().await?;
    let body = async {
        let cases: [(Value, &str); 3] = [
            (
                json!("s3cret"),
                "invalid type: string \"s3cret\", expected struct Checkout",
            ),
            (json!({"failures": 1}), "missing field `item`"),
            (
                json!({"item": "apples", "failures": -1}),
                "`failures`: invalid value: integer `-1`, expected u32",
            ),
        ];
        for (input, reason) in cases {
            let handle = traced
                .env
                .start_json::<CheckoutWorkflow>("CheckoutWorkflow", &[input])
                .await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        let handle = traced
            .env
            .start_json::<ShipmentWorkflow>("ShipmentWorkflow", &[json!(7)])
            .await?;
        let reason = "invalid type: integer `7`, expected a string";
        assert_eq!(bad_input(&handle).await?, reason);
        Ok(())
    };
    traced.env.work(worker_options, body).await?;
    let spans = traced.spans()?;
    assert_eq!(
        spans
            .iter()
            .filter(|s| s.name.starts_with("RunWorkflow"))
            .count(),
        4
    );
    assert!(!format!("{spans:?}").contains("s3cret"));
    Ok(())
}

/// A checkout fails before anything is charged if the id of its shipment would be too long.
#[tokio::test]
async fn refuses_a_shipment_id_that_is_too_long() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let apples = [json!({"item": "apples"})];
        env.checks_child_id::<CheckoutWorkflow>("CheckoutWorkflow", &apples, "-shipment")
            .await
    })
    .await
}
