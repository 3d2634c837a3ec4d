//! Sets up logs and the SDK's runtime, and adds the ids of workflows and activities to log lines.

use crate::{idempotency::is_standalone, running::Running};
use anyhow::Context;
use futures::FutureExt;
use std::{future::poll_fn, io::IsTerminal};
use temporalio_sdk::{
    Runtime,
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
    workflow_interceptors::{
        ExecuteWorkflowInput, ExecuteWorkflowResult, HandleQueryInput, HandleQueryResult,
        HandleSignalInput, HandleSignalResult, HandleUpdateInput, HandleUpdateResult,
        SyncWorkflowInterceptorContext, ValidateUpdateInput, ValidateUpdateResult,
        WorkflowInterceptor, WorkflowInterceptorConstructor, WorkflowInterceptorContext,
        WorkflowInterceptorFuture, WorkflowNext,
    },
};
use tracing::{Dispatch, Instrument, Span, dispatcher, error_span};
use tracing_subscriber::EnvFilter;

/// Ours at `info`, the SDK's own at `warn`, unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info,temporalio_client=warn,temporalio_common=warn,temporalio_sdk=warn,temporalio_sdk_core=warn";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text, for people
    #[default]
    Text,
    /// JSON, with the fields of workflow and activity in `spans`
    Json,
}

/// Sends logs to stderr as text.
///
/// Without a subscriber the SDK logs nothing at all, not even why a workflow task fails.
///
/// # Errors
/// If `RUST_LOG` is not a valid filter, or if a subscriber has been installed already.
pub fn init_logs() -> anyhow::Result<()> {
    init_logs_as(LogFormat::Text)
}

/// As [`init_logs`], in the format asked for.
///
/// # Errors
/// As [`init_logs`].
pub fn init_logs_as(format: LogFormat) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter)
            .with_context(|| format!("RUST_LOG is not a valid filter: `{filter}`"))?,
        _ => EnvFilter::new(DEFAULT_FILTER),
    };
    // A filter that leaves out the spans of `LogFields` leaves out their fields on every line.
    let filter = filter.add_directive(concat!(module_path!(), "=error").parse()?);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("cannot install the log subscriber: {error}"))
}

/// The SDK's runtime, on the current tokio runtime.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Runtime::from_current_tokio(Default::default()).context("cannot start the SDK's runtime")
}

/// Interceptors that add fields to every log line of an activity or a workflow: the workflow id, the run
/// id, and either the activity type and the attempt or the workflow type. Lines of workflow code are
/// dropped during a replay. [`crate::run_until_shutdown`] also uses this interceptor to name the activities
/// that a shutdown waits for.
///
/// Register both on a worker:
///
/// ```
/// # use shared::LogFields;
/// # let options = temporalio_sdk::WorkerOptions::new("task-queue");
/// let options = options
///     .activity_inbound_interceptor(LogFields)
///     .workflow_interceptor(LogFields::in_workflows());
/// # let _ = options;
/// ```
///
/// Lines can appear twice in one case: the SDK treats a workflow task that scheduled nothing as one with
/// the next task, for example the task of an update. Without the workflow cache, the lines of the first
/// task are then logged again.
///
/// The SDK's own spans are not sufficient, because they lack the attempt and, in workflows, the ids.
///
/// The spans have the level of errors, so that [`init_logs`] keeps them whatever `RUST_LOG` says.
#[derive(Clone, Copy, Debug)]
pub struct LogFields;

impl LogFields {
    /// Returns the constructor for [`temporalio_sdk::WorkerOptions`], which calls it for each workflow.
    pub fn in_workflows() -> WorkflowInterceptorConstructor {
        WorkflowInterceptorConstructor::new(|_| Self)
    }
}

impl ActivityInboundInterceptor for LogFields {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let info = input.activity_info();
        let span = error_span!(
            "activity",
            workflow_id = info.workflow_id,
            run_id = info.workflow_run_id,
            activity_type = info.activity_type,
            attempt = info.attempt,
        );
        let id = match &info.workflow_id {
            Some(id) if !is_standalone(info) => id,
            _ => &info.activity_id,
        };
        let running = Running::new(&info.activity_type, id);
        // No `async` block, which would show in the stack traces of activities.
        let activity = next.run(input).instrument(span);
        Box::pin(activity.inspect(move |_| drop(running)))
    }
}

fn workflow_span(workflow_id: &str, run_id: &str, workflow_type: &str) -> Span {
    error_span!("workflow", workflow_id, run_id, workflow_type)
}

fn in_workflow<'a, T: 'a>(
    ctx: WorkflowInterceptorContext,
    start: impl FnOnce() -> WorkflowInterceptorFuture<'a, T>,
) -> WorkflowInterceptorFuture<'a, T> {
    let span = workflow_span(ctx.workflow_id(), ctx.run_id(), ctx.workflow_type());
    let mut code = unless_replaying(&ctx, &span, start);
    // Checked at each poll: the same future first replays and then runs for real.
    WorkflowInterceptorFuture::new(poll_fn(move |cx| {
        unless_replaying(&ctx, &span, || code.poll_unpin(cx))
    }))
}

fn unless_replaying<T>(
    ctx: &WorkflowInterceptorContext,
    span: &Span,
    code: impl FnOnce() -> T,
) -> T {
    if ctx.is_replaying() {
        dispatcher::with_default(&Dispatch::none(), code)
    } else {
        span.in_scope(code)
    }
}

// The SDK always reports queries and validators as replaying, although they run on request.
fn in_handler<T>(ctx: &SyncWorkflowInterceptorContext, code: impl FnOnce() -> T) -> T {
    workflow_span(ctx.workflow_id(), ctx.run_id(), ctx.workflow_type()).in_scope(code)
}

impl WorkflowInterceptor for LogFields {
    fn execute<'a>(
        &'a self,
        ctx: WorkflowInterceptorContext,
        input: ExecuteWorkflowInput,
        next: WorkflowNext<
            'a,
            ExecuteWorkflowInput,
            WorkflowInterceptorFuture<'a, ExecuteWorkflowResult>,
        >,
    ) -> WorkflowInterceptorFuture<'a, ExecuteWorkflowResult> {
        in_workflow(ctx, || next.run(input))
    }

    fn handle_signal<'a>(
        &'a self,
        ctx: WorkflowInterceptorContext,
        input: HandleSignalInput,
        next: WorkflowNext<
            'a,
            HandleSignalInput,
            WorkflowInterceptorFuture<'a, HandleSignalResult>,
        >,
    ) -> WorkflowInterceptorFuture<'a, HandleSignalResult> {
        in_workflow(ctx, || next.run(input))
    }

    fn handle_update<'a>(
        &'a self,
        ctx: WorkflowInterceptorContext,
        input: HandleUpdateInput,
        next: WorkflowNext<
            'a,
            HandleUpdateInput,
            WorkflowInterceptorFuture<'a, HandleUpdateResult>,
        >,
    ) -> WorkflowInterceptorFuture<'a, HandleUpdateResult> {
        in_workflow(ctx, || next.run(input))
    }

    fn handle_query(
        &self,
        ctx: SyncWorkflowInterceptorContext,
        input: HandleQueryInput,
        next: WorkflowNext<'_, HandleQueryInput, HandleQueryResult>,
    ) -> HandleQueryResult {
        in_handler(&ctx, || next.run(input))
    }

    fn validate_update(
        &self,
        ctx: SyncWorkflowInterceptorContext,
        input: ValidateUpdateInput,
        next: WorkflowNext<'_, ValidateUpdateInput, ValidateUpdateResult>,
    ) -> ValidateUpdateResult {
        in_handler(&ctx, || next.run(input))
    }
}
