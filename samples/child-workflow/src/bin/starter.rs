//! Starts one of the parents, waits for its result, and shows what happens to a child that its parent leaves.

use child_workflow::{
    TASK_QUEUE,
    close_policy::{ClosePolicy, LeavingParentInput, LeavingParentWorkflow},
    many::{GreetEachWorkflow, GreetManyInput, GreetManyWorkflow},
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

/// Starts `GreetingWorkflow`, or another parent, and prints its result or how its child ended.
#[derive(Parser)]
struct Args {
    /// Greet this name
    #[arg(long, default_value = "World")]
    name: String,

    /// Start `AdvancedParentWorkflow`, which signals its child
    #[arg(long, group = "parent")]
    advanced: bool,

    /// Start `LeavingParentWorkflow`, and print what happens to the child when its parent ends
    #[arg(long, group = "parent")]
    policy: Option<ClosePolicy>,

    /// Let the parent end without waiting for the start of the child
    #[arg(long, requires = "policy")]
    hasty: bool,

    /// Start `GreetManyWorkflow`, with N children
    #[arg(long, group = "parent", value_name = "N")]
    children: Option<NonZeroU32>,

    /// Run at most this many children at the same time
    #[arg(long, default_value = "2", value_name = "WIDTH", requires = "children")]
    at_most: NonZeroUsize,

    /// Let this many of the three attempts of each child fail
    #[arg(long, value_name = "N", requires = "children")]
    failures: Option<u32>,

    /// Start `GreetEachWorkflow`, which reports failed children instead of failing
    #[arg(long, requires = "children")]
    each: bool,

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
        return print_result(&handle.get_result(Default::default()).await?);
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
        let status = status_of(&child, expected == "RUNNING").await?;
        if status != expected {
            return Err(anyhow::anyhow!("the child is {status}, not {expected}").into());
        }
        return print_result(status);
    }
    if let Some(children) = args.children {
        let input = GreetManyInput {
            names: (1..=children.get()).map(|n| format!("user{n}")).collect(),
            at_most: args.at_most,
            failures: args.failures,
        };
        if args.each {
            let handle = client
                .start_workflow(GreetEachWorkflow::run, input.into(), options)
                .await?;
            print_started(&handle, task_queue);
            return print_result(&handle.get_result(Default::default()).await?);
        }
        let handle = client
            .start_workflow(GreetManyWorkflow::run, input.into(), options)
            .await?;
        print_started(&handle, task_queue);
        let greetings = handle.get_result(Default::default()).await?;
        let history = handle.fetch_history(Default::default()).into_events();
        eprintln!("events   {} in the parent's history", history.await?.len());
        return print_result(&greetings);
    }
    let handle = client
        .start_workflow(GreetingWorkflow::run, args.name.into(), options)
        .await?;
    print_started(&handle, task_queue);
    print_result(&handle.get_result(Default::default()).await?)
}

/// Returns the status of a child whose parent has ended. Releases a child that still runs, so that it does
/// not run forever.
async fn status_of(
    child: &WorkflowHandle<Client, ComposeGreetingWorkflow>,
    goes_on: bool,
) -> anyhow::Result<&'static str> {
    // The server applies the policy soon after the parent has closed. No event tells that a child goes
    // on, so this waits for a short time only.
    let patience = Duration::from_secs(if goes_on { 2 } else { 10 });
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
