//! Starts a workflow and an update, and prints how both of them end.

use clap::Parser;
use shared::{MainResult, StarterArgs, describe, print_result, print_started};
use temporalio_client::{
    Client, WorkflowHandle, WorkflowStartOptions, WorkflowUpdateHandle, errors::WorkflowUpdateError,
};
use temporalio_common::HasWorkflowDefinition;
use waiting_for_handlers::{
    TASK_QUEUE,
    work::{ExitType, WorkInput, WorkOutput},
    workflows::{WaitingForHandlersAndCompensationWorkflow, WaitingForHandlersWorkflow},
};

/// Starts a workflow and an update, and prints how both of them end.
#[derive(Parser)]
struct Args {
    /// How the workflow ends while its update is running
    #[arg(long, value_enum, default_value = "success")]
    exit: ExitType,

    /// Start the workflow whose updates compensate
    #[arg(long)]
    compensate: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let result = match args.compensate {
        false => wait(&client, &args).await?,
        true => compensate(&client, &args).await?,
    };
    print_result(&result)
}

async fn wait(client: &Client, args: &Args) -> anyhow::Result<WorkOutput> {
    let run = WaitingForHandlersWorkflow::run;
    let workflow = client
        .start_workflow(run, args.input().into(), args.options()?)
        .await?;
    print_started(&workflow, args.starter.task_queue(TASK_QUEUE)?);
    let update = WaitingForHandlersWorkflow::my_update;
    let update = workflow
        .start_update(update, ().into(), Default::default())
        .await?;
    args.cancel(&workflow).await?;
    print_outcome(&update).await?;
    Ok(workflow.get_result(Default::default()).await?)
}

async fn compensate(client: &Client, args: &Args) -> anyhow::Result<WorkOutput> {
    let run = WaitingForHandlersAndCompensationWorkflow::run;
    let workflow = client
        .start_workflow(run, args.input().into(), args.options()?)
        .await?;
    print_started(&workflow, args.starter.task_queue(TASK_QUEUE)?);
    let update = WaitingForHandlersAndCompensationWorkflow::my_update;
    let update = workflow
        .start_update(update, ().into(), Default::default())
        .await?;
    args.cancel(&workflow).await?;
    print_outcome(&update).await?;
    let result = workflow.get_result(Default::default()).await;
    // Queries are answered after the end, too.
    let query = WaitingForHandlersAndCompensationWorkflow::update_compensation_done;
    if workflow.query(query, ().into(), Default::default()).await? {
        eprintln!("undone   the update");
    }
    let query = WaitingForHandlersAndCompensationWorkflow::workflow_compensation_done;
    if workflow.query(query, ().into(), Default::default()).await? {
        eprintln!("undone   the workflow");
    }
    Ok(result?)
}

impl Args {
    fn input(&self) -> WorkInput {
        let exit_type = self.exit;
        WorkInput { exit_type }
    }

    fn options(&self) -> anyhow::Result<WorkflowStartOptions> {
        let id = self.starter.workflow_id("waiting-for-handlers")?;
        let task_queue = self.starter.task_queue(TASK_QUEUE)?;
        Ok(WorkflowStartOptions::new(task_queue, id).build())
    }

    /// Cancels the workflow, if it ends so.
    async fn cancel<W: HasWorkflowDefinition>(
        &self,
        workflow: &WorkflowHandle<Client, W>,
    ) -> anyhow::Result<()> {
        if self.exit == ExitType::Cancellation {
            workflow.cancel(Default::default()).await?;
        }
        Ok(())
    }
}

/// Waits for the update, and prints how it ends. A failed update does not end this program.
async fn print_outcome(update: &WorkflowUpdateHandle<Client, String>) -> anyhow::Result<()> {
    match update.get_result(Default::default()).await {
        Ok(result) => eprintln!("update   {result}"),
        Err(error @ WorkflowUpdateError::Failed(_)) => {
            eprintln!(
                "failed   {}",
                describe(&error).replace("update failed: ", "")
            );
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
