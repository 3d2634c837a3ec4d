//! Starts a transaction with an update that returns early, and prints when each answer arrives.

use clap::Parser;
use early_return::{
    TASK_QUEUE,
    activities::{InitActivity, Status, Transaction, TransactionRequest},
    workflows::TransactionWorkflow,
};
use futures::future::try_join_all;
use shared::{MainResult, StarterArgs, describe, print_result, print_started};
use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};
use temporalio_client::{
    Client, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions,
    WorkflowUpdateWithStartOptions, errors::WorkflowUpdateWithStartError,
};

/// Starts a transaction, prints its early result, and then its final result.
#[derive(Parser)]
struct Args {
    /// Amount to transfer
    #[arg(
        long,
        default_value = "100",
        value_name = "AMOUNT",
        value_parser = finite,
        allow_negative_numbers = true
    )]
    amount: f64,

    /// Currency of the amount
    #[arg(long, default_value = "USD")]
    currency: String,

    /// Check the request with a regular activity instead of a local one
    #[arg(long)]
    regular: bool,

    /// Before that, start N transactions of each kind, and print the median times of their first answers
    #[arg(long, value_name = "N")]
    measure: Option<NonZeroU32>,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    if let Some(times) = args.measure {
        measure(&client, task_queue, times).await?;
    }
    let id = args.starter.workflow_id("transaction")?;
    // By the id, because the workflow may have been started although the update fails.
    let workflow = client.get_workflow_handle::<TransactionWorkflow>(&id);
    let request = TransactionRequest {
        amount: args.amount,
        currency: args.currency,
        init: args.regular.then_some(InitActivity::Regular),
    };
    print_started(&workflow, task_queue);
    let started = Instant::now();
    let early = start_early(&client, task_queue, &id, request).await;
    let after = ms(started.elapsed());
    match early {
        Ok(transaction) => eprintln!("early    {} after {after}", status(&transaction)),
        Err(error) => eprintln!("early    {} after {after}", describe(&error)),
    }
    let result = workflow.get_result(Default::default()).await?;
    eprintln!(
        "end      {} after {}",
        status(&result),
        ms(started.elapsed())
    );
    print_result(&result)
}

/// Reads a number that JSON can represent.
fn finite(text: &str) -> Result<f64, String> {
    let amount: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match amount.is_finite() {
        true => Ok(amount),
        false => Err("not a finite number".to_owned()),
    }
}

/// Starts the workflow, and returns how phase 1 has ended. One call does both.
async fn start_early(
    client: &Client,
    task_queue: &str,
    id: &str,
    request: TransactionRequest,
) -> Result<Transaction, WorkflowUpdateWithStartError> {
    // Each workflow id stands for one transaction, so a second start must fail, also after the end of the first one.
    let options =
        WorkflowUpdateWithStartOptions::new(task_queue, id, WorkflowIdConflictPolicy::Fail)
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .build();
    client
        .execute_update_with_start_workflow(
            TransactionWorkflow::run,
            request.into(),
            TransactionWorkflow::return_init_result,
            ().into(),
            options,
        )
        .await
}

/// Prints the median time until the first answer of an early return, and until the result of a workflow that is started
/// without an update.
async fn measure(client: &Client, task_queue: &str, times: NonZeroU32) -> anyhow::Result<()> {
    let kinds = [InitActivity::Local, InitActivity::Regular];
    let (mut early, mut late) = ([vec![], vec![]], [vec![], vec![]]);
    // The kinds take turns, so that other load on the machine slows down both in the same way.
    for _ in 0..times.get() {
        for (kind, times) in kinds.into_iter().zip(&mut early) {
            let id = StarterArgs::default().workflow_id("transaction")?;
            let started = Instant::now();
            start_early(client, task_queue, &id, request(kind)).await?;
            times.push(started.elapsed());
        }
        let waiting = kinds.map(|kind| start_and_wait(client, task_queue, request(kind)));
        for (time, times) in try_join_all(waiting).await?.into_iter().zip(&mut late) {
            times.push(time);
        }
    }
    println!("phase 1              early return   start and wait");
    let labels = ["local activity", "regular activity"];
    for (label, (early, late)) in labels.into_iter().zip(early.into_iter().zip(late)) {
        println!("{label:<18} {:>14}   {:>14}", median(early), median(late));
    }
    Ok(())
}

/// Starts the workflow without an update, and returns the time until its result.
async fn start_and_wait(
    client: &Client,
    task_queue: &str,
    request: TransactionRequest,
) -> anyhow::Result<Duration> {
    let id = StarterArgs::default().workflow_id("transaction")?;
    let options = WorkflowStartOptions::new(task_queue, id).build();
    let started = Instant::now();
    let workflow = client
        .start_workflow(TransactionWorkflow::run, request.into(), options)
        .await?;
    workflow.get_result(Default::default()).await?;
    Ok(started.elapsed())
}

fn request(init: InitActivity) -> TransactionRequest {
    TransactionRequest {
        amount: 100.0,
        currency: "USD".to_owned(),
        init: Some(init),
    }
}

fn median(mut times: Vec<Duration>) -> String {
    times.sort();
    ms(times[times.len() / 2])
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn status(transaction: &Transaction) -> String {
    let status = match transaction.status {
        Status::Initialized => "initialized",
        Status::Completed => "completed",
    };
    format!("{} {status}", transaction.id)
}
