//! Starts one of the parents, waits for its result, and looks after the child that one leaves.

#![allow(
    clippy::disallowed_methods,
    reason = "a starter may wait for a while and no longer"
)]

use child_workflow::{
    TASK_QUEUE,
    close_policy::{ClosePolicy, LeavingParentInput, LeavingParentWorkflow},
    many::{GreetManyInput, GreetManyWorkflow},
    workflows::{AdvancedParentWorkflow, ComposeGreetingWorkflow, GreetingWorkflow},
};
use clap::Parser;
use shared::{MainResult, StarterArgs, print_result, print_started, printable};
use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};
use temporalio_client::{
    Client, WorkflowHandle, WorkflowStartOptions, errors::WorkflowGetResultError,
};

/// Starts `GreetingWorkflow`, or another parent, and prints its result or its child's end.
#[derive(Parser)]
struct Args {
    /// Whom to greet
    #[arg(long, default_value = "World")]
    name: String,

    /// Start `AdvancedParentWorkflow`, which signals its child
    #[arg(long, group = "parent")]
    advanced: bool,

    /// Start `LeavingParentWorkflow`, and print what becomes of the child when its parent ends
    #[arg(long, group = "parent")]
    policy: Option<ClosePolicy>,

    /// Have the parent end without waiting for the start of the child
    #[arg(long, requires = "policy")]
    hasty: bool,

    /// Start `GreetManyWorkflow`, with N children
    #[arg(long, group = "parent", value_name = "N")]
    children: Option<NonZeroU32>,

    /// How many of them at a time
    #[arg(long, default_value = "2", value_name = "WIDTH", requires = "children")]
    at_most: NonZeroUsize,

    /// How many attempts of each fail; there are three
    #[arg(long, value_name = "N", requires = "children")]
    failures: Option<u32>,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let options =
        WorkflowStartOptions::new(task_queue, args.starter.workflow_id("child-workflow")?).build();
    if args.advanced {
        let handle = client
            .start_workflow(AdvancedParentWorkflow::run, args.name.into(), options)
            .await?;
        print_started(&handle, task_queue);
        return Ok(print_result(&handle.get_result(Default::default()).await?)?);
    }
    if let Some(policy) = args.policy {
        let input = LeavingParentInput {
            policy,
            hasty: args.hasty,
        };
        let handle = client
            .start_workflow(LeavingParentWorkflow::run, input.into(), options)
            .await?;
        print_started(&handle, task_queue);
        let child_id = handle.get_result(Default::default()).await?;
        eprintln!("child    {}", printable(&child_id));
        let child = client.get_workflow_handle::<ComposeGreetingWorkflow>(child_id);
        let expected = match policy {
            _ if args.hasty => "NEVER STARTED",
            ClosePolicy::Terminate => "TERMINATED",
            ClosePolicy::RequestCancel => "CANCELED",
            ClosePolicy::Abandon => "RUNNING",
        };
        let became = what_became_of(&child, expected == "RUNNING").await?;
        if became != expected {
            return Err(anyhow::anyhow!("the child is {became}, not {expected}").into());
        }
        return Ok(print_result(became)?);
    }
    if let Some(children) = args.children {
        let input = GreetManyInput {
            names: (1..=children.get()).map(|n| format!("user{n}")).collect(),
            at_most: args.at_most,
            failures: args.failures,
        };
        let handle = client
            .start_workflow(GreetManyWorkflow::run, input.into(), options)
            .await?;
        print_started(&handle, task_queue);
        let greetings = handle.get_result(Default::default()).await?;
        let history = handle.fetch_history(Default::default()).into_events();
        eprintln!("events   {} in the parent's history", history.await?.len());
        return Ok(print_result(&greetings)?);
    }
    let handle = client
        .start_workflow(GreetingWorkflow::run, args.name.into(), options)
        .await?;
    print_started(&handle, task_queue);
    Ok(print_result(&handle.get_result(Default::default()).await?)?)
}

/// The status of a child whose parent has ended. One that still runs is released, so that nothing
/// is left behind.
async fn what_became_of(
    child: &WorkflowHandle<Client, ComposeGreetingWorkflow>,
    stays: bool,
) -> anyhow::Result<&'static str> {
    // The server sees to the children after their parent has closed, in its own time. Of one that
    // is to stay, nothing will tell: hence only a while.
    let patience = Duration::from_secs(if stays { 2 } else { 10 });
    match tokio::time::timeout(patience, child.get_result(Default::default())).await {
        Err(_) => {}
        Ok(Ok(_)) => return Ok("COMPLETED"),
        Ok(Err(WorkflowGetResultError::Cancelled { .. })) => return Ok("CANCELED"),
        Ok(Err(WorkflowGetResultError::Terminated { .. })) => return Ok("TERMINATED"),
        Ok(Err(WorkflowGetResultError::NotFound(_))) => return Ok("NEVER STARTED"),
        Ok(Err(other)) => return Err(other.into()),
    }
    child
        .signal(
            ComposeGreetingWorkflow::release,
            ().into(),
            Default::default(),
        )
        .await?;
    let greeting = child.get_result(Default::default()).await?;
    eprintln!("released {}", printable(&greeting));
    Ok("RUNNING")
}
