//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use activity_choice::{ledger::Ledger, workflows::PurchaseFruitsWorkflow};
use serde_json::{Value, json};
use temporalio_client::{Client, WorkflowHandle};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use testing::{TestEnv, activity_types, bad_input, with_worker};

fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    activity_choice::worker_options(task_queue, None)
}

/// Starts the workflow as a client in another language does.
async fn start(
    env: &TestEnv,
    list: Value,
) -> anyhow::Result<WorkflowHandle<Client, PurchaseFruitsWorkflow>> {
    env.start_json("PurchaseFruitsWorkflow", &[list]).await
}

/// Each item is ordered with the activity for its fruit, in the order of the list.
#[tokio::test]
async fn chooses_the_activity_by_the_fruit() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let list = json!({"items": [
            {"fruit": 4, "amount": 4}, {"fruit": 1, "amount": 8},
            {"fruit": 3, "amount": 1}, {"fruit": 2, "amount": 5},
        ]});
        let handle = start(&env, list).await?;
        let result = handle.get_result(Default::default()).await?;
        assert_eq!(
            result,
            "Ordered 4 Oranges...Ordered 8 Apples...Ordered 1 Cherries...Ordered 5 Bananas..."
        );
        let activities = activity_types(&handle).await?;
        assert_eq!(
            activities,
            [
                "order_oranges",
                "order_apples",
                "order_cherries",
                "order_bananas"
            ]
        );
        Ok(())
    })
    .await
}

/// An empty list orders nothing.
#[tokio::test]
async fn an_empty_list_orders_nothing() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = start(&env, json!({"items": []})).await?;
        assert_eq!(handle.get_result(Default::default()).await?, "");
        assert!(activity_types(&handle).await?.is_empty());
        Ok(())
    })
    .await
}

/// A second workflow with the same id makes another order, and the ledger has both.
#[tokio::test]
async fn orders_again_under_the_same_id() -> anyhow::Result<()> {
    let file = std::env::temp_dir().join(format!("{}.txt", std::process::id()));
    let ledger = Ledger::new(file.clone());
    with_worker(
        |queue| activity_choice::worker_options(queue, Some(ledger)),
        async |env| {
            let id = env.start_options().workflow_id;
            for _ in 0..2 {
                let list = json!({"items": [{"fruit": 1, "amount": 8}]});
                let handle = env
                    .start_json_as::<PurchaseFruitsWorkflow>(
                        id.clone(),
                        "PurchaseFruitsWorkflow",
                        &[list],
                    )
                    .await?;
                handle.get_result(Default::default()).await?;
            }
            Ok(())
        },
    )
    .await?;
    let orders = std::fs::read_to_string(&file)?;
    std::fs::remove_file(file)?;
    assert_eq!(orders.lines().count(), 2, "{orders}");
    Ok(())
}

/// An unknown fruit and other bad input fail the workflow before anything is ordered. The failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let apple = json!({"fruit": 1, "amount": 1});
        let cases = [
            (
                json!({"items": [apple.clone(), {"fruit": 9, "amount": 1}]}),
                "`items[1].fruit`: invalid value: 9, expected one of: 1, 2, 3, 4",
            ),
            (
                json!({"items": [{"fruit": "apple", "amount": 1}]}),
                "`items[0].fruit`: invalid type: string \"apple\", expected u8",
            ),
            (
                json!({"items": [{"fruit": 1, "amount": -1}]}),
                "`items[0].amount`: invalid value: integer `-1`, expected u32",
            ),
            (
                json!({"items": [{"fruit": 1}]}),
                "`items[0]`: missing field `amount`",
            ),
            (json!({}), "missing field `items`"),
            (
                json!({"items": vec![apple.clone(); 10_000]}),
                "`items`: 10000 items, and at most 5000 fit into one workflow's history",
            ),
        ];
        for (list, reason) in cases {
            let handle = start(&env, list).await?;
            assert_eq!(bad_input(&handle).await?, reason);
            assert!(activity_types(&handle).await?.is_empty());
        }
        Ok(())
    })
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let list = json!({"items": [{"fruit": 1, "amount": 8}]});
    let handle = start(&env, list).await?;
    env.ends_cancelled(&handle, worker_options).await
}
