//! The polled service by itself, for a worker with `--service-url`.

use clap::Parser;
use shared::{MainResult, polled_service::PolledServiceArgs};

#[tokio::main]
async fn main() -> MainResult {
    Ok(PolledServiceArgs::parse().run().await?)
}
