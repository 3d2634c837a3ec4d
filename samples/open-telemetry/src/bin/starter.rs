//! Starts the workflow in a root span and with baggage, and sends that span to the collector.

use anyhow::Context as _;
use clap::Parser;
use open_telemetry::{
    TASK_QUEUE,
    activities::TENANT,
    baggage,
    telemetry::{OtlpArgs, Tracing},
    workflows::{Checkout, CheckoutWorkflow},
};
use opentelemetry::{
    Context, KeyValue,
    baggage::BaggageExt,
    trace::{FutureExt, TraceContextExt, Tracer},
};
use shared::{MainResult, StarterArgs, end_on_signals, init_logs, print_result, print_started};
use temporalio_client::WorkflowStartOptions;

/// Starts `CheckoutWorkflow`, and prints its result and the id of the trace.
#[derive(Parser)]
struct Args {
    /// Item to buy
    #[arg(default_value = "apples")]
    item: String,

    /// Name of the buyer, which travels as baggage and not as input
    #[arg(long, default_value = "acme")]
    tenant: String,

    /// Number of attempts at the payment that fail; there are at most three attempts
    #[arg(long, default_value_t = 0)]
    failures: u32,

    #[command(flatten)]
    otlp: OtlpArgs,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    end_on_signals()?;
    init_logs()?;
    let tracing = Tracing::start("open-telemetry-starter", &args.otlp.settings()?)?;
    let ended = checkout(args, &tracing).await;
    // Also after an error, because a trace is most useful when something went wrong.
    tracing.finish();
    ended
}

async fn checkout(args: Args, tracing: &Tracing) -> MainResult {
    baggage::check(TENANT, &args.tenant).context("--tenant is too long")?;
    let starter = &args.starter;
    let client = tracing.connect(&starter.connection).await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let id = starter.workflow_id("open-telemetry")?;
    let options = WorkflowStartOptions::new(task_queue, id).build();
    let input = Checkout {
        item: args.item,
        failures: args.failures,
    };
    // The span ends when it is dropped, at the end of this function.
    let span = tracing.tracer().start("checkout");
    let context =
        Context::current_with_span(span).with_baggage([KeyValue::new(TENANT, args.tenant)]);
    let handle = client
        .start_workflow(CheckoutWorkflow::run, input.into(), options)
        // The plugin sends the context in which this call runs.
        .with_context(context.clone())
        .await?;
    print_started(&handle, task_queue);
    match context.span().span_context() {
        span if span.is_valid() => eprintln!("trace    {}", span.trace_id()),
        _ => eprintln!("trace    none (OTEL_SDK_DISABLED)"),
    }
    print_result(&handle.get_result(Default::default()).await?)?;
    Ok(())
}
