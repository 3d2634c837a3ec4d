//! Kills the real worker binary before everything that it does for a saga.

#![cfg(unix)]

use crate::whole::{ACCOUNT, PAYMENT, is_done};
use anyhow::{Context, ensure};
use futures::{TryStreamExt, future::try_join_all};
use saga::{
    activities::transfer_of,
    ledger::{Ledger, Status},
};
use serde_json::json;
use shared::describe;
use std::path::Path;
use temporalio_client::{
    Client, UntypedSignal, UntypedWorkflow, WorkflowFetchHistoryOptions, WorkflowHandle,
};
use temporalio_common::protos::temporal::api::enums::v1::EventType::{
    ActivityTaskStarted, WorkflowTaskCompleted, WorkflowTaskStarted,
};
use testing::{
    TestEnv, address, event_types, faults::WorkerProcess, forget_cache, raw_json, within,
};

const WORKER: &str = env!("CARGO_BIN_EXE_saga-worker");

type Handle = WorkflowHandle<Client, UntypedWorkflow>;

/// The sagas whose worker is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Fails,
    FailsInParallel,
    Pays,
    IsRefused,
}

impl Kind {
    fn is_payment(self) -> bool {
        [Self::Pays, Self::IsRefused].contains(&self)
    }

    /// Starts a saga. The account or the payment has the id of the workflow.
    async fn start(self, env: &TestEnv) -> anyhow::Result<Handle> {
        let id = env.start_options().workflow_id;
        let (workflow, input) = match self.is_payment() {
            true => (
                "InterBankPaymentWorkflow",
                json!({
                    "payment_id": id,
                    "source_account": "a",
                    "destination_account": if self == Self::Pays { "b" } else { "closed" },
                    "amount": 100,
                    "currency": "EUR",
                }),
            ),
            false => (
                "OpenAccountWorkflow",
                json!({
                    "accountId": id,
                    "clientName": "Ada",
                    "clientEmail": "ada@example.com",
                    "address": "1",
                    "bankAccount": "2",
                    "parallelCompensation": self == Self::FailsInParallel,
                }),
            ),
        };
        let saga: Handle = env.start_json_as(id.clone(), workflow, &[input]).await?;
        if self.is_payment() {
            let status = if self == Self::Pays {
                "SUCCESS"
            } else {
                "FAILURE"
            };
            let confirmation = json!({"tx_id": transfer_of(&id), "status": status, "reason": ""});
            let signal = UntypedSignal::new("switch_confirmed");
            saga.signal(signal, raw_json(&[confirmation]), Default::default())
                .await?;
        }
        Ok(saga)
    }

    /// Waits until a saga has ended, and checks that it has done everything once, or undone everything once.
    async fn check(self, saga: &Handle, ledger: &Ledger) -> anyhow::Result<()> {
        let id = &saga.info().workflow_id;
        let ended = within(format!("the end of {id}"), async {
            Ok(saga.get_result(Default::default()).await)
        });
        let ended = ended.await?.map(drop).map_err(|error| describe(&error));
        let steps = if self.is_payment() {
            &PAYMENT[..]
        } else {
            &ACCOUNT
        };
        let done = is_done(&ledger.entries(id).await?, steps)
            .with_context(|| format!("{self:?} {id} ended with {ended:?}"))?;
        ensure!(
            done == ended.is_ok(),
            "{self:?} {id}: done: {done}, but {ended:?}"
        );
        if self.is_payment() {
            let moved = ledger.ask(transfer_of(id)).await? == Status::Success;
            ensure!(
                done == moved,
                "{self:?} {id}: done: {done}, but moved: {moved}"
            );
        }
        Ok(())
    }
}

/// Kills the worker before every second thing that it does for the first one of these sagas, beginning with the thing
/// number `first`. The other sagas run beside it, so that the kill hits them anywhere. Then checks all of them. Returns
/// how many workers were killed.
async fn kill_workers(kinds: &[Kind], first: usize, file: &Path) -> anyhow::Result<usize> {
    let env = TestEnv::new().await?;
    let arguments = ["--ledger".into(), file.as_os_str().to_owned()];
    let worker = || WorkerProcess::start(WORKER, address()?, &env.task_queue, &arguments);
    let ledger = Ledger::open(file)?;

    let mut running = worker()?;
    let undisturbed = kinds[0].start(&env).await?;
    kinds[0].check(&undisturbed, &ledger).await?;
    // The worker causes these events: it receives a workflow task, and it answers a workflow task or an activity.
    let by_worker = [
        WorkflowTaskStarted,
        WorkflowTaskCompleted,
        ActivityTaskStarted,
    ];
    let types = event_types(&undisturbed).await?;
    let moments = (1..types.len()).filter(|events| by_worker.contains(&types[*events]));
    let moments: Vec<usize> = moments.skip(first).step_by(2).collect();

    let mut sagas = Vec::new();
    for events in &moments {
        let starts = kinds.iter().map(|kind| kind.start(&env));
        let started = try_join_all(starts).await?;
        has_events(&started[0], *events).await?;
        running.kill().await?;
        running = worker()?;
        sagas.extend(kinds.iter().zip(started));
    }
    for (_, saga) in &sagas {
        // An error means that the saga has ended.
        let _ = forget_cache(&env.client, &saga.info().workflow_id).await;
    }
    let checks = sagas.iter().map(|(kind, saga)| kind.check(saga, &ledger));
    try_join_all(checks).await?;
    Ok(moments.len())
}

/// Waits until a history has this many events.
async fn has_events(saga: &Handle, count: usize) -> anyhow::Result<()> {
    let options = WorkflowFetchHistoryOptions::builder().wait_new_event(true);
    let mut history = saga.fetch_history(options.build());
    let reached = async {
        for _ in 0..count {
            history.try_next().await?.context("ended before")?;
        }
        Ok(())
    };
    within(
        format!("event {count} of {}", saga.info().workflow_id),
        reached,
    )
    .await
}

/// Whenever the worker dies, the ledger has every step of each saga once, or every step once and undone once, and the
/// workflow ends as the ledger says.
#[tokio::test]
async fn killed_at_any_point() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("ledger.db");
    Ledger::open(&file)?;
    let accounts = [Kind::Fails, Kind::FailsInParallel];
    let payments = [Kind::IsRefused, Kind::Pays];
    let killed = try_join_all([
        kill_workers(&accounts, 0, &file),
        kill_workers(&accounts, 1, &file),
        kill_workers(&payments, 0, &file),
        kill_workers(&payments, 1, &file),
    ]);
    // An undisturbed account has nine workflow tasks and eight activities, and a payment has six and five.
    assert_eq!(killed.await?, [13, 13, 9, 8]);
    Ok(())
}
