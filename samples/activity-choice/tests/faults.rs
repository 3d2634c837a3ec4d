//! Kills the real worker binary under load.

#![cfg(unix)]

use anyhow::{Context, bail};
use std::time::Duration;
use temporalio_client::{Client, UntypedWorkflow, WorkflowExecutionDescription, WorkflowHandle};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use testing::{address, events, faults::LoadTest};
use tokio::time::sleep;

const WORKER: &str = env!("CARGO_BIN_EXE_activity-choice-worker");
const LOAD: &str = include_str!("load.json");

type Handle = WorkflowHandle<Client, UntypedWorkflow>;

/// Finds the workflow of the load that has this run id.
async fn find(
    load_test: &LoadTest,
    run_id: &str,
) -> anyhow::Result<(Handle, WorkflowExecutionDescription)> {
    for number in 0..load_test.load.workflows {
        let id = format!("{}-{number}", load_test.task_queue);
        let handle = load_test.client.get_workflow_handle(id);
        // An error means that this workflow has not been started yet.
        if let Ok(description) = handle.describe(Default::default()).await
            && description.run_id() == run_id
        {
            return Ok((handle, description));
        }
    }
    bail!("no workflow of the load has the run id {run_id}")
}

/// If the worker is killed after an order that the server does not know about, the activity runs again, and the
/// ledger still has each order once. Every other one of the forty workflows makes four orders.
#[tokio::test]
async fn orders_are_made_once() -> anyhow::Result<()> {
    let server = address()?;
    let load_test = LoadTest::new(WORKER, LOAD, server, server).await?;
    let ledger = load_test.ledger()?;
    let mut worker = load_test.worker().await?;
    let killed_between = async {
        loop {
            let orders = ledger.keys()?.len();
            let key = loop {
                if let Some(key) = ledger.keys()?.into_iter().nth(orders) {
                    break key;
                }
                sleep(Duration::from_millis(1)).await;
            };
            worker.kill().await?;
            worker = load_test.worker().await?;
            let (run_id, activity_id) = key.split_once('/').context("no key")?;
            let (handle, description) = find(&load_test, run_id).await?;
            let pending = &description.raw().pending_activities;
            if pending.iter().any(|one| one.activity_id == activity_id) {
                return Ok(handle);
            }
        }
    };
    let handle = load_test.run_during(killed_between).await?;

    let attempts = events(&handle)
        .await?
        .into_iter()
        .filter_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started.attempt),
            _ => None,
        });
    assert!(attempts.max() > Some(1));
    // `run_during` has checked that no order is there twice.
    assert_eq!(ledger.keys()?.len(), 20 * 4);
    worker.kill().await
}
