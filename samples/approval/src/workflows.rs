//! The workflows. Each waits for people, with a time limit.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::activities::EscalationActivities;
use serde::{Deserialize, Serialize};
use shared::{BAD_INPUT, Input, Inputs, Inputs3, OrCancelled, wait_up_to};
use std::{collections::BTreeMap, fmt, num::NonZeroU32, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, SyncWorkflowContext, WorkflowContext, WorkflowContextView,
    WorkflowResult,
};

/// Default time for a decision after an escalation.
pub const ESCALATION_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A decision. On the wire: `APPROVED`, `REJECTED` or `ESCALATED`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Decision {
    /// The request may go on.
    Approved,
    /// The request ends here.
    Rejected,
    /// Somebody else must decide.
    Escalated,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::Escalated => "ESCALATED",
        })
    }
}

/// The argument of `submit_approval`:
/// `{"approver":"ann","decision":"APPROVED","comments":"fine","timestamp":1764000000}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Who decides.
    pub approver: String,
    /// What the approver decides.
    pub decision: Decision,
    /// Why.
    #[serde(default)]
    pub comments: String,
    /// When, in seconds since 1970, by the approver's clock.
    #[serde(default)]
    pub timestamp: i64,
}

/// Waits for one decision.
#[workflow]
#[derive(Default)]
pub struct ApprovalWorkflow {
    /// The first decision. Later ones do not replace it.
    approval: Option<Approval>,
    timed_out: bool,
}

#[workflow_methods]
impl ApprovalWorkflow {
    /// Returns who has decided what. Takes the id of the request and the seconds to wait.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        arguments: Inputs<String, NonZeroU32>,
    ) -> WorkflowResult<String> {
        let (request_id, limit) = arguments.decode(ctx)?;
        let decided = |workflow: &Self| workflow.approval.is_some();
        wait_up_to(ctx, seconds(limit)?, decided).await?;
        Ok(ctx.state_mut(|workflow| match &workflow.approval {
            Some(Approval {
                approver, decision, ..
            }) => {
                format!("Request {request_id} {decision} by {approver}")
            }
            None => {
                workflow.timed_out = true;
                format!("Request {request_id} timed out")
            }
        }))
    }

    /// Decides, if nobody has decided yet.
    #[signal(name = "submit_approval")]
    pub fn submit_approval(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        approval: Input<Approval>,
    ) {
        let Some(approval) = approval.or_ignored(ctx, "submit_approval") else {
            return;
        };
        if self.approval.is_none() && !self.timed_out {
            self.approval = Some(approval);
        } else {
            ignored(ctx, "the request is decided");
        }
    }

    /// Returns `PENDING`, the decision, or `TIMEOUT`, also after the end.
    #[query(name = "get_status")]
    pub fn get_status(&self, _ctx: &WorkflowContextView, _nothing: Input<()>) -> String {
        match &self.approval {
            Some(approval) => approval.decision.to_string(),
            None if self.timed_out => "TIMEOUT".to_owned(),
            None => "PENDING".to_owned(),
        }
    }
}

/// A level of approval. On the wire: `L1`, `L2` or `L3`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// Decides first.
    L1,
    /// Decides after the first level.
    L2,
    /// Decides last.
    L3,
}

/// The decision of one level. On the wire: `APPROVED` or `REJECTED`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// The request goes to the next level.
    Approved,
    /// The request ends here.
    Rejected,
}

/// The argument of `submit_approval` for several levels:
/// `{"level":"L1","approver":"ann","decision":"APPROVED","comments":"fine"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct LevelApproval {
    /// Level that decides.
    pub level: Level,
    /// Who decides.
    pub approver: String,
    /// What the approver decides.
    pub decision: Verdict,
    /// Why.
    #[serde(default)]
    pub comments: String,
}

/// Waits for three decisions, one after the other.
#[workflow]
#[derive(Default)]
pub struct MultiLevelApprovalWorkflow {
    /// The first decision of each level. A level may decide before it is its turn.
    approvals: BTreeMap<Level, LevelApproval>,
}

#[workflow_methods]
impl MultiLevelApprovalWorkflow {
    /// Returns how it went. Takes the id of the request and the seconds to wait for each level.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        arguments: Inputs<String, NonZeroU32>,
    ) -> WorkflowResult<String> {
        let (_request_id, limit) = arguments.decode(ctx)?;
        let limit = seconds(limit)?;
        for level in [Level::L1, Level::L2, Level::L3] {
            wait_up_to(ctx, limit, |workflow| {
                workflow.approvals.contains_key(&level)
            })
            .await?;
            let approval = ctx.state(|workflow| workflow.approvals.get(&level).cloned());
            match approval {
                None => return Ok(format!("Timeout at {level:?}")),
                Some(LevelApproval {
                    approver,
                    decision: Verdict::Rejected,
                    ..
                }) => {
                    return Ok(format!("Rejected at {level:?} by {approver}"));
                }
                Some(_) => {}
            }
        }
        Ok("Fully approved through all levels".to_owned())
    }

    /// Decides for one level, if it has not decided yet.
    #[signal(name = "submit_approval")]
    pub fn submit_approval(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        approval: Input<LevelApproval>,
    ) {
        if let Some(approval) = approval.or_ignored(ctx, "submit_approval") {
            self.approvals.entry(approval.level).or_insert(approval);
        }
    }
}

/// Waits for a decision, then sends an e-mail and waits again.
#[workflow]
#[derive(Default)]
pub struct EscalatingApprovalWorkflow {
    /// The first decision other than an escalation.
    approval: Option<Approval>,
    escalate: bool,
}

#[workflow_methods]
impl EscalatingApprovalWorkflow {
    /// Returns who has decided what. Takes the id of the request, the seconds to wait before the escalation,
    /// and optionally the seconds to wait after it.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        arguments: Inputs3<String, NonZeroU32, NonZeroU32>,
    ) -> WorkflowResult<String> {
        let (_request_id, first, second) = arguments.decode(ctx)?;
        let second = second.map_or(ESCALATION_TIMEOUT, |limit| {
            Duration::from_secs(limit.get().into())
        });
        let decided = |workflow: &Self| workflow.approval.is_some();
        let answered = |workflow: &Self| decided(workflow) || workflow.escalate;
        wait_up_to(ctx, seconds(first)?, answered).await?;
        if let Some(approval) = ctx.state(|workflow| workflow.approval.clone()) {
            return Ok(format!("{} by {}", approval.decision, approval.approver));
        }
        let activity = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        ctx.execute_activity(EscalationActivities::send_escalation_email, (), activity)
            .await
            .or_cancelled(ctx)?;
        wait_up_to(ctx, second, decided).await?;
        Ok(ctx.state(|workflow| match &workflow.approval {
            Some(Approval {
                approver, decision, ..
            }) => {
                format!("{decision} by {approver} (escalated)")
            }
            None => "Escalation timeout - auto-rejected".to_owned(),
        }))
    }

    /// Decides, if nobody has decided yet, or has the request escalated.
    #[signal(name = "submit_approval")]
    pub fn submit_approval(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        approval: Input<Approval>,
    ) {
        match approval.or_ignored(ctx, "submit_approval") {
            Some(Approval {
                decision: Decision::Escalated,
                ..
            }) => self.escalate = true,
            Some(approval) if self.approval.is_none() => self.approval = Some(approval),
            Some(_) => ignored(ctx, "the request is decided"),
            None => {}
        }
    }
}

/// The optional argument of `AwaitSignalsWorkflow`: `{"between_seconds":30,"total_seconds":60}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct AwaitOptions {
    /// Seconds to wait for the next signal.
    pub between_seconds: NonZeroU32,
    /// Seconds to wait for all signals, after the first.
    pub total_seconds: NonZeroU32,
}

/// Waits for three signals, and processes them in order, whatever order they arrive in.
#[workflow]
#[derive(Default)]
pub struct AwaitSignalsWorkflow {
    received: [bool; 3],
}

#[workflow_methods]
impl AwaitSignalsWorkflow {
    /// Waits for the first signal without a limit, and for the others with one.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        options: Input<Option<AwaitOptions>>,
    ) -> WorkflowResult<()> {
        let options = options.decode(ctx)?;
        let or = |limit: Option<NonZeroU32>, default| {
            Duration::from_secs(limit.map_or(default, |limit| limit.get().into()))
        };
        let between = or(options.map(|options| options.between_seconds), 30);
        let total = or(options.map(|options| options.total_seconds), 60);
        ctx.wait_condition(|workflow| workflow.received[0]).await?;
        let first = ctx.workflow_time();
        for (index, name) in [(1, "signal2"), (2, "signal3")] {
            // The time of the workflow, which is the same on every replay.
            let elapsed = match (first, ctx.workflow_time()) {
                (Some(first), Some(now)) => now.duration_since(first).unwrap_or_default(),
                _ => Duration::ZERO,
            };
            let limit = between.min(total.saturating_sub(elapsed));
            if !wait_up_to(ctx, limit, |workflow| workflow.received[index]).await? {
                return Err(
                    ApplicationFailure::builder(format!("Timed out waiting for {name}"))
                        .type_name("timeout".to_owned())
                        .build()
                        .into(),
                );
            }
        }
        Ok(())
    }

    /// The first signal.
    #[signal(name = "Signal1")]
    pub fn signal1(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.received[0] = true;
    }

    /// The second signal.
    #[signal(name = "Signal2")]
    pub fn signal2(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.received[1] = true;
    }

    /// The third signal.
    #[signal(name = "Signal3")]
    pub fn signal3(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _nothing: Input<()>) {
        self.received[2] = true;
    }
}

/// A time limit that clients must send.
fn seconds(limit: Option<NonZeroU32>) -> WorkflowResult<Duration> {
    let Some(limit) = limit else {
        return Err(
            ApplicationFailure::builder("bad input: argument 2: the argument is missing")
                .type_name(BAD_INPUT.to_owned())
                .non_retryable(true)
                .build()
                .into(),
        );
    };
    Ok(Duration::from_secs(limit.get().into()))
}

fn ignored<W>(ctx: &SyncWorkflowContext<W>, reason: impl fmt::Display) {
    if !ctx.is_replaying() {
        tracing::warn!(
            workflow_id = ctx.workflow_id(),
            "submit_approval ignored: {reason}"
        );
    }
}
