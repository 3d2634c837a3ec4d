//! Starts the workflow and waits for its result.

use clap::Parser;
use rust_decimal::Decimal;
use schemars::schema_for;
use shared::{MainResult, StarterArgs, print_result, print_started};
use std::time::Duration;
use temporalio_client::WorkflowStartOptions;
use typed_payloads::{
    TASK_QUEUE, converter,
    models::{Kind, MyModel, MyModels},
    workflows::MyWorkflow,
};

/// Starts `MyWorkflow` with two models and prints its result.
#[derive(Parser)]
struct Args {
    /// Also send the fields that were added later
    #[arg(long)]
    rich: bool,

    /// Print the JSON Schema of input and result, without connecting to a server
    #[arg(long, conflicts_with = "rich")]
    schema: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let Args {
        rich,
        schema,
        starter,
    } = Args::parse();
    if schema {
        return print_result(&schema_for!(MyModels));
    }
    let models = [
        ("127.0.0.1", "2000-01-02T03:04:05"),
        ("127.0.0.2", "2001-02-03T04:05:06"),
    ];
    let models = models.map(|(ip, date)| {
        anyhow::Ok(MyModel {
            some_ip: ip.parse()?,
            some_date: date.parse()?,
            lease: rich.then_some(Duration::from_secs(90 * 60)),
            fee: rich.then_some(Decimal::new(1250, 2)),
            kind: rich.then_some(Kind::Leased),
        })
    });
    let models = models.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let models = MyModels::try_from(models)?;

    // With this converter, an error about the result names the path. The result may come from any worker.
    let mut client = starter.connect().await?;
    client.options_mut().data_converter = converter::data_converter();
    let task_queue = starter.task_queue(TASK_QUEUE)?;
    let options =
        WorkflowStartOptions::new(task_queue, starter.workflow_id("typed-payloads")?).build();
    let handle = client
        .start_workflow(MyWorkflow::run, models.into(), options)
        .await?;
    print_started(&handle, task_queue);
    let result = handle.get_result(Default::default()).await?;
    print_result(&result)
}
