//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use serde_json::json;
use temporalio_client::{Client, WorkflowHandle, errors::WorkflowGetResultError};
use temporalio_common::protos::temporal::api::enums::v1::EventType::ActivityTaskCompleted;
use testing::{TestEnv, activity_types, bad_input, eventually, until, with_worker};
use versioning::{
    stages::Stage::{self, Deprecated, Incompatible, Initial, Patched, Removed},
    worker_options,
    workflows::{OrderWorkflow, Receipt},
};

const STAGES: [Stage; 5] = [Initial, Patched, Deprecated, Removed, Incompatible];

async fn start(env: &TestEnv, cents: u64) -> anyhow::Result<WorkflowHandle<Client, OrderWorkflow>> {
    let order = json!({"number": "A-17", "cents": cents});
    env.start_json("OrderWorkflow", &[order]).await
}

async fn deliver(handle: &WorkflowHandle<Client, OrderWorkflow>) -> anyhow::Result<()> {
    let nothing = ().into();
    Ok(handle
        .signal(OrderWorkflow::delivered, nothing, Default::default())
        .await?)
}

/// A new order completes at every stage. From the second stage on, it is checked before it is shipped.
#[tokio::test]
async fn ships_at_every_stage() -> anyhow::Result<()> {
    for stage in STAGES {
        with_worker(
            |task_queue: &str| worker_options(task_queue, stage),
            async |env| {
                let handle = start(&env, 4200).await?;
                deliver(&handle).await?;
                let parcel = "parcel-A-17".to_owned();
                assert_eq!(
                    handle.get_result(Default::default()).await?,
                    Receipt { parcel }
                );
                let ran = activity_types(&handle).await?;
                match stage {
                    Initial => assert_eq!(ran, ["ship_order"]),
                    _ => assert_eq!(ran, ["fraud_check", "ship_order"], "{stage:?}"),
                }
                Ok(())
            },
        )
        .await?;
    }
    Ok(())
}

/// An order that the check refuses fails with the reason, and is not shipped.
#[tokio::test]
async fn a_refused_order_is_not_shipped() -> anyhow::Result<()> {
    with_worker(
        |task_queue: &str| worker_options(task_queue, Patched),
        async |env| {
            let handle = start(&env, 1_000_001).await?;
            let error = handle
                .get_result(Default::default())
                .await
                .expect_err("refused");
            assert_eq!(
                shared::describe(&error),
                "workflow failed: activity fraud_check failed: \
                 order A-17 over 1000001 cents is refused (FraudSuspected)"
            );
            assert_eq!(activity_types(&handle).await?, ["fraud_check"]);
            Ok(())
        },
    )
    .await
}

/// The queries in the README find the open orders that a stage must still accept, by a search attribute that
/// the SDK writes. Orders of the third stage have it, too.
#[tokio::test]
async fn open_orders_are_counted() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    for stage in [Initial, Patched, Deprecated, Removed] {
        let shipping = async {
            let handle = start(&env, 4200).await?;
            // The marker is recorded with the first activity.
            until(&handle, ActivityTaskCompleted).await
        };
        env.work(
            |task_queue: &str| worker_options(task_queue, stage),
            shipping,
        )
        .await?;
    }
    let open = format!(
        "WorkflowType = 'OrderWorkflow' AND ExecutionStatus = 'Running' AND TaskQueue = '{}'",
        env.task_queue
    );
    let count = async |changed: &str| -> anyhow::Result<usize> {
        let query = format!("{open} AND TemporalChangeVersion {changed}");
        Ok(env
            .client
            .count_workflows(query, Default::default())
            .await?
            .count())
    };
    // The server's index lags behind.
    let counted = async || {
        let open = (count("IS NULL").await?, count("= 'fraud-check'").await?);
        Ok((open == (2, 2)).then_some(()))
    };
    eventually("two orders without and two with the patch", counted).await
}

/// An order that is cancelled before a worker has seen it ends as CANCELED, at every stage.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    for stage in STAGES {
        let env = TestEnv::new().await?;
        let handle = start(&env, 4200).await?;
        let options = |task_queue: &str| worker_options(task_queue, stage);
        env.ends_cancelled(&handle, options).await?;
    }
    Ok(())
}

/// An order that is cancelled while it waits for the delivery ends as CANCELED, too.
#[tokio::test]
async fn cancelled_before_the_delivery() -> anyhow::Result<()> {
    with_worker(
        |task_queue: &str| worker_options(task_queue, Patched),
        async |env| {
            let handle = start(&env, 4200).await?;
            until(&handle, ActivityTaskCompleted).await?;
            handle.cancel(Default::default()).await?;
            let error = handle
                .get_result(Default::default())
                .await
                .expect_err("cancelled");
            assert!(
                matches!(error, WorkflowGetResultError::Cancelled { .. }),
                "{error:?}"
            );
            Ok(())
        },
    )
    .await
}

/// Input that does not decode fails the workflow at once. It does not block it forever.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(
        |task_queue: &str| worker_options(task_queue, Patched),
        async |env| {
            let cases = [
                (
                    vec![json!({"number": "A-17", "cents": "4200"})],
                    "`cents`: invalid type: string \"4200\", expected u64",
                ),
                (vec![json!({"cents": 1})], "missing field `number`"),
                (vec![], "the argument is missing"),
            ];
            for (arguments, reason) in cases {
                let handle = env
                    .start_json::<OrderWorkflow>("OrderWorkflow", &arguments)
                    .await?;
                assert_eq!(bad_input(&handle).await?, reason);
            }
            Ok(())
        },
    )
    .await
}
