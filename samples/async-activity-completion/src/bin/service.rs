//! Runs the service on its own, for a worker with `--service-url`.

use async_activity_completion::service::{ServiceArgs, run};
use clap::Parser;
use shared::{ConnectionArgs, MainResult, end_on_signals, init_logs};
use std::net::SocketAddr;

/// Runs the service that decides about expenses and composes greetings, until Ctrl-C or SIGTERM, and prints its URL.
#[derive(Parser)]
struct Args {
    /// Address to listen on; port 0 stands for any free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8099")]
    listen: SocketAddr,

    #[command(flatten)]
    service: ServiceArgs,

    #[command(flatten)]
    connection: ConnectionArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    end_on_signals()?;
    init_logs()?;
    let client = args.connection.connect().await?;
    Ok(run(client, &args.service, args.listen, false).await?)
}
