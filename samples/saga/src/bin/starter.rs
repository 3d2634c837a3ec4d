//! Opens an account or makes a payment, and prints the result. For a payment, it plays the switch that confirms it.

use clap::{Parser, ValueEnum};
use saga::{
    TASK_QUEUE,
    activities::{CLOSED_ACCOUNT, SLOW_ACCOUNT, transfer_of},
    payment::{Decision, InterBankPaymentWorkflow, Payment, SwitchConfirmed},
    payment_options,
    workflows::{FailAt, OpenAccount, OpenAccountWorkflow},
};
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::num::{NonZeroU32, NonZeroU64};
use temporalio_client::{
    Client, WorkflowStartOptions,
    errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowStartError},
};

/// Which workflow to start.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// `OpenAccountWorkflow`
    Account,
    /// `InterBankPaymentWorkflow`
    Payment,
}

/// What the switch does with a payment.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Switch {
    /// Moves the money and confirms that
    Confirms,
    /// Refuses the transfer
    Refuses,
    /// Moves the money, but its confirmation is lost
    Silent,
    /// Neither moves the money nor answers in time
    Slow,
}

/// Opens an account or makes a payment, and prints the result.
#[derive(Parser)]
struct Args {
    /// Which saga to start
    #[arg(long, value_enum, default_value = "account")]
    kind: Kind,

    /// Let this step of an account fail
    #[arg(long, value_enum, value_name = "STEP")]
    fail_at: Option<FailAt>,

    /// Run the compensations of an account all at once
    #[arg(long)]
    parallel: bool,

    /// What the switch does with a payment
    #[arg(long, value_enum, default_value = "confirms")]
    switch: Switch,

    /// Amount of a payment; more than 1000000 is not available
    #[arg(long, default_value = "100")]
    amount: NonZeroU64,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let result = match args.kind {
        Kind::Account => open_account(&client, &args).await?,
        Kind::Payment => pay(&client, &args).await?,
    };
    print_result(&result)
}

async fn open_account(client: &Client, args: &Args) -> anyhow::Result<String> {
    let id = args.starter.workflow_id("open-account")?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let request = OpenAccount {
        account_id: id.clone(),
        client_name: "Ada Lovelace".to_owned(),
        client_email: "ada@example.com".to_owned(),
        address: "12 St James's Square, London".to_owned(),
        bank_account: "GB33BUKB20201555555555".to_owned(),
        fail_at: Some(args.fail_at.unwrap_or(FailAt::None)),
        parallel_compensation: args.parallel,
    };
    let options = WorkflowStartOptions::new(task_queue, id).build();
    let handle = client
        .start_workflow(OpenAccountWorkflow::run, request.into(), options)
        .await?;
    print_started(&handle, task_queue);
    let result = handle.get_result(Default::default()).await;
    // A workflow that was terminated has undone nothing.
    if let Err(WorkflowGetResultError::Failed(_) | WorkflowGetResultError::Cancelled { .. }) =
        result
    {
        let query = OpenAccountWorkflow::compensations;
        let compensations = handle.query(query, ().into(), Default::default()).await?;
        eprintln!("undone   {}", compensations.undone.join(", "));
        if !compensations.failed.is_empty() {
            eprintln!("failed   {}", compensations.failed.join(", "));
        }
    }
    Ok(result?)
}

async fn pay(client: &Client, args: &Args) -> anyhow::Result<String> {
    let payment_id = args.starter.workflow_id("payment")?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let destination = match args.switch {
        Switch::Confirms | Switch::Silent => "GB33BUKB20201555555555",
        Switch::Refuses => CLOSED_ACCOUNT,
        Switch::Slow => SLOW_ACCOUNT,
    };
    let confirms = [Switch::Confirms, Switch::Refuses].contains(&args.switch);
    let payment = Payment {
        payment_id: payment_id.clone(),
        source_account: "DE89370400440532013000".to_owned(),
        destination_account: destination.to_owned(),
        amount: args.amount,
        currency: "EUR".to_owned(),
        sla_seconds: NonZeroU32::new(if confirms { 60 } else { 1 }),
    };
    let options = payment_options(task_queue, &payment_id);
    let run = InterBankPaymentWorkflow::run;
    match client.start_workflow(run, payment.into(), options).await {
        // A client may send a payment again, and gets the result of the first one.
        Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let handle = client.get_workflow_handle::<InterBankPaymentWorkflow>(&payment_id);
    print_started(&handle, task_queue);
    if confirms {
        // The switch would wait for the transfer. The workflow keeps a confirmation that comes early.
        let confirmation = SwitchConfirmed {
            tx_id: transfer_of(&payment_id),
            status: match args.switch {
                Switch::Refuses => Decision::Failure,
                _ => Decision::Success,
            },
            reason: "by the starter".to_owned(),
        };
        let signal = InterBankPaymentWorkflow::switch_confirmed;
        match handle
            .signal(signal, confirmation.into(), Default::default())
            .await
        {
            // If the workflow has ended already, its result says how.
            Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(handle.get_result(Default::default()).await?)
}
