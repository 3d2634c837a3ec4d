//! Starts a pool and users that share its resources, and prints how each user has ended.

use anyhow::{Context, anyhow};
use clap::Parser;
use resource_pool::{
    TASK_QUEUE,
    activities::Iteration,
    workflows::{Holder, PoolInput, ResourcePoolWorkflow, ResourceUserWorkflow, UserInput},
};
use shared::{MainResult, StarterArgs, check_id, describe, print_result, print_started};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    time::{Duration, Instant},
};
use temporalio_client::{
    Client, WorkflowHandle, WorkflowStartOptions, errors::WorkflowGetResultError,
};
use tokio::time::sleep;

/// Starts a pool and users that share its resources, and prints how each user has ended.
#[derive(Parser)]
struct Args {
    /// Number of users; the first continues as new with its resource, and the second fails on purpose
    #[arg(long, value_name = "N", default_value = "4")]
    users: NonZeroU32,

    /// Number of resources
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=26))]
    resources: u32,

    /// Add another resource while the users wait
    #[arg(long)]
    add: bool,

    /// Terminate the first user while it holds a resource
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
    let pool_id = args.starter.workflow_id("pool")?;
    // The ids of the users contain it.
    check_id("--workflow-id", &pool_id, "-user-4294967295".len())?;
    let mut names = ('a'..='z').map(|letter| format!("resource_{letter}"));
    let number = usize::try_from(args.resources)?;
    let input = PoolInput {
        resources: names
            .by_ref()
            .take(number)
            .map(|name| (name, None))
            .collect(),
        // The pool looks for users that are gone every second instead of every minute.
        check_seconds: args.terminate.then_some(NonZeroU32::MIN),
        ..PoolInput::default()
    };
    let options = WorkflowStartOptions::new(task_queue, &pool_id).build();
    let run = ResourcePoolWorkflow::run;
    let pool = client.start_workflow(run, input.into(), options).await?;
    print_started(&pool, task_queue);
    // By the id, because the pool may continue as new.
    let pool = client.get_workflow_handle::<ResourcePoolWorkflow>(&pool_id);

    let began = Instant::now();
    let mut users = Vec::new();
    for number in 1..=args.users.get() {
        let id = format!("{pool_id}-user-{number}");
        let options = WorkflowStartOptions::new(task_queue, &id).build();
        let input = UserInput {
            resource_pool_workflow_id: pool_id.clone(),
            iteration_to_fail_after: (number == 2).then_some(Iteration::First),
            should_continue_as_new: number == 1,
            already_acquired_resource: None,
            max_wait_seconds: None,
        };
        let run = ResourceUserWorkflow::run;
        let user = client.start_workflow(run, input.into(), options).await?;
        if args.terminate && number == 1 {
            tokio::select! {
                held = until_held(&pool) => held?,
                ended = user.get_result(Default::default()) => {
                    ended?;
                    Err(anyhow!(
                        "the first user was done before it could be terminated: give the worker a larger --use-ms"
                    ))?;
                }
            }
            user.terminate(Default::default()).await?;
            eprintln!("gone     {id}, terminated while it held a resource");
        } else {
            users.push(user);
        }
    }
    if args.add {
        let added: Vec<String> = names.take(1).collect();
        eprintln!("added    {}", added.join(", "));
        let add = ResourcePoolWorkflow::add_resources;
        pool.signal(add, added.into(), Default::default()).await?;
    }
    for user in users {
        let result = user.get_result(Default::default()).await;
        let (id, time) = (&user.info().workflow_id, began.elapsed());
        match result {
            Ok(()) => eprintln!("done     {id} after {:.1} s", time.as_secs_f64()),
            Err(error) => eprintln!("failed   {id}: {}", describe(&error)),
        }
    }
    let holders = holders(&pool).await?;
    // A real pool runs forever. A cancelled one ends when all resources have come back.
    pool.cancel(Default::default()).await?;
    match pool.get_result(Default::default()).await {
        Ok(()) | Err(WorkflowGetResultError::Cancelled { .. }) => print_result(&holders),
        Err(error) => Err(error.into()),
    }
}

async fn holders(
    pool: &WorkflowHandle<Client, ResourcePoolWorkflow>,
) -> anyhow::Result<BTreeMap<String, Option<Holder>>> {
    let current = ResourcePoolWorkflow::get_current_holders;
    let holders = pool.query(current, ().into(), Default::default()).await;
    holders.context("cannot ask the pool who holds its resources")
}

/// Waits until somebody holds a resource.
async fn until_held(pool: &WorkflowHandle<Client, ResourcePoolWorkflow>) -> anyhow::Result<()> {
    while holders(pool).await?.values().all(Option::is_none) {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
