//! Starts one of the races, and prints its result.

use clap::{Parser, ValueEnum};
use pick_first::{
    TASK_QUEUE,
    activities::Branch,
    workflows::{
        HedgedRequest, HedgedRequestWorkflow, PickFirst, PickFirstWorkflow, PickSome,
        PickSomeWorkflow,
    },
};
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::num::{NonZeroU32, NonZeroUsize};
use temporalio_client::WorkflowStartOptions;

/// Which race to start.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// The first result of two branches
    First,
    /// The first results of three branches
    Some,
    /// A request, and a backup after a delay
    Hedged,
}

/// Starts a race and prints its result.
#[derive(Parser)]
struct Args {
    /// Which race to start
    #[arg(long, value_enum, default_value = "first")]
    kind: Kind,

    /// Let this branch fail; can be given several times
    #[arg(long, value_name = "BRANCH", value_parser = ["option1", "option2", "option3", "request", "backup"])]
    fails: Vec<String>,

    /// Seconds that the slowest branch takes
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    slowest: u32,

    /// How many of the three branches win, with --kind some
    #[arg(long, default_value = "2")]
    winners: NonZeroUsize,

    /// Seconds until the backup starts, with --kind hedged
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    delay: NonZeroU32,

    #[command(flatten)]
    starter: StarterArgs,
}

impl Args {
    fn branch(&self, id: &str, duration_seconds: u32) -> Branch {
        Branch {
            branch_id: id.to_owned(),
            duration_seconds,
            fails: self.fails.iter().any(|fails| fails == id),
        }
    }
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let id = args.starter.workflow_id("pick-first")?;
    let options = WorkflowStartOptions::new(task_queue, id).build();
    match args.kind {
        Kind::First => {
            let branches = vec![
                args.branch("option1", args.slowest),
                args.branch("option2", 1),
            ];
            let input = Some(PickFirst { branches });
            let handle = client
                .start_workflow(PickFirstWorkflow::run, input.into(), options)
                .await?;
            print_started(&handle, task_queue);
            print_result(&handle.get_result(Default::default()).await?)
        }
        Kind::Some => {
            let input = PickSome {
                branches: vec![
                    args.branch("option1", args.slowest),
                    args.branch("option2", 2),
                    args.branch("option3", 1),
                ],
                winners: args.winners,
            };
            let handle = client
                .start_workflow(PickSomeWorkflow::run, input.into(), options)
                .await?;
            print_started(&handle, task_queue);
            print_result(&handle.get_result(Default::default()).await?)
        }
        Kind::Hedged => {
            let input = HedgedRequest {
                request: args.branch("request", args.slowest),
                backup: args.branch("backup", 1),
                delay_seconds: args.delay,
            };
            let handle = client
                .start_workflow(HedgedRequestWorkflow::run, input.into(), options)
                .await?;
            print_started(&handle, task_queue);
            print_result(&handle.get_result(Default::default()).await?)
        }
    }
}
