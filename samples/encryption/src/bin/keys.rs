//! Prepares for dropping an old key: counts the payloads that still need it, and encrypts those of schedules
//! with the new one.

use clap::{Parser, Subcommand};
use encryption::rotation::{keys_of_schedules, keys_of_workflows, reencrypt_schedule};
use payload_codec::EncryptionArgs;
use serde_json::json;
use shared::{ConnectionArgs, MainResult, end_on_signals, init_logs, print_result};

/// Counts the payloads that need each key, and encrypts those of schedules with the current key.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Count the encrypted payloads of workflows and schedules by their keys
    InUse {
        /// List filter for the workflows, as for `temporal workflow list --query` [default: all]
        #[arg(long, value_name = "FILTER", default_value = "")]
        query: String,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Encrypt a schedule's payloads with the current key
    Reencrypt {
        /// Id of the schedule
        #[arg(long, value_name = "ID")]
        schedule_id: String,

        #[command(flatten)]
        encryption: EncryptionArgs,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    end_on_signals()?;
    init_logs()?;
    let result = match args.command {
        Command::InUse { query, connection } => {
            let client = connection.connect().await?;
            let workflows = keys_of_workflows(&client, &query).await?;
            let schedules = keys_of_schedules(&client).await?;
            for (of, keys) in [("workflows", &workflows), ("schedules", &schedules)] {
                for (id, count) in keys {
                    eprintln!("key      {id} decrypts {count} payloads of {of}");
                }
            }
            json!({ "workflows": workflows, "schedules": schedules })
        }
        Command::Reencrypt {
            schedule_id,
            encryption,
            connection,
        } => {
            let codec = encryption.codec(connection.remote_address()?.as_deref())?;
            let client = connection.connect().await?;
            let handle = client.get_schedule_handle(&schedule_id);
            let payloads = reencrypt_schedule(&client, &handle, &codec).await?;
            json!({ "schedule_id": schedule_id, "reencrypted": payloads })
        }
    };
    print_result(&result)
}
