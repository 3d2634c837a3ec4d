//! Bad input on a real server: the workflow fails at once, or goes on; it never hangs.

#![allow(missing_docs, reason = "a workflow for this test alone")]

use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{Input, describe};
use std::time::Duration;
use temporalio_client::{UntypedSignal, UntypedWorkflow};
use temporalio_common::UntypedActivity;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, SyncWorkflowContext, WorkerOptions, WorkflowContext,
    WorkflowRegistrationError, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{activity_types, raw_json, with_worker};

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Deposit {
    amount: u32,
}

/// Adds up signals until it has seen as many good ones as its input says.
#[workflow]
#[derive(Default)]
pub struct DepositsWorkflow {
    deposits: Vec<u32>,
    refused: Vec<String>,
}

#[workflow_methods]
impl DepositsWorkflow {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        count: Input<usize>,
    ) -> WorkflowResult<(u32, Vec<String>)> {
        let count = count.decode(ctx)?;
        ctx.wait_condition(|state| state.deposits.len() >= count)
            .await?;
        Ok(ctx.state(|state| (state.deposits.iter().sum(), state.refused.clone())))
    }

    #[signal]
    pub fn deposit(&mut self, _ctx: &mut SyncWorkflowContext<Self>, deposit: Input<Deposit>) {
        match deposit.into_result() {
            Ok(Deposit { amount }) => self.deposits.push(amount),
            Err(bad) => self.refused.push(bad.to_string()),
        }
    }
}

/// Passes its input on to an activity that takes another type.
#[workflow]
#[derive(Default)]
pub struct MismatchWorkflow;

#[workflow_methods]
impl MismatchWorkflow {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, text: Input<String>) -> WorkflowResult<()> {
        let activity = UntypedActivity::new("double");
        let input = raw_json(&[json!(text.decode(ctx)?)]);
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(5));
        ctx.execute_activity(activity, input, options).await?;
        Ok(())
    }
}

pub struct Activities;

#[activities]
impl Activities {
    #[activity(name = "double")]
    pub async fn double(_ctx: ActivityContext, number: u32) -> Result<u32, ActivityError> {
        Ok(number * 2)
    }
}

fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<DepositsWorkflow>()?
        .register_workflow::<MismatchWorkflow>()?
        .register_activities(Activities)
        .build())
}

/// A bad signal is recorded and the workflow goes on; the good ones before and after it count.
#[tokio::test]
async fn a_bad_signal_does_not_wedge_the_workflow() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(DepositsWorkflow::run, 2.into(), env.start_options())
            .await?;
        let id = handle.info().workflow_id.clone();
        let untyped = env.client.get_workflow_handle::<UntypedWorkflow>(id);
        for arguments in [vec![json!({"amount": "lots"})], vec![]] {
            let signal = UntypedSignal::new("deposit");
            untyped
                .signal(signal, raw_json(&arguments), Default::default())
                .await?;
        }
        for amount in [1, 2] {
            let deposit = Deposit { amount };
            handle
                .signal(
                    DepositsWorkflow::deposit,
                    deposit.into(),
                    Default::default(),
                )
                .await?;
        }
        let (sum, refused) = handle.get_result(Default::default()).await?;
        assert_eq!(sum, 3);
        let wrong_type = "bad input: `amount`: invalid type: string \"lots\", expected u32";
        assert_eq!(refused, [wrong_type, "bad input: the argument is missing"]);
        Ok(())
    })
    .await
}

/// An activity that gets what it cannot read fails once, not for ever.
#[tokio::test]
async fn bad_activity_input_is_not_retried() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(MismatchWorkflow::run, "two".into(), env.start_options())
            .await?;
        let error = handle
            .get_result(Default::default())
            .await
            .expect_err("bad input");
        let reason = "bad input: invalid type: string \"two\", expected u32 (BadInput)";
        assert_eq!(
            describe(&error),
            format!("workflow failed: activity double failed: {reason}")
        );
        assert_eq!(activity_types(&handle).await?, ["double"]);
        Ok(())
    })
    .await
}

/// Megabytes, depth and nonsense end in a failure like any other, and the worker serves on.
#[tokio::test]
async fn poison_fails_and_nothing_else_does() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let deep = (0..120).fold(json!(1), |value, _| json!([value]));
        for poison in [
            json!("x".repeat(1 << 20)),
            deep,
            json!(vec![0; 10_000]),
            json!(-1),
        ] {
            let handle = env
                .start_json::<DepositsWorkflow>("DepositsWorkflow", &[poison])
                .await?;
            let error = handle
                .get_result(Default::default())
                .await
                .expect_err("poison");
            assert!(
                describe(&error).starts_with("workflow failed: bad input: invalid"),
                "{error}"
            );
        }
        let handle = env
            .start_json::<DepositsWorkflow>("DepositsWorkflow", &[json!(0)])
            .await?;
        assert_eq!(handle.get_result(Default::default()).await?.0, 0);
        Ok(())
    })
    .await
}
