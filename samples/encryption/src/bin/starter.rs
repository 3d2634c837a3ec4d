//! Starts the workflow, shows how the server stores its input and result, and prints the result.

use anyhow::bail;
use clap::Parser;
use encryption::{TASK_QUEUE, encrypted, workflows::Workflow};
use futures::TryStreamExt;
use payload_codec::{EncryptionArgs, EncryptionCodec, KEY_ID};
use shared::{
    MainResult, StarterArgs, end_on_signals, init_logs, print_result, print_started, printable,
};
use temporalio_client::{
    Client, WorkflowExecutionStatus, WorkflowFetchHistoryOptions, WorkflowHandle,
    WorkflowStartOptions,
};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::{
        common::v1::{Payload, Payloads},
        history::v1::history_event::Attributes,
    },
};

/// Default address of the codec server.
const CODEC_SERVER: &str = "http://127.0.0.1:8081";

/// Starts `Workflow` and prints its result.
#[derive(Parser)]
struct Args {
    /// Name to greet
    #[arg(long, default_value = "Temporal")]
    name: String,

    /// Read the workflow with this id, and do not start one
    #[arg(long, value_name = "ID", conflicts_with_all = ["name", "workflow_id"])]
    read: Option<String>,

    #[command(flatten)]
    encryption: EncryptionArgs,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let starter = args.starter;
    end_on_signals()?;
    init_logs()?;
    // Before connecting, so that a mistake in the keys shows without waiting for a connection.
    let remote = starter.connection.remote_address()?;
    let codec = args.encryption.codec(remote.as_deref())?;
    let client = encrypted(starter.connection.connect().await?, codec.clone());
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let handle = match args.read {
        Some(id) => client.get_workflow_handle(id),
        None => {
            let id = starter.workflow_id("encryption")?;
            let options = WorkflowStartOptions::new(task_queue, id).build();
            client
                .start_workflow(Workflow::run, args.name.into(), options)
                .await?
        }
    };
    print_started(&handle, task_queue);
    let id = shell_word(&handle.info().workflow_id);
    eprintln!(
        "decrypt  run `make codec-server`, then: temporal workflow show --workflow-id {id} --codec-endpoint {CODEC_SERVER}"
    );
    eprintln!("decrypt  or click the glasses on the history page, and enter {CODEC_SERVER}");
    print_stored(&handle, &codec).await?;
    let result = handle.get_result(Default::default()).await?;
    print_result(&result)
}

/// Prints how the server stores the workflow's input and result, until the workflow ends.
///
/// Returns an error if a worker cannot decrypt, because the server retries that workflow task forever.
async fn print_stored<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    codec: &EncryptionCodec,
) -> anyhow::Result<()> {
    let follow = WorkflowFetchHistoryOptions::builder()
        .wait_new_event(true)
        .build();
    let mut history = handle.fetch_history(follow);
    while let Some(event) = history.try_next().await? {
        match event.attributes {
            Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => {
                print_payloads("input", started.input, codec)?;
            }
            Some(Attributes::WorkflowExecutionCompletedEventAttributes(completed)) => {
                print_payloads("result", completed.result, codec)?;
            }
            Some(Attributes::WorkflowTaskFailedEventAttributes(failed))
                if is_running(handle).await? =>
            {
                let reason = failed.failure.unwrap_or_default().message;
                bail!(
                    "the workflow task failed, and the server retries it until a worker succeeds: {reason}"
                );
            }
            _ => {}
        }
    }
    Ok(())
}

async fn is_running<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<bool> {
    let description = handle.describe(Default::default()).await?;
    Ok(description.status() == WorkflowExecutionStatus::Running)
}

fn print_payloads(
    what: &str,
    payloads: Option<Payloads>,
    codec: &EncryptionCodec,
) -> anyhow::Result<()> {
    for stored in payloads.unwrap_or_default().payloads {
        let (encoding, key) = (text(&stored, "encoding"), text(&stored, KEY_ID));
        let length = stored.data.len();
        let plain = codec.decrypt(stored)?.data.len();
        eprintln!("stored   {what}: {encoding}, key {key}, {length} bytes for {plain}");
    }
    Ok(())
}

fn text(payload: &Payload, name: &str) -> String {
    let value = payload.metadata.get(name).map(Vec::as_slice);
    printable(&String::from_utf8_lossy(value.unwrap_or_default()))
}

/// Quotes any text as a single word of a shell command.
fn shell_word(text: &str) -> String {
    let text = printable(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
