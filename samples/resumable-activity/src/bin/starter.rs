//! Starts a transfer to an account that does not exist, and takes the parts of the operator and of the client.

use clap::Parser;
use futures::{TryStreamExt, future::ready};
use resumable_activity::{
    TASK_QUEUE,
    activities::Transfer,
    search_attribute::TRANSFER_STATUS,
    workflows::{Status, TransferWorkflow},
};
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::time::Duration;
use temporalio_client::{
    Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowIdConflictPolicy,
    WorkflowStartOptions, errors::ClientError,
};

/// Pause between two queries.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts a transfer, corrects it when it fails, approves it, and prints its result.
#[derive(Parser)]
struct Args {
    /// Account to which the money goes
    #[arg(long, value_name = "ACCOUNT", default_value = "WRONG-ACCOUNT-999")]
    to: String,

    /// Account that the operator sends as the correction
    #[arg(long, value_name = "ACCOUNT", default_value = "account-123")]
    correction: String,

    /// Send no correction, and end when the transfer waits for one
    #[arg(long, conflicts_with = "correction")]
    park: bool,

    /// Reject the transfer instead of approving it
    #[arg(long)]
    reject: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let id = args.starter.workflow_id("resumable-activity")?;
    let transfer = Transfer {
        from_account: "account-001".to_owned(),
        to_account: args.to,
        amount: 500.0,
    };
    // Goes on with a transfer that was parked under this id.
    let options = WorkflowStartOptions::new(task_queue, id.clone())
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .build();
    let started = client
        .start_workflow(TransferWorkflow::run, transfer.into(), options)
        .await?;
    print_started(&started, task_queue);
    let workflow = client.get_workflow_handle::<TransferWorkflow>(id);
    loop {
        let status = settled(&workflow).await?;
        eprintln!("status   {status}");
        match status {
            Status::AwaitingCorrection if args.park => {
                listed(&workflow, status).await?;
                return print_result(&status);
            }
            Status::AwaitingCorrection => {
                let correct = TransferWorkflow::retry_with_correction;
                let account = args.correction.clone();
                workflow
                    .signal(correct, account.into(), Default::default())
                    .await?;
                eprintln!("signal   retry_with_correction");
            }
            Status::AwaitingApproval => {
                let approve = TransferWorkflow::approve;
                workflow
                    .signal(approve, (!args.reject).into(), Default::default())
                    .await?;
                eprintln!("signal   approve");
            }
            _ => break,
        }
    }
    print_result(&workflow.get_result(Default::default()).await?)
}

/// Returns the status as soon as no activity runs, or the last one if the workflow was cancelled or terminated meanwhile.
async fn settled(workflow: &WorkflowHandle<Client, TransferWorkflow>) -> anyhow::Result<Status> {
    loop {
        let query = workflow.query(TransferWorkflow::get_status, ().into(), Default::default());
        let status = query.await?;
        let transferring = [Status::Pending, Status::Transferring].contains(&status);
        let described = workflow.describe(Default::default()).await?;
        if !transferring || described.status() != WorkflowExecutionStatus::Running {
            return Ok(status);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until the list shows the status. The list is a moment behind the query.
async fn listed(
    workflow: &WorkflowHandle<Client, TransferWorkflow>,
    status: Status,
) -> Result<(), ClientError> {
    let (name, id) = (TRANSFER_STATUS.name(), &workflow.info().workflow_id);
    let query = format!("{name} = '{status}' AND ExecutionStatus = 'Running'");
    loop {
        let listed = workflow.client().list_workflows(&query, Default::default());
        let found = listed.try_any(|one| ready(one.id() == id));
        if found.await? {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
