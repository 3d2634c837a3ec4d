//! The work of both workflows, which ends as the input says. It stands in for your own.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use serde::{Deserialize, Serialize};
use shared::Input;
use temporalio_sdk::{ApplicationFailure, WorkflowContext, WorkflowResult, WorkflowTermination};

/// How a workflow ends. As JSON a number, as that of Python's `IntEnum`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(try_from = "u8", into = "u8")]
pub enum ExitType {
    /// 0: it completes.
    Success,
    /// 1: it fails.
    Failure,
    /// 2: it waits until a client cancels it.
    Cancellation,
}

impl TryFrom<u8> for ExitType {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            0 => Ok(Self::Success),
            1 => Ok(Self::Failure),
            2 => Ok(Self::Cancellation),
            _ => Err(format!("{number} is not an exit type, send 0, 1 or 2")),
        }
    }
}

impl From<ExitType> for u8 {
    fn from(exit_type: ExitType) -> Self {
        exit_type as Self
    }
}

/// The input: `{"exit_type":0}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct WorkInput {
    /// How the workflow ends.
    pub exit_type: ExitType,
}

/// The result: `{"data":"workflow-result"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct WorkOutput {
    /// Always `workflow-result`.
    pub data: String,
}

/// Waits until the update has started, and then ends as the input says, while the update goes on.
///
/// # Errors
/// If the input says so, or does not decode, or if the workflow is cancelled.
pub async fn work<W>(
    ctx: &WorkflowContext<W>,
    input: Input<WorkInput>,
    update_started: impl Fn(&W) -> bool,
) -> WorkflowResult<WorkOutput> {
    let WorkInput { exit_type } = input.decode(ctx)?;
    ctx.wait_condition(update_started).await?;
    match exit_type {
        ExitType::Success => Ok(WorkOutput {
            data: "workflow-result".to_owned(),
        }),
        ExitType::Failure => {
            let failure = ApplicationFailure::builder("deliberately failing workflow");
            Err(failure.type_name("Deliberate".to_owned()).build().into())
        }
        ExitType::Cancellation => {
            ctx.cancelled().await;
            Err(WorkflowTermination::cancelled())
        }
    }
}
