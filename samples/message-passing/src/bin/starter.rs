//! Starts the workflow and sends it each kind of message.

use anyhow::ensure;
use clap::Parser;
use message_passing::{
    TASK_QUEUE,
    language::Language,
    workflows::{Approve, GetLanguages, GreetingWorkflow, SetLanguage},
};
use shared::{MainResult, StarterArgs, print_result, print_started, printable, was_rejected};
use temporalio_client::{
    Client, QueryRejectCondition, WorkflowHandle, WorkflowQueryOptions, WorkflowStartOptions,
    WorkflowStartUpdateOptions, WorkflowUpdateHandle,
    errors::{WorkflowQueryError, WorkflowUpdateError},
};

type Handle = WorkflowHandle<Client, GreetingWorkflow>;

/// Starts `GreetingWorkflow`, sends it queries, updates and a signal, and prints its result.
#[derive(Parser)]
struct Args {
    /// Language of the greeting
    #[arg(long, value_enum, default_value = "arabic")]
    language: Language,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args { language, starter } = Args::parse();
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let id = starter.workflow_id("message-passing")?;
    let options = WorkflowStartOptions::new(task_queue, id.clone()).build();
    let started = client
        .start_workflow(GreetingWorkflow::run, ().into(), options)
        .await?;
    print_started(&started, task_queue);
    // By the id, as a program does that has not started the workflow itself.
    let workflow = client.get_workflow_handle::<GreetingWorkflow>(id);
    send_messages(&client, &workflow, language).await?;
    let result = workflow.get_result(Default::default()).await?;
    ask_after_the_end(&workflow).await?;
    print_result(&result)
}

/// Sends a query, some updates, and the signal that lets the workflow end.
async fn send_messages(
    client: &Client,
    workflow: &Handle,
    language: Language,
) -> anyhow::Result<()> {
    let input = GetLanguages {
        include_unsupported: false,
    };
    let languages = workflow
        .query(
            GreetingWorkflow::get_languages,
            input.into(),
            Default::default(),
        )
        .await?;
    eprintln!("query    {}", names(&languages));

    // `execute_update` waits for the result.
    let input = SetLanguage {
        language: Language::Chinese,
    };
    let previous = workflow
        .execute_update(
            GreetingWorkflow::set_language,
            input.into(),
            Default::default(),
        )
        .await?;
    eprintln!("update   {previous} -> {}", Language::Chinese);

    // `start_update` returns when the update is accepted or rejected, and the handle waits for the result.
    let input = SetLanguage { language };
    let update = workflow
        .start_update(
            GreetingWorkflow::set_language,
            input.into(),
            Default::default(),
        )
        .await?;
    print_outcome(client, workflow, "update", &update).await?;

    // With an id of its own, the update can be sent again: the workflow handles it once.
    let update_id = format!("set-language-{}", u8::from(language));
    let mut previous = Vec::new();
    for label in ["update", "again"] {
        let options = WorkflowStartUpdateOptions::builder().update_id(update_id.clone());
        let method = GreetingWorkflow::set_language_using_activity;
        let update = workflow
            .start_update(method, input.into(), options.build())
            .await?;
        previous.push(print_outcome(client, workflow, label, &update).await?);
    }
    ensure!(previous[0] == previous[1], "the update ran twice");
    // Any program that knows the id can ask for the result.
    let method = GreetingWorkflow::set_language_using_activity;
    let by_id = workflow.get_update_handle(method, update_id);
    ensure!(by_id.get_result(Default::default()).await.ok() == previous[0]);

    let name = "Ada".to_owned();
    workflow
        .signal(
            GreetingWorkflow::approve,
            Some(Approve { name }).into(),
            Default::default(),
        )
        .await?;
    eprintln!("signal   approved");
    Ok(())
}

/// Asks a workflow that has ended. It still answers, unless the query says that the workflow must be open.
async fn ask_after_the_end(workflow: &Handle) -> anyhow::Result<()> {
    let current = language_of(workflow, Default::default()).await?;
    let options = WorkflowQueryOptions::builder().reject_condition(QueryRejectCondition::NotOpen);
    match language_of(workflow, options.build()).await {
        Err(WorkflowQueryError::Rejected { .. }) => eprintln!("query    {current}, after the end"),
        other => ensure!(other.is_ok(), "the query failed: {other:?}"),
    }
    Ok(())
}

async fn language_of(
    workflow: &Handle,
    options: WorkflowQueryOptions,
) -> Result<Language, WorkflowQueryError> {
    workflow
        .query(GreetingWorkflow::get_language, ().into(), options)
        .await
}

/// Waits for an update, prints how it ends, and returns the previous language if it succeeds.
async fn print_outcome(
    client: &Client,
    workflow: &Handle,
    label: &str,
    update: &WorkflowUpdateHandle<Client, Language>,
) -> anyhow::Result<Option<Language>> {
    match update.get_result(Default::default()).await {
        Ok(previous) => {
            let current = language_of(workflow, Default::default()).await?;
            eprintln!("{label:8} {previous} -> {current}");
            Ok(Some(previous))
        }
        // A rejected update has changed nothing. A failed one has run, at least in part.
        Err(WorkflowUpdateError::Failed(failure)) => {
            let outcome = match was_rejected(client, update).await? {
                true => "rejected",
                false => "failed",
            };
            eprintln!("{outcome:8} {}", printable(&failure.message));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn names(languages: &[Language]) -> String {
    let names: Vec<String> = languages.iter().map(Language::to_string).collect();
    names.join(", ")
}
