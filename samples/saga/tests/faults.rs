//! Kills the real worker binary at any point of a saga, and checks the ledger.

#![cfg(unix)]

use crate::whole::{ACCOUNT, PAYMENT, UNDO_ACCOUNT, UNDO_PAYMENT, is_done};
use anyhow::{Context, ensure};
use futures::{TryStreamExt, future::try_join_all};
use rusqlite::Connection;
use saga::{
    activities::transfer_of,
    ledger::{Ledger, Status},
};
use serde_json::json;
use shared::describe;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use temporalio_client::{
    Client, UntypedSignal, UntypedWorkflow, WorkflowExecutionStatus, WorkflowFetchHistoryOptions,
    WorkflowHandle, WorkflowStartOptions,
};
use temporalio_common::protos::temporal::api::{
    enums::v1::{
        EventType::{
            ActivityTaskCancelRequested, ActivityTaskStarted, ActivityTaskTimedOut,
            WorkflowTaskCompleted,
        },
        PendingActivityState,
    },
    workflow::v1::PendingActivityInfo,
};
use testing::{
    TestEnv, address, event_types, eventually,
    faults::{Network, WorkerProcess},
    forget_cache, raw_json, until, until_pending, within,
};
use tokio::time::{sleep, timeout};

const WORKER: &str = env!("CARGO_BIN_EXE_saga-worker");

type Handle = WorkflowHandle<Client, UntypedWorkflow>;

/// The sagas whose worker is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Fails,
    FailsInParallel,
    IsCancelled,
    Pays,
    IsRefused,
}

impl Kind {
    /// The activities of an undisturbed saga that change the ledger.
    fn changes(self) -> Vec<&'static str> {
        match self {
            Self::Fails => [ACCOUNT, UNDO_ACCOUNT].concat(),
            // All compensations make their changes at once.
            Self::FailsInParallel => [&ACCOUNT[..], &UNDO_ACCOUNT[..1]].concat(),
            Self::IsCancelled => ACCOUNT.to_vec(),
            Self::Pays => PAYMENT.to_vec(),
            Self::IsRefused => [&PAYMENT[..2], &UNDO_PAYMENT].concat(),
        }
    }

    fn is_payment(self) -> bool {
        [Self::Pays, Self::IsRefused].contains(&self)
    }

    /// Starts a saga. The account or the payment has the id of the workflow.
    async fn start(self, env: &TestEnv) -> anyhow::Result<Handle> {
        let id = env.start_options().workflow_id;
        if self.is_payment() {
            let (destination, status) = match self {
                Self::Pays => ("b", "SUCCESS"),
                _ => ("closed", "FAILURE"),
            };
            let payment = json!({
                "payment_id": id,
                "source_account": "a",
                "destination_account": destination,
                "amount": 100,
                "currency": "EUR",
            });
            let confirmation = json!({"tx_id": transfer_of(&id), "status": status, "reason": ""});
            // With the start, so that the signal always belongs to the first workflow task.
            env.client
                .signal_with_start_workflow(
                    UntypedWorkflow::new("InterBankPaymentWorkflow"),
                    raw_json(&[payment]),
                    UntypedSignal::<UntypedWorkflow>::new("switch_confirmed"),
                    raw_json(&[confirmation]),
                    WorkflowStartOptions::new(env.task_queue.clone(), id.clone()).build(),
                )
                .await?;
            return Ok(env.client.get_workflow_handle(id));
        }
        let account = json!({
            "accountId": id,
            "clientName": "Ada",
            "clientEmail": "ada@example.com",
            "address": "1",
            "bankAccount": "2",
            "fail_at": if self == Self::IsCancelled { "" } else { "add_bank_account" },
            "parallelCompensation": self == Self::FailsInParallel,
        });
        env.start_json_as(id, "OpenAccountWorkflow", &[account])
            .await
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

/// Sagas of one kind, on a task queue of their own.
struct Test {
    kind: Kind,
    env: TestEnv,
    file: PathBuf,
    ledger: Ledger,
    sagas: Vec<Handle>,
}

impl Test {
    async fn new(kind: Kind, directory: &Path) -> anyhow::Result<Self> {
        let env = TestEnv::new().await?;
        let file = directory.join(format!("{}.db", env.task_queue));
        let ledger = Ledger::open(&file)?;
        let sagas = Vec::new();
        Ok(Self {
            kind,
            env,
            file,
            ledger,
            sagas,
        })
    }

    fn worker(&self, address: &str) -> anyhow::Result<WorkerProcess> {
        let arguments = ["--ledger".into(), self.file.as_os_str().to_owned()];
        WorkerProcess::start(WORKER, address, &self.env.task_queue, &arguments)
    }

    /// Starts another saga.
    async fn start(&mut self) -> anyhow::Result<Handle> {
        let saga = self.kind.start(&self.env).await?;
        let again = self
            .env
            .client
            .get_workflow_handle(&saga.info().workflow_id);
        self.sagas.push(again);
        Ok(saga)
    }

    /// Checks all sagas, which a worker finishes meanwhile.
    async fn check(&self) -> anyhow::Result<()> {
        for saga in &self.sagas {
            // An error means that the saga has ended.
            let _ = forget_cache(&self.env.client, &saga.info().workflow_id).await;
        }
        let checks = self
            .sagas
            .iter()
            .map(|saga| self.kind.check(saga, &self.ledger));
        try_join_all(checks).await?;
        Ok(())
    }
}

/// Kills the worker before every second answer that it gives for a saga, beginning with answer number `first`. Returns
/// how many workers were killed.
async fn before_each_event(kind: Kind, first: usize, directory: &Path) -> anyhow::Result<usize> {
    let mut test = Test::new(kind, directory).await?;
    let mut worker = test.worker(address()?)?;
    let undisturbed = test.start().await?;
    test.check().await?;
    // The worker causes these events when it answers a workflow task or an activity. Between two other events, it has
    // nothing to lose.
    let by_worker = [WorkflowTaskCompleted, ActivityTaskStarted];
    let types = event_types(&undisturbed).await?;
    let moments = (1..types.len()).filter(|events| by_worker.contains(&types[*events]));
    let moments: Vec<usize> = moments.skip(first).step_by(2).collect();
    for events in &moments {
        // If the server gave a step to the worker that was just killed, that step fails, and its saga ends early.
        let reached = has_events(&test.start().await?, *events).await?
            || has_events(&test.start().await?, *events).await?;
        ensure!(reached, "{kind:?}: two sagas ended before event {events}");
        worker.kill().await?;
        worker = test.worker(address()?)?;
    }
    test.check().await?;
    Ok(moments.len())
}

/// Kills the worker after each change that a saga makes in the ledger, before the server learns about it. Returns how
/// often that worked.
async fn after_each_change(kind: Kind, directory: &Path) -> anyhow::Result<usize> {
    let mut test = Test::new(kind, directory).await?;
    let network = Network::to(address()?).await?;
    let mut worker = test.worker(&network.address())?;
    let other = Connection::open(&test.file)?;
    other.busy_timeout(Duration::from_secs(30))?;
    let mut hits = Vec::new();
    for (before, activity) in kind.changes().into_iter().enumerate() {
        let saga = test.start().await?;
        let id = saga.info().workflow_id.clone();
        let sql = "SELECT count(*) FROM entries WHERE subject = ?1";
        let changes = || -> anyhow::Result<usize> {
            let count: u32 = other.query_row(sql, [&id], |row| row.get(0))?;
            Ok(count.try_into()?)
        };
        // Stops the saga before its next change: while this transaction is open, nobody else writes.
        let stopped = eventually("the change before", async || {
            other.execute_batch("BEGIN IMMEDIATE")?;
            if changes()? >= before {
                return Ok(Some(changes()? == before));
            }
            other.execute_batch("ROLLBACK")?;
            Ok(None)
        });
        let stopped = stopped.await?;
        let is_it = |pending: &PendingActivityInfo| {
            let name = pending.activity_type.as_ref().map(|of| of.name.as_str());
            name == Some(activity)
        };
        let runs = |pending: &PendingActivityInfo| {
            is_it(pending) && pending.state() == PendingActivityState::Started
        };
        if stopped {
            until_pending(&saga, runs).await?;
        }
        if kind == Kind::IsCancelled && stopped {
            saga.cancel(Default::default()).await?;
            let requested = until(&saga, ActivityTaskCancelRequested);
            // On a slow machine, the activity may have failed because it could not write.
            let _ = timeout(Duration::from_secs(2), requested).await;
        }
        // The task is on its way to the worker. If this is too short, the kill comes before the change.
        sleep(Duration::from_millis(50)).await;
        network.cut();
        other.execute_batch("ROLLBACK")?;
        let changed = eventually("the change", async || {
            Ok((changes()? > before).then_some(()))
        });
        let changed = timeout(Duration::from_secs(2), changed).await.is_ok();
        worker.kill().await?;
        let description = saga.describe(Default::default()).await?;
        let unknown = description.raw().pending_activities.iter().any(is_it);
        if stopped && changed && unknown {
            hits.push(saga);
        }
        network.mend();
        worker = test.worker(&network.address())?;
    }
    test.check().await?;
    for saga in hits.iter().filter(|_| kind == Kind::IsCancelled) {
        let status = saga.describe(Default::default()).await?.status();
        ensure!(status == WorkflowExecutionStatus::Canceled, "{status:?}");
    }
    Ok(hits.len())
}

/// Waits until a history has this many events. Returns false if the saga lost a step, and therefore ended before.
async fn has_events(saga: &Handle, count: usize) -> anyhow::Result<bool> {
    let options = WorkflowFetchHistoryOptions::builder().wait_new_event(true);
    let mut history = saga.fetch_history(options.build());
    let reached = async {
        let mut types = Vec::new();
        for _ in 0..count {
            let Some(event) = history.try_next().await? else {
                ensure!(
                    types.contains(&ActivityTaskTimedOut),
                    "ended before: {types:?}"
                );
                return Ok(false);
            };
            types.push(event.event_type());
        }
        Ok(true)
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
async fn killed_before_each_event() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let killed = try_join_all([
        before_each_event(Kind::Fails, 0, directory.path()),
        before_each_event(Kind::Fails, 1, directory.path()),
        before_each_event(Kind::IsRefused, 0, directory.path()),
        before_each_event(Kind::IsRefused, 1, directory.path()),
    ]);
    // An undisturbed account has nine workflow tasks and eight activities, and a payment has six and five.
    assert_eq!(killed.await?, [9, 8, 6, 5]);
    Ok(())
}

/// The same if the worker dies after a change that the server does not know about. A saga that is cancelled in the same step
/// ends CANCELED.
#[tokio::test]
async fn killed_after_each_change() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let kinds = [
        Kind::IsCancelled,
        Kind::Fails,
        Kind::FailsInParallel,
        Kind::Pays,
        Kind::IsRefused,
    ];
    let hits = try_join_all(kinds.map(|kind| after_each_change(kind, directory.path())));
    let hits = hits.await?;
    // On a slow machine, some kills come before the change.
    assert!(hits.iter().all(|hits| *hits > 0), "{hits:?}");
    Ok(())
}
