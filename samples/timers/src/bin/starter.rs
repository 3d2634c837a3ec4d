//! Starts one of the workflows, and prints its result.

use clap::{Parser, ValueEnum};
use serde::Serialize;
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::{num::NonZeroU64, time::Duration};
use temporalio_client::{Client, WorkflowStartOptions};
use temporalio_common::HasWorkflowDefinition;
use timers::{
    TASK_QUEUE,
    workflows::{
        ActivityDeadlineInput, ActivityDeadlineWorkflow, CLEANUP_LIMIT, CancellationScopeInput,
        CancellationScopeWorkflow, ProcessOrderInput, ProcessOrderWorkflow, WorkflowDeadlineInput,
        WorkflowDeadlineWorkflow,
    },
};

/// Which workflow to start.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// An order, and an e-mail if it takes long
    Reminder,
    /// An activity with a deadline
    Activity,
    /// A group of activities with a deadline
    Group,
    /// A workflow with a deadline
    Workflow,
}

/// Starts a workflow with a timer, and prints its result.
#[derive(Parser)]
struct Args {
    /// Which workflow to start
    #[arg(long, value_enum, default_value = "reminder")]
    kind: Kind,

    /// Let the work take longer than the timer
    #[arg(long)]
    slow: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    // An order takes half of its limit.
    let [order_processing_ms, work_ms, limit_ms] = match args.slow {
        true => [4000, 60_000, 1000],
        false => [200, 100, 60_000],
    }
    .map(|number| NonZeroU64::MIN.saturating_add(number - 1));
    match args.kind {
        Kind::Reminder => {
            let input = ProcessOrderInput {
                order_processing_ms,
                send_delayed_email_timeout_ms: limit_ms,
            };
            execute(&client, &args, ProcessOrderWorkflow::run, input.into()).await
        }
        Kind::Activity => {
            let input = ActivityDeadlineInput {
                work_ms,
                deadline_ms: limit_ms,
            };
            execute(&client, &args, ActivityDeadlineWorkflow::run, input.into()).await
        }
        Kind::Group => {
            let input = CancellationScopeInput {
                work_ms: vec![NonZeroU64::MIN, work_ms, work_ms],
                deadline_ms: limit_ms,
            };
            execute(&client, &args, CancellationScopeWorkflow::run, input.into()).await
        }
        Kind::Workflow => {
            let input = WorkflowDeadlineInput {
                steps: 3,
                step_ms: work_ms,
                deadline_ms: limit_ms,
            };
            execute(&client, &args, WorkflowDeadlineWorkflow::run, input.into()).await
        }
    }
}

/// Starts a workflow, and prints its result.
async fn execute<W>(client: &Client, args: &Args, workflow: W, input: W::Input) -> MainResult
where
    W: HasWorkflowDefinition,
    W::Input: Send,
    W::Output: Serialize,
{
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let options = WorkflowStartOptions::new(task_queue, args.starter.workflow_id("timers")?)
        // In case the workflow cannot enforce its own deadline. It is later than the deadline and the cleanup,
        // because the server ends a workflow at this time without running any of its code.
        .execution_timeout(Duration::from_secs(60 * 60) + CLEANUP_LIMIT);
    let started = client
        .start_workflow(workflow, input, options.build())
        .await?;
    print_started(&started, task_queue);
    print_result(&started.get_result(Default::default()).await?)
}
