//! Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.

use anyhow::Context;
use async_activity_completion::{
    TASK_QUEUE,
    service::{self, Key, ServiceArgs},
    service_client::ServiceClient,
    worker_options,
};
use clap::Parser;
use reqwest::Url;
use shared::{MainResult, WorkerArgs, run_until_shutdown};
use std::net::Ipv4Addr;
use temporalio_sdk::Worker;

/// Polls the task queue and runs the workflows and activities of this sample, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// URL of the service [default: the worker starts a service on a free loopback port, in a process of its own]
    #[arg(long, value_name = "URL")]
    service_url: Option<String>,

    /// Send callbacks to this host; may be repeated [default: callbacks are not sent]
    #[arg(long, value_name = "HOST")]
    callback_host: Vec<String>,

    /// Be the service instead
    #[arg(long, hide = true)]
    serve: bool,

    #[command(flatten)]
    service: ServiceArgs,

    #[command(flatten)]
    worker: WorkerArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let runtime = args.worker.init_telemetry()?;
    let client = args.worker.connect().await?;
    if args.serve {
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        return Ok(service::run(client, &args.service, listen, true).await?);
    }
    let (url, _service) = match &args.service_url {
        Some(url) => (Url::parse(url).context("--service-url is not a URL")?, None),
        None => {
            let (url, service) = service::start_process().await?;
            tracing::info!(%url, "service started");
            // Dropping it would end the service.
            (url, Some(service))
        }
    };
    let key = Key::read_or_create(&args.service.key_file)?;
    let service = ServiceClient::new(url, key.into())?;
    let task_queue = args.worker.task_queue(TASK_QUEUE)?;
    let options = worker_options(task_queue, service, args.callback_host)?;
    let worker = Worker::new(&runtime, client, options)?;
    run_until_shutdown(worker).await
}
