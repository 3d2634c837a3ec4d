//! Creates an account with its first update, changes it over several runs, repeats an old update, and deletes it.

use clap::Parser;
use entity_workflow::{
    TASK_QUEUE,
    account::{AccountState, Profile, Status},
    client::{Change, apply_once},
    workflows::{UserAccountInput, UserAccountWorkflow},
};
use shared::{MainResult, StarterArgs, histories, print_result, print_started, printable};
use temporalio_client::{
    Client, WorkflowHandle, WorkflowIdConflictPolicy::UseExisting, WorkflowUpdateWithStartOptions,
    errors::WorkflowUpdateError,
};

type Account = WorkflowHandle<Client, UserAccountWorkflow>;

/// Id of the update that is sent in the first run, and again in the last one.
const SUSPEND_ID: &str = "suspend-1";

/// Creates an account, changes it over several runs, deletes it, and prints the states on the way.
#[derive(Parser)]
struct Args {
    /// Update the profile this many times
    #[arg(long, default_value = "10", value_name = "N")]
    updates: u32,

    /// Continue as new at this many events, at least 10
    #[arg(long, default_value = "60", value_name = "N")]
    continue_after_events: u32,

    /// Repeat the old update under a new id
    #[arg(long)]
    new_id: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    // The id comes from the user, so that each program that knows the user finds the account.
    let id = args.starter.workflow_id("user")?;
    let account = client.get_workflow_handle::<UserAccountWorkflow>(&id);
    print_started(&account, task_queue);
    let first_run = create(&client, task_queue, &id, args.continue_after_events).await?;

    let invalid = profile("Ada", "ada.example.com");
    match apply_once(&account, &Change::Profile(invalid), "invalid-1").await {
        Err(WorkflowUpdateError::Failed(failure)) => {
            eprintln!("failed   {}", printable(&failure.message));
        }
        other => other?,
    }

    apply_once(&account, &Change::Suspend, SUSPEND_ID).await?;
    eprintln!("suspend  {}", status(&account).await?);
    apply_once(&account, &Change::Reactivate, "reactivate-1").await?;
    eprintln!("activate {}", status(&account).await?);

    for number in 1..=args.updates {
        let change = Change::Profile(profile("Ada", &format!("ada+{number}@example.com")));
        apply_once(&account, &change, &format!("profile-{number}")).await?;
    }
    let runs = histories(&first_run).await?;
    eprintln!("update   {} times, in {} runs", args.updates, runs.len());

    // As a client does that has not received the answer. Meanwhile another one has reactivated the account, and the run
    // that suspended it has ended.
    let again = match args.new_id {
        true => "suspend-2",
        false => SUSPEND_ID,
    };
    apply_once(&account, &Change::Suspend, again).await?;
    eprintln!("again    {again}: {}", status(&account).await?);

    let delete = UserAccountWorkflow::delete;
    account
        .signal(delete, ().into(), Default::default())
        .await?;
    account.get_result(Default::default()).await?;
    let state = state(&account).await?;
    eprintln!("deleted  after {} updates", state.updates_applied);
    print_result(&())
}

/// Creates the account with its first profile, unless it exists. Returns a handle of the run that took the update.
async fn create(
    client: &Client,
    task_queue: &str,
    id: &str,
    continue_after_events: u32,
) -> anyhow::Result<Account> {
    let input = UserAccountInput {
        user_id: id.strip_prefix("user-").unwrap_or(id).to_owned(),
        continue_after_events: Some(continue_after_events),
        ..Default::default()
    };
    let options = WorkflowUpdateWithStartOptions::new(task_queue, id, UseExisting)
        .update_id("create".to_owned())
        .build();
    let created = client
        .start_update_with_start_workflow(
            UserAccountWorkflow::run,
            input.into(),
            UserAccountWorkflow::update_profile,
            profile("Ada", "ada@example.com").into(),
            options,
        )
        .await?;
    created.get_result(Default::default()).await?;
    let mut info = client
        .get_workflow_handle::<UserAccountWorkflow>(id)
        .info()
        .clone();
    info.run_id = created.workflow_run_id().map(str::to_owned);
    Ok(WorkflowHandle::new(client.clone(), info))
}

async fn state(account: &Account) -> anyhow::Result<AccountState> {
    let get_state = UserAccountWorkflow::get_state;
    Ok(account
        .query(get_state, ().into(), Default::default())
        .await?)
}

async fn status(account: &Account) -> anyhow::Result<&'static str> {
    Ok(match state(account).await?.status {
        Status::Active => "ACTIVE",
        Status::Suspended => "SUSPENDED",
        Status::Deleted => "DELETED",
    })
}

fn profile(name: &str, email: &str) -> Profile {
    Profile {
        name: name.to_owned(),
        email: email.to_owned(),
    }
}
