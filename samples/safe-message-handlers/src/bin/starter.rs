//! Starts the workflow, gives nodes to jobs, deletes the jobs, and shuts the cluster down.

use anyhow::ensure;
use clap::{Parser, value_parser};
use futures::future::try_join_all;
use safe_message_handlers::{
    TASK_QUEUE,
    workflows::{
        AssignNodesToJob, ClusterManagerInput, ClusterManagerWorkflow, DeleteJob, TOO_FEW_NODES,
    },
};
use shared::{MainResult, StarterArgs, print_result, print_started, printable};
use std::{collections::BTreeSet, num::NonZeroUsize};
use temporalio_client::{
    Client, WorkflowHandle, WorkflowStartOptions, errors::WorkflowUpdateError, tonic::Code,
};

type Handle = WorkflowHandle<Client, ClusterManagerWorkflow>;

/// Starts `ClusterManagerWorkflow`, gives nodes to jobs and takes them back, and prints the result.
#[derive(Parser)]
struct Args {
    /// Number of jobs, which all ask for nodes at the same time
    #[arg(long, value_name = "N", default_value = "6", value_parser = value_parser!(u8).range(1..=10))]
    jobs: u8,

    /// Number of nodes for each job
    #[arg(long, value_name = "N", default_value = "2")]
    nodes: NonZeroUsize,

    /// Repeat the requests until the workflow has continued as new, which it does above 120 events
    #[arg(long)]
    test_continue_as_new: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let id = args.starter.workflow_id("safe-message-handlers")?;
    let input = ClusterManagerInput {
        state: None,
        test_continue_as_new: args.test_continue_as_new,
    };
    let options = WorkflowStartOptions::new(task_queue, id.clone()).build();
    let started = client
        .start_workflow(ClusterManagerWorkflow::run, input.into(), options)
        .await?;
    print_started(&started, task_queue);
    // By the id, because the handle that `start_workflow` returns is bound to the first run.
    let manager = client.get_workflow_handle(id);

    let update = ClusterManagerWorkflow::wait_until_cluster_started;
    let cluster = manager
        .execute_update(update, ().into(), Default::default())
        .await?;
    eprintln!("cluster  {} nodes", cluster.nodes.len());
    let nodes = assign(&manager, &args).await?;
    if args.test_continue_as_new {
        repeat_in_the_next_run(&manager, &args, &nodes).await?;
    }
    delete(&manager, &args).await?;
    let shutdown = ClusterManagerWorkflow::shutdown_cluster;
    manager
        .signal(shutdown, ().into(), Default::default())
        .await?;
    print_result(&manager.get_result(Default::default()).await?)
}

/// Asks for the nodes of all jobs at once, and returns them.
async fn assign(manager: &Handle, args: &Args) -> anyhow::Result<BTreeSet<String>> {
    let requests = (0..args.jobs).map(|job| assign_to(manager, args, job));
    let nodes: Vec<Vec<String>> = try_join_all(requests).await?;
    let jobs = nodes.iter().filter(|nodes| !nodes.is_empty()).count();
    let count: usize = nodes.iter().map(Vec::len).sum();
    let nodes: BTreeSet<String> = nodes.into_iter().flatten().collect();
    ensure!(nodes.len() == count, "two jobs have the same node");
    eprintln!("assigned {count} nodes to {jobs} jobs");
    Ok(nodes)
}

/// Returns the nodes of the job, or nothing if there are too few.
async fn assign_to(manager: &Handle, args: &Args, job: u8) -> anyhow::Result<Vec<String>> {
    let request = AssignNodesToJob {
        total_num_nodes: args.nodes,
        job_name: job_name(job),
    };
    let assigned = until_handled(|| {
        let update = ClusterManagerWorkflow::assign_nodes_to_job;
        manager.execute_update(update, request.clone().into(), Default::default())
    });
    match assigned.await {
        Ok(assigned) => Ok(assigned.nodes_assigned),
        Err(WorkflowUpdateError::Failed(failure))
            if failure
                .maybe_application_failure()
                .is_some_and(|info| info.r#type == TOO_FEW_NODES) =>
        {
            eprintln!("refused  {}", printable(&failure.message));
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}

/// Repeats the requests until they have reached the next run, like a client that has not seen the answers.
async fn repeat_in_the_next_run(
    manager: &Handle,
    args: &Args,
    nodes: &BTreeSet<String>,
) -> anyhow::Result<()> {
    let run = async || {
        let described = manager.describe(Default::default()).await?;
        anyhow::Ok(described.run_id().to_owned())
    };
    let first = run().await?;
    loop {
        let last = run().await? != first;
        for job in 0..args.jobs {
            let again = assign_to(manager, args, job).await?;
            // Nodes that have become bad are missing.
            let known = again.iter().all(|node| nodes.contains(node));
            ensure!(known, "{} has got further nodes: {again:?}", job_name(job));
        }
        if last {
            eprintln!("again    no further nodes, also in the next run");
            return Ok(());
        }
    }
}

/// Deletes all jobs at once.
async fn delete(manager: &Handle, args: &Args) -> anyhow::Result<()> {
    let requests = (0..args.jobs).map(|job| {
        until_handled(move || {
            let job_name = job_name(job);
            let update = ClusterManagerWorkflow::delete_job;
            manager.execute_update(update, DeleteJob { job_name }.into(), Default::default())
        })
    });
    try_join_all(requests).await?;
    eprintln!("deleted  {} jobs", args.jobs);
    Ok(())
}

/// Sends an update again while the server rejects the workflow task that contains it. This happens if another message
/// arrives just when a run ends. The update has not been handled then.
async fn until_handled<T>(
    send: impl AsyncFn() -> Result<T, WorkflowUpdateError>,
) -> Result<T, WorkflowUpdateError> {
    loop {
        match send().await {
            Err(WorkflowUpdateError::Rpc(status)) if status.code() == Code::FailedPrecondition => {}
            handled => return handled,
        }
    }
}

fn job_name(job: u8) -> String {
    format!("task-{job}")
}
