//! Starts the workflow, adds items while it runs, and counts its runs.

use anyhow::ensure;
use clap::Parser;
use continue_as_new::{
    TASK_QUEUE,
    workflows::{BATCH_ITEMS, LongRunningInput, LongRunningWorkflow, State},
};
use futures::future::try_join3;
use shared::{MainResult, StarterArgs, histories, print_result, print_started};
use std::time::Duration;
use temporalio_client::{
    Client, WorkflowHandle, WorkflowStartOptions, errors::WorkflowUpdateError, tonic::Code,
};

type Handle = WorkflowHandle<Client, LongRunningWorkflow>;

/// Starts `LongRunningWorkflow` and prints its final state.
#[derive(Parser)]
struct Args {
    /// Process this many batches
    #[arg(long, default_value = "10", value_name = "N")]
    max_iterations: u64,

    /// Continue as new at this many events, or when the server suggests it
    #[arg(long, default_value = "20", value_name = "N")]
    continue_after_events: u32,

    /// Add this many items in the meantime, ten per second, each by a signal
    #[arg(long, default_value = "0", value_name = "N")]
    add_items: u32,

    /// Add this many items in the meantime, each by an update that waits until it is processed
    #[arg(long, default_value = "0", value_name = "N")]
    process_items: u32,

    /// Then run another workflow that continues as new only when the server suggests it
    #[arg(long)]
    compare: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let mut state = run(&client, &args, Some(args.continue_after_events)).await?;
    if args.compare {
        state = run(&client, &args, None).await?;
    }
    print_result(&state)
}

/// Runs one workflow to its end, and prints the length of its histories.
async fn run(
    client: &Client,
    args: &Args,
    continue_after_events: Option<u32>,
) -> anyhow::Result<State> {
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let id = args.starter.workflow_id("continue-as-new")?;
    let input = LongRunningInput {
        state: None,
        max_iterations: Some(args.max_iterations),
        continue_after_events,
    };
    let options = WorkflowStartOptions::new(task_queue, id.clone()).build();
    let handle = client
        .start_workflow(LongRunningWorkflow::run, input.into(), options)
        .await?;
    print_started(&handle, task_queue);

    let result = async { anyhow::Ok(handle.get_result(Default::default()).await?) };
    // By the id, so that messages reach the current run. The handle that `start_workflow` returns is
    // bound to the first run: when that run has ended, signals and updates fail, and queries return its
    // last state.
    let current = client.get_workflow_handle(id);
    let signals = add_items(&current, args.add_items);
    let updates = process_items(&current, args.process_items);
    let (state, (), ()) = try_join3(result, signals, updates).await?;

    let lengths: Vec<usize> = histories(&handle).await?.iter().map(Vec::len).collect();
    let longest = lengths.iter().max().unwrap_or(&0);
    let when = match continue_after_events {
        Some(events) => format!("after {events}"),
        None => "as the server suggests".to_owned(),
    };
    eprintln!(
        "runs     {}, {longest} events in the longest; continued {when}",
        lengths.len()
    );
    let added = u64::from(args.add_items) + u64::from(args.process_items);
    let items = args.max_iterations * BATCH_ITEMS + added;
    ensure!(
        state.processed_items == items,
        "{} items processed, not {items}",
        state.processed_items
    );
    Ok(state)
}

async fn add_items(current: &Handle, items: u32) -> anyhow::Result<()> {
    for _ in 0..items {
        current
            .signal(LongRunningWorkflow::add_items, 1.into(), Default::default())
            .await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn process_items(current: &Handle, items: u32) -> anyhow::Result<()> {
    let mut processed = 0;
    while processed < items {
        let update = LongRunningWorkflow::process_items;
        match current.execute_update(update, 1, Default::default()).await {
            Ok(_) => processed += 1,
            // A signal arrived as a run ended, so the server rejected that workflow task and the update with
            // it. The update was not applied: send it again.
            Err(WorkflowUpdateError::Rpc(status)) if status.code() == Code::FailedPrecondition => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
