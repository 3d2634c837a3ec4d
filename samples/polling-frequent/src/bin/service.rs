//! Runs the polled service on its own, for a worker with `--service-url`.

use clap::Parser;
use polled_service::PolledServiceArgs;
use shared::MainResult;

#[tokio::main]
async fn main() -> MainResult {
    Ok(PolledServiceArgs::parse().run().await?)
}
