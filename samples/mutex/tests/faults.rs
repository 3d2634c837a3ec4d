//! Kills the real worker binary while hundreds of workflows contend for one lock.

#![cfg(unix)]

use crate::workflow::{Lock, Requester, ask_for, granted, puppet, release, resource};
use anyhow::{Context, ensure};
use futures::future::{join_all, try_join_all};
use mutex::workflows::LockRequest;
use serde_json::json;
use shared::histories;
use std::{collections::BTreeSet, time::Duration};
use temporalio_client::WorkflowHandle;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use testing::{
    TestEnv, address, eventually,
    faults::{Ledger, WorkerProcess},
    forget_cache, within,
};
use tokio::time::sleep;

const WORKER: &str = env!("CARGO_BIN_EXE_mutex-worker");

/// Requesters that wait for the lock at the same time.
const REQUESTERS: usize = 200;

/// How many of them are started at once. All together would take a busy machine longer than a test waits.
const AT_ONCE: usize = 25;

/// How long each uses the resource.
const WORK_MS: u32 = 10;

/// A lease that outlasts the death of a worker.
const LEASE_MS: u32 = 60_000;

/// Returns the workflow ids of the requesters that have asked for the lock, and of those that the lock has sent a lease
/// to, each in order, over all runs of the lock.
async fn order(lock: &Lock) -> anyhow::Result<[Vec<String>; 2]> {
    let (mut asked, mut granted) = (Vec::new(), Vec::new());
    for event in histories(lock).await?.into_iter().flatten() {
        match event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal))
                if signal.signal_name == "lock-requested" =>
            {
                let payload = signal.input.unwrap_or_default().payloads.remove(0);
                let request: LockRequest = serde_json::from_slice(&payload.data)?;
                asked.push(request.initiator_id);
            }
            Some(Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(sent)) => {
                granted.push(sent.workflow_execution.unwrap_or_default().workflow_id);
            }
            _ => {}
        }
    }
    Ok([asked, granted])
}

/// Returns the lines of the ledger: whether the holder enters, and its token.
fn visits(ledger: &Ledger) -> anyhow::Result<Vec<(bool, String)>> {
    let visit = |key: String| {
        let (what, token) = key.split_once(' ').context("no token")?;
        Ok((what == "enter", token.to_owned()))
    };
    ledger.keys()?.into_iter().map(visit).collect()
}

/// Waits until a holder uses the resource that is not the one with this token, and returns its token.
async fn other_inside(ledger: &Ledger, token: &str) -> anyhow::Result<String> {
    let inside = async {
        loop {
            match visits(ledger)?.pop() {
                Some((true, inside)) if inside != token => return Ok(inside),
                _ => sleep(Duration::from_millis(1)).await,
            }
        }
    };
    within("a holder", inside).await
}

/// Two hundred workflows contend for one lock. Two thirds of them are terminated while they wait, and one needs more
/// time than its lease. The worker is killed while a holder uses the resource.
///
/// The ledger of the resource shows that nobody enters or leaves after the next holder has entered. The history of the
/// lock shows that nobody has overtaken another requester.
#[tokio::test]
async fn hundreds_of_contenders() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let ledger = Ledger::create()?;
    let worker = async || {
        let args = ledger.args();
        let mut worker = WorkerProcess::start(WORKER, address()?, &env.task_queue, &args)?;
        within("the worker", worker.ready()).await?;
        anyhow::Ok(worker)
    };
    let mut running = worker().await?;

    // The test acts for the first holder. All others wait until it releases the lock.
    let (resource_id, by_id) = resource(&env);
    let first = puppet(&env).await?;
    ask_for(&env, &by_id, &first, u32::MAX).await?;
    let lease = granted(&first).await?;
    // `histories` begins with this run of the lock.
    let mut info = by_id.info().clone();
    let description = by_id.describe(Default::default()).await?;
    info.run_id = Some(description.run_id().to_owned());
    let lock: Lock = WorkflowHandle::new(env.client.clone(), info);
    let asked = async |count| {
        eventually(format!("{count} requests"), async || {
            sleep(Duration::from_millis(100)).await;
            let [asked, _] = order(&lock).await?;
            Ok((asked.len() == count).then_some(()))
        })
        .await
    };

    // The second holder would work for a minute, but its lease is short.
    let start = async |work_ms: u32, lease_ms: u32| {
        let arguments = [json!(resource_id), json!(work_ms), json!(lease_ms)];
        env.start_json("oneAtATimeWorkflow", &arguments).await
    };
    let second: Requester = start(60_000, 2000).await?;
    asked(2).await?;
    let mut requesters: Vec<Requester> = Vec::new();
    while requesters.len() < REQUESTERS {
        let started = (0..AT_ONCE).map(|_| start(WORK_MS, LEASE_MS));
        requesters.extend(try_join_all(started).await?);
        asked(2 + requesters.len()).await?;
    }
    let (gone, waiting) = requesters.split_at(REQUESTERS * 2 / 3);
    try_join_all(gone.iter().map(|one| one.terminate(Default::default()))).await?;

    release(&by_id, &lease).await?;
    let second_token = other_inside(&ledger, "").await?;
    eventually("the end of its lease", async || {
        let left = (false, second_token.clone());
        Ok(visits(&ledger)?.contains(&left).then_some(()))
    })
    .await?;
    let failed = within("its end", async {
        Ok(second.get_result(Default::default()).await)
    });
    ensure!(failed.await?.is_err(), "it has completed");
    let mut killed_inside = other_inside(&ledger, &second_token).await?;
    loop {
        running.kill().await?;
        let inside = visits(&ledger)?.pop() == Some((true, killed_inside.clone()));
        running = worker().await?;
        let ids = waiting.iter().map(|one| &one.info().workflow_id);
        let ids = ids.chain([&by_id.info().workflow_id]);
        // A requester that has ended has no cache to forget.
        join_all(ids.map(|id| forget_cache(&env.client, id))).await;
        if inside {
            break;
        }
        killed_inside = other_inside(&ledger, &killed_inside).await?;
    }
    let all = try_join_all(waiting.iter().map(|one| one.get_result(Default::default())));
    within("all requesters", async { Ok(all.await?) }).await?;
    within("the lock", async {
        Ok(by_id.get_result(Default::default()).await?)
    })
    .await?;

    let visits = visits(&ledger)?;
    assert!(visits.is_sorted_by_key(|(_, token)| token), "{visits:?}");
    let left: BTreeSet<_> = visits.iter().filter(|(enters, _)| !enters).collect();
    ensure!(
        left.len() >= waiting.len(),
        "{} of {} have left",
        left.len(),
        waiting.len()
    );
    let attempts = visits
        .iter()
        .filter(|(enters, token)| *enters && *token == killed_inside);
    assert_eq!(attempts.count(), 2, "{visits:?}");

    let [asked, granted] = order(&lock).await?;
    let overtaken = asked
        .iter()
        .zip(&granted)
        .filter(|(asked, granted)| asked != granted);
    assert_eq!((granted.len(), overtaken.count()), (2 + REQUESTERS, 0));
    Ok(())
}
