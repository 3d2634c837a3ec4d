//! Recorded histories of every stage against the code of every stage, and against mutants.

use clap::ValueEnum;
use temporalio_common::WorkflowDefinition;
use temporalio_sdk::workflow_replayer::{
    WorkflowReplayFailure, WorkflowReplayer, WorkflowReplayerOptions,
};
use temporalio_workflow::workflows::WorkflowImplementation;
use testing::{history, replay, replay_all};
use versioning::stages::{Stage, incompatible, v1_initial, v2_patched, v3_deprecated, v4_removed};

const CHECKED_NOT_SHIPPED: &str = "Activity type of scheduled event 'ship_order' does not match \
                                   activity type of activity command 'fraud_check'";
const SHIPPED_NOT_CHECKED: &str = "Activity type of scheduled event 'fraud_check' does not match \
                                   activity type of activity command 'ship_order'";
const NO_CALL_FOR_MARKER: &str = "Non-deprecated patch marker encountered for change fraud-check, \
                                  but there is no corresponding change command!";

/// Replays histories of these stages in this code: `Ok`, or an error with this reason.
async fn replays<W>(expected: &[(&str, Result<(), &str>)]) -> anyhow::Result<()>
where
    W: WorkflowImplementation,
    <W::Run as WorkflowDefinition>::Input: Send,
{
    let options = WorkflowReplayerOptions::new().register_workflow::<W>()?;
    let histories = expected
        .iter()
        .map(|(stage, _)| history(format!("tests/histories/OrderWorkflow-{stage}.json")))
        .collect::<Result<Vec<_>, _>>()?;
    let results = WorkflowReplayer::new(options.build())?
        .replay_workflows(histories)
        .await?;
    assert_eq!(results.len(), expected.len());
    for (result, (stage, expected)) in results.into_iter().zip(expected) {
        match (result.replay_failure, expected) {
            (None, Ok(())) => {}
            (Some(WorkflowReplayFailure::Nondeterminism { message }), Err(reason)) => {
                let expected = format!("[TMPRL1100] Nondeterminism error: {reason}");
                assert!(message.contains(&expected), "{stage}: {message}");
            }
            (failure, expected) => panic!("{stage}: {failure:?} instead of {expected:?}"),
        }
    }
    Ok(())
}

/// The table in the README, first column: only its own history.
#[tokio::test]
async fn initial() -> anyhow::Result<()> {
    replays::<v1_initial::OrderWorkflow>(&[
        ("initial", Ok(())),
        ("patched", Err(NO_CALL_FOR_MARKER)),
        ("deprecated", Err(SHIPPED_NOT_CHECKED)),
        ("removed", Err(SHIPPED_NOT_CHECKED)),
    ])
    .await
}

/// Second column: what was before, and what comes next, so that there is a way back.
#[tokio::test]
async fn patched() -> anyhow::Result<()> {
    replays::<v2_patched::OrderWorkflow>(&[
        ("initial", Ok(())),
        ("patched", Ok(())),
        ("deprecated", Ok(())),
        ("removed", Err(SHIPPED_NOT_CHECKED)),
    ])
    .await
}

/// Third column: the same, one stage on.
#[tokio::test]
async fn deprecated() -> anyhow::Result<()> {
    replays::<v3_deprecated::OrderWorkflow>(&[
        ("initial", Err(CHECKED_NOT_SHIPPED)),
        ("patched", Ok(())),
        ("deprecated", Ok(())),
        ("removed", Ok(())),
    ])
    .await
}

/// Last column. The mistake is the same code, and refuses the same.
#[tokio::test]
async fn removed_and_incompatible() -> anyhow::Result<()> {
    let expected = [
        ("initial", Err(CHECKED_NOT_SHIPPED)),
        ("patched", Err(NO_CALL_FOR_MARKER)),
        ("deprecated", Ok(())),
        ("removed", Ok(())),
    ];
    replays::<v4_removed::OrderWorkflow>(&expected).await?;
    replays::<incompatible::OrderWorkflow>(&expected).await
}

/// For `make replay`: one history in the code that the worker would run. No code accepts them all.
#[tokio::test]
#[ignore = "for `make replay`, which names a history"]
async fn histories_replay() -> anyhow::Result<()> {
    let stage = std::env::var("VERSIONING_STAGE").unwrap_or("patched".to_owned());
    let options = WorkflowReplayerOptions::new();
    let options = match Stage::from_str(&stage, true).map_err(anyhow::Error::msg)? {
        Stage::Initial => options.register_workflow::<v1_initial::OrderWorkflow>()?,
        Stage::Patched => options.register_workflow::<v2_patched::OrderWorkflow>()?,
        Stage::Deprecated => options.register_workflow::<v3_deprecated::OrderWorkflow>()?,
        Stage::Removed => options.register_workflow::<v4_removed::OrderWorkflow>()?,
        Stage::Incompatible => options.register_workflow::<incompatible::OrderWorkflow>()?,
    };
    replay_all(&WorkflowReplayer::new(options.build())?, "tests/histories").await
}

/// What `make replay` says of a history that the code refuses: where, and what it has instead.
#[tokio::test]
async fn refusals_in_words() -> anyhow::Result<()> {
    async fn refusal<W>(stage: &str) -> anyhow::Result<String>
    where
        W: WorkflowImplementation,
        <W::Run as WorkflowDefinition>::Input: Send,
    {
        let options = WorkflowReplayerOptions::new().register_workflow::<W>()?;
        let history = history(format!("tests/histories/OrderWorkflow-{stage}.json"))?;
        let replayed = replay(&WorkflowReplayer::new(options.build())?, history).await;
        Ok(replayed.expect_err("it is accepted").to_string())
    }
    for (refusal, at) in [
        (
            refusal::<incompatible::OrderWorkflow>("initial").await?,
            "at event 5 it has ActivityTaskScheduled ship_order, where the code starts the activity fraud_check;",
        ),
        (
            refusal::<v1_initial::OrderWorkflow>("deprecated").await?,
            "at event 7 it has ActivityTaskScheduled fraud_check, where the code starts the activity ship_order;",
        ),
        (
            refusal::<v4_removed::OrderWorkflow>("patched").await?,
            "at event 5 it has MarkerRecorded fraud-check, where the code does not ask for the patch fraud-check;",
        ),
        (
            refusal::<mutants::timer_added::OrderWorkflow>("removed").await?,
            "at event 11 it has ActivityTaskScheduled ship_order, where the code starts a timer;",
        ),
    ] {
        assert!(refusal.contains(at), "{refusal}");
    }
    Ok(())
}

/// Variants of the last stage, each with one change.
mod mutants {
    use shared::Input;
    use std::time::Duration;
    use temporalio_macros::{workflow, workflow_methods};
    use temporalio_sdk::{ActivityOptions, SyncWorkflowContext, WorkflowContext, WorkflowResult};
    use versioning::{
        activities::OrderActivities,
        workflows::{Order, Receipt},
    };

    fn options() -> ActivityOptions {
        ActivityOptions::start_to_close_timeout(Duration::from_secs(60))
    }

    macro_rules! mutant {
        ($name:ident, |$ctx:ident, $order:ident| $body:block) => {
            pub mod $name {
                use super::*;

                #[workflow]
                #[derive(Default)]
                pub struct OrderWorkflow {
                    delivered: bool,
                }

                #[workflow_methods]
                impl OrderWorkflow {
                    #[run]
                    pub async fn run(
                        $ctx: &mut WorkflowContext<Self>,
                        order: Input<Order>,
                    ) -> WorkflowResult<Receipt> {
                        let $order = order.decode($ctx)?;
                        let receipt = $body;
                        $ctx.wait_condition(|workflow| workflow.delivered).await?;
                        Ok(receipt)
                    }

                    #[signal]
                    pub fn delivered(
                        &mut self,
                        _ctx: &mut SyncWorkflowContext<Self>,
                        _nothing: Input<()>,
                    ) {
                        self.delivered = true;
                    }
                }
            }
        };
    }

    mutant!(timeout_changed, |ctx, order| {
        ctx.execute_activity(OrderActivities::fraud_check, order.clone(), options())
            .await?;
        ctx.execute_activity(OrderActivities::ship_order, order, options())
            .await?
    });
    mutant!(reordered, |ctx, order| {
        let receipt = ctx
            .execute_activity(OrderActivities::ship_order, order.clone(), options())
            .await?;
        ctx.execute_activity(OrderActivities::fraud_check, order, options())
            .await?;
        receipt
    });
    mutant!(timer_added, |ctx, order| {
        ctx.execute_activity(OrderActivities::fraud_check, order.clone(), options())
            .await?;
        let _ = ctx.timer(Duration::from_secs(1)).await;
        ctx.execute_activity(OrderActivities::ship_order, order, options())
            .await?
    });
}

/// The guard bites: the same code with two activities in another order, or with one timer more, is
/// refused. With other timeouts it is not, for replay compares what comes when, not how.
#[tokio::test]
async fn mutants_are_refused() -> anyhow::Result<()> {
    let timer =
        "Timer machine does not handle this event: HistoryEvent(id: 11, ActivityTaskScheduled)";
    replays::<mutants::timeout_changed::OrderWorkflow>(&[("removed", Ok(()))]).await?;
    replays::<mutants::reordered::OrderWorkflow>(&[("removed", Err(SHIPPED_NOT_CHECKED))]).await?;
    replays::<mutants::timer_added::OrderWorkflow>(&[("removed", Err(timer))]).await
}
