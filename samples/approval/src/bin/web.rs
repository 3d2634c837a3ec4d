//! Serves the web page on which people decide, until Ctrl-C or SIGTERM.

use anyhow::{Context, anyhow};
use approval::{
    TASK_QUEUE,
    web::{Page, router},
};
use clap::Parser;
use shared::{MainResult, StarterArgs};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Serves the page with the pending approvals. Ctrl-C stops it.
#[derive(Parser)]
struct Args {
    /// Address to listen at, on this machine only; port 0 means any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8088")]
    listen: SocketAddr,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args { listen, starter } = Args::parse();
    if !listen.ip().is_loopback() {
        Err(anyhow!(
            "--listen {listen}: the page asks nobody who they are, so it serves this machine only; \
             choose a loopback address"
        ))?;
    }
    let client = starter.connect().await?;
    let task_queue = starter.task_queue(TASK_QUEUE)?.to_owned();
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen} (--listen)"))?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, router(Page { client, task_queue })).await?;
    Ok(())
}
