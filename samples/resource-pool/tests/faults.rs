//! Kills the real worker binary while many workflows contend for a few resources.

#![cfg(unix)]

use crate::workflow::{
    Pool, User, acquired, ask, id, puppet, release, send, start_pool, start_user,
};
use anyhow::{Context, ensure};
use futures::future::{join_all, try_join_all};
use resource_pool::workflows::AcquireRequest;
use serde_json::json;
use shared::histories;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use temporalio_client::WorkflowHandle;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use testing::{
    TestEnv, address, eventually,
    faults::{Ledger, WorkerProcess},
    forget_cache, within,
};
use tokio::time::sleep;

const WORKER: &str = env!("CARGO_BIN_EXE_resource-pool-worker");

/// Users that wait for a resource at the same time.
const USERS: usize = 100;

/// How many of them are started at once. All together would take a busy machine longer than a test waits.
const AT_ONCE: usize = 25;

/// Returns the workflow ids of the users that have asked for a resource, and of those that the pool has sent one to,
/// each in order, over all runs of the pool, with the number of runs.
async fn order(pool: &Pool) -> anyhow::Result<(Vec<String>, Vec<String>, usize)> {
    let (mut asked, mut assigned) = (Vec::new(), Vec::new());
    let runs = histories(pool).await?;
    let number = runs.len();
    for event in runs.into_iter().flatten() {
        match event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal))
                if signal.signal_name == "acquire_resource" =>
            {
                let payload = signal.input.unwrap_or_default().payloads.remove(0);
                // The padding is no request.
                if let Ok(request) = serde_json::from_slice::<AcquireRequest>(&payload.data) {
                    asked.push(request.workflow_id);
                }
            }
            Some(Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(sent))
                if sent.signal_name == "assign_resource" =>
            {
                assigned.push(sent.workflow_execution.unwrap_or_default().workflow_id);
            }
            _ => {}
        }
    }
    Ok((asked, assigned, number))
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq)]
struct Visit {
    enters: bool,
    key: String,
    resource: String,
}

fn visits(ledger: &Ledger) -> anyhow::Result<Vec<Visit>> {
    let visit = |line: String| {
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        let mut word = || words.next().context("no visit");
        Ok(Visit {
            enters: word()? == "enter",
            key: word()?,
            resource: word()?,
        })
    };
    ledger.keys()?.into_iter().map(visit).collect()
}

/// Waits until somebody enters a resource, and returns that visit.
async fn next_enters(ledger: &Ledger) -> anyhow::Result<Visit> {
    let before = visits(ledger)?.len();
    let enters = async {
        loop {
            match visits(ledger)?.pop() {
                Some(visit) if visit.enters && visits(ledger)?.len() > before => return Ok(visit),
                _ => sleep(Duration::from_millis(1)).await,
            }
        }
    };
    within("a user in the ledger", enters).await
}

/// A hundred users contend for three resources, of which one is added while they wait. A third of the users are
/// terminated while they wait. Some hand their resource over to their next run, and some fail. The pool continues as
/// new, and the worker is killed while resources are in use.
///
/// The ledger of the resources shows that nobody enters or leaves one after its next holder has entered it. The histories
/// of the pool show that nobody has overtaken another user.
#[tokio::test]
async fn many_users() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let ledger = Ledger::create()?;
    let worker = async || {
        let args = ledger.args().into_iter().chain(["--use-ms=10".to_owned()]);
        let args: Vec<String> = args.collect();
        let mut worker = WorkerProcess::start(WORKER, address()?, &env.task_queue, &args)?;
        within("the worker", worker.ready()).await?;
        anyhow::Ok(worker)
    };
    let mut running = worker().await?;

    // The test acts for the first two holders. All others wait until it releases their resources.
    let by_id = start_pool(&env, &["resource_a", "resource_b"]).await?;
    // `histories` begins with this run of the pool.
    let mut info = by_id.info().clone();
    let description = by_id.describe(Default::default()).await?;
    info.run_id = Some(description.run_id().to_owned());
    let pool: Pool = WorkflowHandle::new(env.client.clone(), info);
    let mut first = Vec::new();
    for _ in 0..2 {
        let puppet = puppet(&env).await?;
        ask(&by_id, id(&puppet)).await?;
        first.push(acquired(&puppet).await?);
    }
    let start = async |number: usize| {
        let fields = match number % 10 {
            0 => json!({"should_continue_as_new": true}),
            1 => json!({"iteration_to_fail_after": "first"}),
            _ => json!({}),
        };
        start_user(&env, &by_id, fields).await
    };
    let mut users: Vec<User> = Vec::new();
    while users.len() < USERS {
        let next = users.len()..users.len() + AT_ONCE;
        users.extend(try_join_all(next.map(start)).await?);
        eventually("all requests", async || {
            sleep(Duration::from_millis(100)).await;
            let (asked, _, _) = order(&pool).await?;
            Ok((asked.len() == 2 + users.len()).then_some(()))
        })
        .await?;
    }
    let (gone, waiting) = users.split_at(USERS / 3);
    try_join_all(gone.iter().map(|one| one.terminate(Default::default()))).await?;

    send(&by_id, "add_resources", &[json!(["resource_c"])]).await?;
    for acquired in &first {
        release(&by_id, acquired).await?;
    }
    next_enters(&ledger).await?;
    let padding = json!({"padding": "x".repeat(1_500_000)});
    for _ in 0..4 {
        send(&by_id, "acquire_resource", std::slice::from_ref(&padding)).await?;
    }
    let killed = loop {
        let inside = next_enters(&ledger).await?;
        running.kill().await?;
        let left = Visit {
            enters: false,
            ..inside.clone()
        };
        let left = visits(&ledger)?.contains(&left);
        running = worker().await?;
        let ids = waiting.iter().map(id).chain([id(&by_id)]);
        // A user that has ended has no cache to forget.
        join_all(ids.map(|id| forget_cache(&env.client, id))).await;
        if !left {
            break inside;
        }
    };
    let ended = join_all(waiting.iter().map(|one| one.get_result(Default::default())));
    let ended = within("all users", async { Ok(ended.await) }).await?;
    let failed = ended.iter().filter(|ended| ended.is_err()).count();
    let expected = (gone.len()..USERS)
        .filter(|number| number % 10 == 1)
        .count();
    assert_eq!(failed, expected);
    by_id.cancel(Default::default()).await?;
    let pool_ends = within("the pool", async {
        Ok(by_id.get_result(Default::default()).await)
    });
    ensure!(pool_ends.await?.is_err(), "a cancelled pool ends CANCELED");

    let mut by_resource = BTreeMap::<String, Vec<Visit>>::new();
    let visits = visits(&ledger)?;
    for visit in &visits {
        by_resource
            .entry(visit.resource.clone())
            .or_default()
            .push(visit.clone());
    }
    assert_eq!(by_resource.len(), 3);
    for visits in by_resource.values() {
        assert!(visits.is_sorted_by_key(|visit| &visit.key), "{visits:#?}");
    }
    let left: BTreeSet<_> = visits
        .iter()
        .filter(|visit| !visit.enters)
        .map(|visit| &visit.key)
        .collect();
    assert_eq!(left.len(), waiting.len());
    let attempts = visits.iter().filter(|visit| **visit == killed).count();
    assert!(attempts > 1, "{killed:?} was not repeated");

    let (asked, assigned, runs) = order(&pool).await?;
    let overtaken = asked
        .iter()
        .zip(&assigned)
        .filter(|(asked, assigned)| asked != assigned);
    assert_eq!((assigned.len(), overtaken.count()), (2 + USERS, 0));
    assert!(runs > 1, "the pool has not continued as new");
    running.kill().await
}
