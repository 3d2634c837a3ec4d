//! Runs a document, or draws it.

use anyhow::{Context, ensure};
use clap::Parser;
use dsl::{TASK_QUEUE, document::Document, workflows::DSLWorkflow};
use shared::{MAX_INPUT, MainResult, StarterArgs, print_result, print_started};
use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};
use temporalio_client::WorkflowStartOptions;

/// The document that runs by default.
const PARALLEL: &str = include_str!("../../documents/parallel.yaml");

/// Runs a document and prints its final variables.
#[derive(Parser)]
struct Args {
    /// Document, in YAML or JSON [default: documents/parallel.yaml, which is built in]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Draw the document as a mermaid diagram, and do not run it
    #[arg(long)]
    diagram: bool,

    #[command(flatten)]
    starter: StarterArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let document = document(args.file.as_deref())?;
    if args.diagram {
        let diagram = document.diagram();
        return Ok(write!(std::io::stdout(), "{diagram}").context("cannot write to stdout")?);
    }
    let client = args.starter.connect().await?;
    let task_queue = args.starter.task_queue(TASK_QUEUE)?;
    let options = WorkflowStartOptions::new(task_queue, args.starter.workflow_id("dsl")?).build();
    let handle = client
        .start_workflow(DSLWorkflow::run, document.into(), options)
        .await?;
    print_started(&handle, task_queue);
    let result = handle.get_result(Default::default()).await?;
    print_result(&result)
}

/// Reads a document. A fault shows here, before a workflow starts, and the worker checks the document again.
fn document(file: Option<&Path>) -> anyhow::Result<Document> {
    let Some(file) = file else {
        return Document::from_yaml(PARALLEL).map_err(anyhow::Error::msg);
    };
    let name = file.display();
    let mut text = String::new();
    File::open(file)
        .and_then(|opened| {
            // A file may be endless, such as a device.
            let limit = u64::try_from(MAX_INPUT).unwrap_or(u64::MAX);
            opened.take(limit + 1).read_to_string(&mut text)
        })
        .with_context(|| format!("cannot read {name} (--file)"))?;
    ensure!(
        text.len() <= MAX_INPUT,
        "{name} (--file) has more than {MAX_INPUT} bytes, the limit of a workflow's input"
    );
    let document = Document::from_yaml(&text);
    document.map_err(|fault| anyhow::anyhow!("{name} (--file): {fault}"))
}
