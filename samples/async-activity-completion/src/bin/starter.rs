//! Starts one of the workflows, decides about the expense unless a person does, and prints the result.

use anyhow::Context;
use async_activity_completion::{
    TASK_QUEUE,
    greeting::GreetingWorkflow,
    service::DecisionLinks,
    webhooks::{CallbackInput, DelayedCallbackWorkflow, OrderInput, OrderWorkflow, PaymentPayload},
    workflows::{ExpenseId, SampleExpenseWorkflow},
};
use clap::Parser;
use http_client::http_client;
use reqwest::Url;
use shared::{MainResult, StarterArgs, print_result, print_started, printable};
use std::time::Duration;
use temporalio_client::{Client, WorkflowHandle, WorkflowStartOptions};
use temporalio_common::HasWorkflowDefinition;
use tokio::time::sleep;

/// Starts `SampleExpenseWorkflow`, or another workflow, and prints its result.
#[derive(Parser)]
struct Args {
    /// Id of the expense [default: the workflow id]
    #[arg(long, value_name = "ID", group = "workflow")]
    expense_id: Option<String>,

    /// Reject the expense instead of approving it
    #[arg(long, conflicts_with = "wait")]
    reject: bool,

    /// Let a person decide, who opens one of the links
    #[arg(long)]
    wait: bool,

    /// Start `GreetingWorkflow` instead, to greet this name
    #[arg(long, group = "workflow")]
    name: Option<String>,

    /// Start `OrderWorkflow` instead, together with the signal that pays for this order
    #[arg(long, value_name = "ID", group = "workflow")]
    order_id: Option<String>,

    /// Start `DelayedCallbackWorkflow` instead, which sends a callback to this URL
    #[arg(long, value_name = "URL", group = "workflow")]
    callback_url: Option<String>,

    /// Seconds before the callback is sent
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    delay: u32,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let id = args.starter.workflow_id("async-activity-completion")?;
    let options = WorkflowStartOptions::new(task_queue, id.clone()).build();
    if let Some(name) = args.name {
        let run = GreetingWorkflow::run;
        let handle = client.start_workflow(run, name.into(), options).await?;
        print_started(&handle, task_queue);
        return print_result(&handle.get_result(Default::default()).await?);
    }
    if let Some(order_id) = args.order_id {
        let amount = 99.99;
        let payment_id = format!("pay-{order_id}");
        client
            .signal_with_start_workflow(
                OrderWorkflow::run,
                OrderInput { order_id, amount }.into(),
                OrderWorkflow::payment_received,
                PaymentPayload { payment_id, amount }.into(),
                options,
            )
            .await?;
        // By the id. The handle that signal-with-start returns is bound to one run.
        let handle = client.get_workflow_handle::<OrderWorkflow>(id);
        print_started(&handle, task_queue);
        return print_result(&handle.get_result(Default::default()).await?);
    }
    if let Some(url) = args.callback_url {
        let input = CallbackInput {
            callback_url: url.try_into().map_err(anyhow::Error::msg)?,
            payload: format!("hello from workflow {id}"),
            delay_seconds: args.delay,
        };
        let run = DelayedCallbackWorkflow::run;
        let handle = client.start_workflow(run, input.into(), options).await?;
        print_started(&handle, task_queue);
        return print_result(&handle.get_result(Default::default()).await?);
    }

    let expense_id = ExpenseId::try_from(args.expense_id.unwrap_or(id));
    let expense_id = expense_id.map_err(anyhow::Error::msg)?;
    let run = SampleExpenseWorkflow::run;
    let handle = client
        .start_workflow(run, expense_id.into(), options)
        .await?;
    print_started(&handle, task_queue);
    let decision = (!args.wait).then_some(!args.reject);
    tokio::select! {
        decided = decide(&handle, decision) => decided?,
        // The workflow may end without a decision.
        _ = handle.get_result(Default::default()) => {}
    }
    print_result(&handle.get_result(Default::default()).await?)
}

/// Prints the links, and opens one of them if there is a decision.
async fn decide<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    approve: Option<bool>,
) -> anyhow::Result<()> {
    let links = decision_links(handle).await?;
    eprintln!("approve  {}", printable(&links.approve));
    eprintln!("reject   {}", printable(&links.reject));
    let Some(approve) = approve else {
        return Ok(());
    };
    let link = if approve { links.approve } else { links.reject };
    eprintln!("decided  {}", printable(&open(&link).await?));
    Ok(())
}

/// Waits until the activity waits for a decision, and returns where to decide. The service has put the links into the
/// heartbeat details, so that they are in the Web UI, too.
async fn decision_links<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<DecisionLinks> {
    loop {
        let description = handle.describe(Default::default()).await?;
        let mut pending = description.raw().pending_activities.iter();
        let links = pending.find_map(|activity| {
            let details = activity.heartbeat_details.as_ref()?.payloads.first()?;
            serde_json::from_slice(&details.data).ok()
        });
        if let Some(links) = links {
            return Ok(links);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Opens a link, as a person does in a browser.
async fn open(link: &str) -> anyhow::Result<String> {
    let url: Url = link.parse().context("the link is not a URL")?;
    let client = http_client(&url, Duration::from_secs(10))?;
    let response = client.get(url).send().await.context("cannot decide")?;
    response.text().await.context("cannot decide")
}
