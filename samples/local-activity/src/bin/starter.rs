//! Starts one of the workflows and prints its result. It can also compare the costs of two of them.

use clap::Parser;
use local_activity::{
    TASK_QUEUE,
    workflows::{LocalActivityWorkflow, LocalRetryWorkflow, RegularActivityWorkflow},
};
use shared::{MainResult, StarterArgs, print_result, print_started, warn_while_waiting};
use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};
use temporalio_client::{Client, WorkflowStartOptions};

/// Starts `LocalActivityWorkflow` and prints its result.
#[derive(Parser)]
struct Args {
    /// Name to greet
    #[arg(long, default_value = "World")]
    name: String,

    /// Start `LocalRetryWorkflow` instead, with an activity that fails its first N attempts
    #[arg(long, value_name = "N", conflicts_with = "compare")]
    failures: Option<u32>,

    /// Before that, run local and regular activities N times each, and compare their time and history events
    #[arg(long, value_name = "N")]
    compare: Option<NonZeroU32>,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        name,
        failures,
        compare,
        starter,
    } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    if let Some(times) = compare {
        compare_costs(&client, &starter, task_queue, &name, times).await?;
    }
    let options =
        WorkflowStartOptions::new(task_queue, starter.workflow_id("local-activity")?).build();
    if let Some(failures) = failures {
        let handle = client
            .start_workflow(LocalRetryWorkflow::run, failures.into(), options)
            .await?;
        print_started(&handle, task_queue);
        return print_result(&handle.get_result(Default::default()).await?);
    }
    let handle = client
        .start_workflow(LocalActivityWorkflow::run, name.into(), options)
        .await?;
    print_started(&handle, task_queue);
    print_result(&handle.get_result(Default::default()).await?)
}

/// Prints the median time from start to result, and the length of the history, for each kind of activity.
async fn compare_costs(
    client: &Client,
    starter: &StarterArgs,
    task_queue: &str,
    name: &str,
    times: NonZeroU32,
) -> anyhow::Result<()> {
    let (mut local, mut regular) = (Vec::new(), Vec::new());
    let (mut local_events, mut regular_events) = (0, 0);
    // They take turns, so that other load on the machine slows down both in the same way.
    for _ in 0..times.get() {
        let options = || {
            let id = starter.workflow_id("local-activity")?;
            anyhow::Ok(WorkflowStartOptions::new(task_queue, id).build())
        };
        let started = Instant::now();
        let handle = client
            .start_workflow(LocalActivityWorkflow::run, name.into(), options()?)
            .await?;
        if local.is_empty() {
            warn_while_waiting(&handle, task_queue);
        }
        handle.get_result(Default::default()).await?;
        local.push(started.elapsed());
        local_events = handle
            .fetch_history(Default::default())
            .into_events()
            .await?
            .len();

        let started = Instant::now();
        let handle = client
            .start_workflow(RegularActivityWorkflow::run, name.into(), options()?)
            .await?;
        if regular.is_empty() {
            warn_while_waiting(&handle, task_queue);
        }
        handle.get_result(Default::default()).await?;
        regular.push(started.elapsed());
        regular_events = handle
            .fetch_history(Default::default())
            .into_events()
            .await?
            .len();
    }
    println!("activities   median time   history events");
    println!(
        "local        {:>8.1} ms   {local_events:>14}",
        median_ms(local)
    );
    println!(
        "regular      {:>8.1} ms   {regular_events:>14}",
        median_ms(regular)
    );
    Ok(())
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
