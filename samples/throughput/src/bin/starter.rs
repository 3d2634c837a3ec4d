//! Loads the server with workflows, and prints how fast they were and how much they cost the worker.

use anyhow::bail;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use shared::{
    MainResult, StarterArgs, check_id, end_on_signals, init_logs, print_result, print_started,
};
use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};
use temporalio_client::Url;
use throughput::{
    TASK_QUEUE,
    encryption::Encryption,
    load::{Load, Outcome, Pace, payload, rounded},
    usage::Meter,
    workflows::{Plan, Shape},
};

/// The largest payload, in bytes. The server accepts twice as much, but warns above half of it.
const MAX_PAYLOAD: u32 = 1 << 20;

/// The longest suffix of a workflow id, for a child of one of many workflows.
const LONGEST_SUFFIX: &str = "-4294967295-child-4294967295";

/// Starts many workflows, waits for their results, and prints their speed and cost.
#[derive(Parser)]
struct Args {
    /// Number of workflows
    #[arg(long, default_value = "50", value_name = "COUNT")]
    workflows: NonZeroU32,

    /// Number of workflows at the same time
    #[arg(long, default_value = "10", value_name = "COUNT")]
    concurrency: NonZeroUsize,

    /// Start this many workflows per second instead, even if earlier ones are still running
    #[arg(long, value_name = "PER SECOND", conflicts_with = "concurrency", value_parser = rate)]
    rate: Option<f64>,

    /// Kind of steps of a workflow
    #[arg(long, value_enum, default_value_t)]
    shape: Shape,

    /// Number of steps of a workflow: activities, children or signals
    #[arg(long, default_value = "1", value_name = "COUNT")]
    activities: u32,

    /// Size of the input of each step, and of the workflow
    #[arg(long, default_value = "64", value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_PAYLOAD)))]
    payload: u32,

    /// Allow a server that is not on this machine
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    encryption: Encryption,

    #[command(flatten)]
    starter: StarterArgs,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("not a number between 0.001 and 1000000".to_owned()),
    }
}

/// The result, which is the last line on stdout.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    outcome: Outcome,
    /// `None` unless the worker runs on this machine.
    worker_cpu_ms: Option<f64>,
    worker_peak_rss_mib: Option<f64>,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    end_on_signals()?;
    let starter = &args.starter;
    let plan = Plan {
        shape: args.shape,
        activities: args.activities,
        payload: payload(args.payload as usize),
    };
    plan.check().map_err(anyhow::Error::msg)?;

    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let id = starter.workflow_id("throughput")?;
    check_id("--workflow-id", &id, LONGEST_SUFFIX.len())?;

    init_logs()?;
    let remote = starter.connection.remote_address()?;
    let data_converter = args.encryption.data_converter(remote.as_deref())?;
    let mut server = None;
    let connecting = starter.connection.connect_as(|connection, client| {
        server = Some(connection.target.clone());
        client.data_converter = data_converter;
    });
    if let Some(server) = server.filter(|_| !args.yes) {
        refuse_elsewhere(&server)?;
    }
    let client = connecting.await?;

    let load = Load {
        workflows: args.workflows.get(),
        pace: match args.rate {
            Some(rate) => Pace::Rate(rate),
            None => Pace::Concurrency(args.concurrency.get()),
        },
        plan,
    };
    // The first workflow is not measured, because it may wait for a worker to start.
    let first = format!("{id}-first");
    let first = load.start(&client, task_queue, first).await?;
    print_started(&first, task_queue);
    load.finish(first).await?;

    let bar = ProgressBar::new(load.workflows.into()).with_style(ProgressStyle::with_template(
        "running  {bar:40} {pos}/{len}, {per_sec}, {eta} left",
    )?);
    bar.enable_steady_tick(Duration::from_millis(200));
    let running = load.run(&client, task_queue, &id, || bar.inc(1));
    let (outcome, usage) = match Meter::for_task_queue(&client, task_queue).await? {
        Some(mut meter) => {
            let (outcome, usage) = meter.measure(running).await;
            (outcome?, Some(usage))
        }
        None => (running.await?, None),
    };
    bar.finish_and_clear();

    let report = Report {
        outcome,
        worker_cpu_ms: usage.map(|usage| rounded(usage.cpu_ms(outcome.workflows))),
        worker_peak_rss_mib: usage.map(|usage| rounded(usage.mib())),
    };
    let latency = outcome.latency_ms;
    eprintln!(
        "speed    {:.1} workflows/s, {} in {:.2} s",
        outcome.workflows_per_second, outcome.workflows, outcome.seconds
    );
    eprintln!(
        "latency  p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        latency.p50, latency.p90, latency.p99, latency.max
    );
    match (report.worker_cpu_ms, report.worker_peak_rss_mib) {
        (Some(cpu), Some(rss)) => {
            eprintln!(
                "worker   {cpu:.2} ms of CPU time per workflow, {rss:.1} MiB of resident memory at most"
            );
        }
        _ => eprintln!("worker   not on this machine, so its cost is unknown"),
    }
    print_result(&report)
}

/// Refuses a server on another machine: loading someone else's server is an accident or an attack.
fn refuse_elsewhere(server: &Url) -> anyhow::Result<()> {
    let local = server
        .socket_addrs(|| None)
        .is_ok_and(|addresses| addresses.iter().all(|address| address.ip().is_loopback()));
    if !local {
        bail!(
            "{} is not this machine; if you are allowed to load that server, add --yes",
            server.host_str().unwrap_or_default()
        );
    }
    Ok(())
}
