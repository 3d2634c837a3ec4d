//! Starts requesters that want the same resource, and prints when each has had its turn.

use anyhow::{Context, anyhow};
use clap::Parser;
use mutex::{
    TASK_QUEUE,
    workflows::{LockWorkflow, OneAtATimeWorkflow, lock_id},
};
use shared::{MainResult, StarterArgs, check_id, print_result, print_started};
use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};
use temporalio_client::{Client, WorkflowHandle, WorkflowStartOptions, errors::WorkflowQueryError};
use tokio::time::sleep;

/// The resource's id begins with this.
const PRINTER: &str = "printer-";

/// Starts requesters that want the same resource, and prints when each has had its turn.
#[derive(Parser)]
struct Args {
    /// Number of requesters
    #[arg(long, value_name = "N", default_value = "3")]
    requesters: NonZeroU32,

    /// How long each uses the resource, in milliseconds
    #[arg(long, value_name = "MS", default_value = "300")]
    work_ms: u32,

    /// The longest time that each may hold the lock, in milliseconds
    #[arg(long, value_name = "MS", default_value = "10000")]
    lease_ms: NonZeroU32,

    /// Terminate the first requester while it holds the lock
    #[arg(long)]
    terminate: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let id = args.starter.workflow_id("requester")?;
    // The ids of the lock and of the other requesters contain it.
    let room = lock_id(PRINTER).len().max("-4294967295".len());
    check_id("--workflow-id", &id, room)?;
    let resource_id = format!("{PRINTER}{}", id.strip_prefix("requester-").unwrap_or(&id));
    let lock = client.get_workflow_handle::<LockWorkflow>(lock_id(&resource_id));
    let began = Instant::now();
    let mut requesters = Vec::new();
    for number in 1..=args.requesters.get() {
        let id = match number {
            1 => id.clone(),
            _ => format!("{id}-{number}"),
        };
        let options = WorkflowStartOptions::new(task_queue, id).build();
        let (work_ms, lease_ms) = (Some(args.work_ms), Some(args.lease_ms));
        let arguments = (resource_id.clone(), work_ms, lease_ms, None);
        let run = OneAtATimeWorkflow::run;
        let requester = client
            .start_workflow(run, arguments.into(), options)
            .await?;
        if number == 1 {
            print_started(&requester, task_queue);
            eprintln!("lock     {}", lock.info().workflow_id);
        }
        if number == 1 && args.terminate {
            tokio::select! {
                held = until_held(&lock) => held?,
                ended = requester.get_result(Default::default()) => {
                    ended?;
                    Err(anyhow!(
                        "the first requester was done before it could be terminated: choose a larger --work-ms"
                    ))?;
                }
            }
            requester.terminate(Default::default()).await?;
            let id = &requester.info().workflow_id;
            eprintln!("gone     {id}, terminated while it held the lock");
        } else {
            requesters.push(requester);
        }
    }
    for requester in requesters {
        requester.get_result(Default::default()).await?;
        let (id, time) = (&requester.info().workflow_id, began.elapsed());
        eprintln!("done     {id} after {:.1} s", time.as_secs_f64());
    }
    print_result(&())
}

/// Waits until somebody holds the lock.
async fn until_held(lock: &WorkflowHandle<Client, LockWorkflow>) -> anyhow::Result<()> {
    loop {
        let current = LockWorkflow::current_workflow_id;
        match lock.query(current, ().into(), Default::default()).await {
            Ok(Some(_)) => return Ok(()),
            // The lock has no holder yet, or has not been started.
            Ok(None) | Err(WorkflowQueryError::NotFound(_)) => {
                sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error).context("cannot ask the lock who holds it"),
        }
    }
}
