//! Replays recorded histories with today's code, and with code that breaks them.

#![allow(missing_docs, reason = "workflows for these tests alone")]

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use shared::Input;
use std::{net::Ipv4Addr, time::Duration};
use temporalio_common::{UntypedActivity, data_converters::RawValue};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, WorkflowContext, WorkflowResult,
    workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions},
};
use testing::{history, replay_all};
use typed_payloads::workflows::MyWorkflow;

const BEFORE: &str = "tests/histories/MyWorkflow-before-lease.json";
const AFTER: &str = "tests/histories/MyWorkflow.json";

/// A change that would break running workflows fails this test. One history was recorded before the model had its
/// optional fields, the other one with them (`ARGS=--rich`).
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<MyWorkflow>()?
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await
}

/// Defines `MyWorkflow` with another model.
macro_rules! my_workflow {
    ($name:ident, $model:ident) => {
        #[workflow]
        #[derive(Default)]
        pub struct $name;

        #[workflow_methods]
        impl $name {
            #[run(name = "MyWorkflow")]
            pub async fn run(
                ctx: &mut WorkflowContext<Self>,
                models: Input<Vec<$model>>,
            ) -> WorkflowResult<RawValue> {
                let models = RawValue::from_value(&models.decode(ctx)?, ctx.payload_converter());
                let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(5));
                let activity = UntypedActivity::new("my_activity");
                Ok(ctx.execute_activity(activity, models, options).await?)
            }
        }
    };
}

/// The model of the first release.
#[derive(Deserialize, Serialize)]
pub struct First {
    some_ip: Ipv4Addr,
    some_date: String,
}
my_workflow!(FirstWorkflow, First);

/// A model with a new field that is not optional.
#[derive(Deserialize, Serialize)]
pub struct Required {
    some_ip: Ipv4Addr,
    lease: String,
}
my_workflow!(RequiredWorkflow, Required);

/// A model with a new rule: no loopback address.
#[derive(Deserialize, Serialize)]
pub struct Stricter {
    #[serde(deserialize_with = "not_loopback")]
    some_ip: Ipv4Addr,
}
my_workflow!(StricterWorkflow, Stricter);

fn not_loopback<'de, D: Deserializer<'de>>(from: D) -> Result<Ipv4Addr, D::Error> {
    let ip = Ipv4Addr::deserialize(from)?;
    match ip.is_loopback() {
        true => Err(D::Error::custom("is a loopback address")),
        false => Ok(ip),
    }
}

async fn replay(options: WorkflowReplayerOptions, file: &str) -> anyhow::Result<()> {
    let replayer = WorkflowReplayer::new(options)?;
    Ok(replayer.replay_workflow(history(file)?).await?)
}

/// After a rollback, the code of the first release continues workflows that the new code has started.
#[tokio::test]
async fn unknown_fields_do_no_harm() -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<FirstWorkflow>()?
        .build();
    replay(options, AFTER).await
}

/// On replay, a required field or a new rule rejects input that was accepted when the history was recorded. So the
/// workflow fails where the history has an activity.
#[tokio::test]
async fn what_breaks_old_histories() -> anyhow::Result<()> {
    let required = WorkflowReplayerOptions::new().register_workflow::<RequiredWorkflow>()?;
    let stricter = WorkflowReplayerOptions::new().register_workflow::<StricterWorkflow>()?;
    for options in [required.build(), stricter.build()] {
        let replayed = replay(options, BEFORE).await;
        let error = replayed.expect_err("it replays").to_string();
        assert!(error.contains("Nondeterminism error"), "{error}");
    }
    Ok(())
}
