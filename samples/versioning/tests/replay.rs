//! Replays recorded histories of every stage with the code of every stage, and with mutants.

use anyhow::Context;
use clap::ValueEnum;
use temporalio_common::WorkflowDefinition;
use temporalio_sdk::workflow_replayer::{
    WorkflowReplayFailure, WorkflowReplayer, WorkflowReplayerOptions,
};
use temporalio_workflow::workflows::WorkflowImplementation;
use testing::{history, replay, replay_all};
use versioning::stages::{Stage, incompatible, v1_initial, v2_patched, v3_deprecated, v4_removed};

const FRAUD_CHECK_INSTEAD_OF_SHIP_ORDER: &str = "Activity type of scheduled event 'ship_order' does not match \
                                   activity type of activity command 'fraud_check'";
const SHIP_ORDER_INSTEAD_OF_FRAUD_CHECK: &str = "Activity type of scheduled event 'fraud_check' does not match \
                                   activity type of activity command 'ship_order'";
const NO_CALL_FOR_MARKER: &str = "Non-deprecated patch marker encountered for change fraud-check, \
                                  but there is no corresponding change command!";

/// Replays histories of these stages with the code of `W`. Expects `Ok`, or an error with this reason.
async fn replays<W>(expected: &[(&str, Result<(), &str>)]) -> anyhow::Result<()>
where
    W: WorkflowImplementation,
    <W::Run as WorkflowDefinition>::Input: Send,
{
    let options = WorkflowReplayerOptions::new().register_workflow::<W>()?;
    let replayer = WorkflowReplayer::new(options.build())?;
    for (stage, expected) in expected {
        let history = history(format!("tests/histories/OrderWorkflow-{stage}.json"))?;
        // One at a time. The SDK's replayer caches a single workflow, and one that had to make room for the next
        // counts as accepted.
        let result = replayer.replay_workflows([history]).await?.pop();
        match (result.context("no result")?.replay_failure, expected) {
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

/// First column of the table in the README: the code accepts only its own history.
#[tokio::test]
async fn initial_accepts_its_own_history() -> anyhow::Result<()> {
    replays::<v1_initial::OrderWorkflow>(&[
        ("initial", Ok(())),
        ("patched", Err(NO_CALL_FOR_MARKER)),
        ("deprecated", Err(SHIP_ORDER_INSTEAD_OF_FRAUD_CHECK)),
        ("removed", Err(SHIP_ORDER_INSTEAD_OF_FRAUD_CHECK)),
    ])
    .await
}

/// Second column: the code accepts histories of the stage before and of the stage after, so that you can roll
/// back.
#[tokio::test]
async fn patched_accepts_its_neighbours() -> anyhow::Result<()> {
    replays::<v2_patched::OrderWorkflow>(&[
        ("initial", Ok(())),
        ("patched", Ok(())),
        ("deprecated", Ok(())),
        ("removed", Err(SHIP_ORDER_INSTEAD_OF_FRAUD_CHECK)),
    ])
    .await
}

/// Third column: the same for the third stage.
#[tokio::test]
async fn deprecated_accepts_its_neighbours() -> anyhow::Result<()> {
    replays::<v3_deprecated::OrderWorkflow>(&[
        ("initial", Err(FRAUD_CHECK_INSTEAD_OF_SHIP_ORDER)),
        ("patched", Ok(())),
        ("deprecated", Ok(())),
        ("removed", Ok(())),
    ])
    .await
}

/// Last column. The incompatible code is the same, and refuses the same histories.
#[tokio::test]
async fn removed_and_incompatible_refuse_older_histories() -> anyhow::Result<()> {
    let expected = [
        ("initial", Err(FRAUD_CHECK_INSTEAD_OF_SHIP_ORDER)),
        ("patched", Err(NO_CALL_FOR_MARKER)),
        ("deprecated", Ok(())),
        ("removed", Ok(())),
    ];
    replays::<v4_removed::OrderWorkflow>(&expected).await?;
    replays::<incompatible::OrderWorkflow>(&expected).await
}

/// For `make replay`: replays one history with the code that the worker would run. No stage accepts all of
/// the recorded histories.
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

/// If the code refuses a history, `make replay` says at which event, and what the code does instead.
#[tokio::test]
async fn a_refusal_names_the_event() -> anyhow::Result<()> {
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

/// A replay refuses the same code with two activities in another order, or with an added timer. It accepts
/// another timeout, because it compares the commands and their order, not their options.
#[tokio::test]
async fn mutants_are_refused() -> anyhow::Result<()> {
    let timer =
        "Timer machine does not handle this event: HistoryEvent(id: 11, ActivityTaskScheduled)";
    replays::<mutants::timeout_changed::OrderWorkflow>(&[("removed", Ok(()))]).await?;
    replays::<mutants::reordered::OrderWorkflow>(&[(
        "removed",
        Err(SHIP_ORDER_INSTEAD_OF_FRAUD_CHECK),
    )])
    .await?;
    replays::<mutants::timer_added::OrderWorkflow>(&[("removed", Err(timer))]).await
}
