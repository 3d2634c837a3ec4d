//! Starts a request, decides or lets a person decide, and prints the result.

use approval::{
    TASK_QUEUE,
    workflows::{
        Approval, ApprovalWorkflow, Decision, EscalatingApprovalWorkflow, Level, LevelApproval,
        MultiLevelApprovalWorkflow, Verdict,
    },
};
use clap::{Parser, ValueEnum};
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::num::NonZeroU32;
use temporalio_client::{Client, WorkflowStartOptions};

/// Which workflow to start.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// One decision
    Single,
    /// Three levels
    Levels,
    /// An e-mail to somebody else after the timeout
    Escalating,
}

/// Starts an approval and prints its result.
#[derive(Parser)]
struct Args {
    /// Which approval to start
    #[arg(long, value_enum, default_value = "single")]
    kind: Kind,

    /// Reject the request instead of approving it
    #[arg(long)]
    reject: bool,

    /// Decide nothing, so that the time runs out
    #[arg(long)]
    silent: bool,

    /// Decide nothing, and wait until a person decides on the web page
    #[arg(long, conflicts_with_all = ["reject", "silent"])]
    wait: bool,

    /// Seconds to wait for each decision [default: 1 with --silent, otherwise 600]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<NonZeroU32>,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let client = args.starter.connect().await?;
    let result = match args.kind {
        Kind::Single => single(&client, &args).await?,
        Kind::Levels => levels(&client, &args).await?,
        Kind::Escalating => escalating(&client, &args).await?,
    };
    print_result(&result)
}

impl Args {
    fn timeout(&self) -> Option<NonZeroU32> {
        let default = NonZeroU32::new(if self.silent { 1 } else { 600 });
        self.timeout.or(default)
    }

    /// Whether this program decides; otherwise says who does.
    fn decides(&self) -> bool {
        if self.wait {
            eprintln!("decide   on the page of: cargo run --bin approval-web");
        }
        !self.wait && !self.silent
    }

    fn approval(&self) -> Approval {
        Approval {
            approver: "ann".to_owned(),
            decision: match self.reject {
                true => Decision::Rejected,
                false => Decision::Approved,
            },
            comments: "by the starter".to_owned(),
            timestamp: 0,
        }
    }

    /// The options, and the id of the request, from which that of the workflow is made.
    fn start(&self) -> anyhow::Result<(WorkflowStartOptions, String)> {
        let id = self.starter.workflow_id("approval-request")?;
        let request = id.strip_prefix("approval-").unwrap_or(&id).to_owned();
        let task_queue = self.starter.task_queue(TASK_QUEUE)?;
        Ok((WorkflowStartOptions::new(task_queue, id).build(), request))
    }
}

async fn single(client: &Client, args: &Args) -> anyhow::Result<String> {
    let (options, request) = args.start()?;
    let arguments = (request, args.timeout()).into();
    let handle = client
        .start_workflow(ApprovalWorkflow::run, arguments, options)
        .await?;
    print_started(&handle, args.starter.task_queue(TASK_QUEUE)?);
    if args.decides() {
        let signal = ApprovalWorkflow::submit_approval;
        handle
            .signal(signal, args.approval().into(), Default::default())
            .await?;
    }
    Ok(handle.get_result(Default::default()).await?)
}

async fn levels(client: &Client, args: &Args) -> anyhow::Result<String> {
    let (options, request) = args.start()?;
    let arguments = (request, args.timeout()).into();
    let run = MultiLevelApprovalWorkflow::run;
    let handle = client.start_workflow(run, arguments, options).await?;
    print_started(&handle, args.starter.task_queue(TASK_QUEUE)?);
    if args.decides() {
        let decision = match args.reject {
            true => Verdict::Rejected,
            false => Verdict::Approved,
        };
        // The last level first: a decision may arrive before its turn.
        for level in [Level::L3, Level::L2, Level::L1] {
            let approval = LevelApproval {
                level,
                approver: "ann".to_owned(),
                decision,
                comments: "by the starter".to_owned(),
            };
            let signal = MultiLevelApprovalWorkflow::submit_approval;
            handle
                .signal(signal, approval.into(), Default::default())
                .await?;
        }
    }
    Ok(handle.get_result(Default::default()).await?)
}

async fn escalating(client: &Client, args: &Args) -> anyhow::Result<String> {
    let (options, request) = args.start()?;
    let arguments = (request, args.timeout(), args.timeout()).into();
    let run = EscalatingApprovalWorkflow::run;
    let handle = client.start_workflow(run, arguments, options).await?;
    print_started(&handle, args.starter.task_queue(TASK_QUEUE)?);
    if args.decides() {
        let signal = EscalatingApprovalWorkflow::submit_approval;
        handle
            .signal(signal, args.approval().into(), Default::default())
            .await?;
    }
    Ok(handle.get_result(Default::default()).await?)
}
