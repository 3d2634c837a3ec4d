//! Kills the real worker binary while clients send updates over several runs.

#![cfg(unix)]

use anyhow::{Context, ensure};
use entity_workflow::{
    account::{Profile, Status},
    client::{Change, apply_once},
    workflows::{UserAccountInput, UserAccountWorkflow},
};
use futures::future::{try_join, try_join_all};
use shared::histories;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use temporalio_client::{Client, WorkflowHandle, WorkflowStartOptions};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use testing::{TestEnv, address, faults::WorkerProcess, forget_cache, within};
use tokio::{process::Command, time::sleep};

const WORKER: &str = env!("CARGO_BIN_EXE_entity-workflow-worker");

/// Number of clients, and of updates that each of them sends.
const CLIENTS: usize = 4;
const UPDATES: usize = 60;

/// How often the worker is killed.
const KILLS: usize = 2;

/// Number of events after which a run ends.
const EVENTS: u32 = 200;

type Account = WorkflowHandle<Client, UserAccountWorkflow>;

/// Sends updates one after the other. Sends each of them once more after its answer, as a client does that has not
/// received it.
async fn client(account: &Account, client: usize, answered: &AtomicUsize) -> anyhow::Result<()> {
    for number in 0..UPDATES {
        let id = format!("{client}-{number}");
        let change = match number % 3 {
            0 => Change::Profile(Profile {
                name: id.clone(),
                email: "ada@example.com".to_owned(),
            }),
            1 => Change::Suspend,
            _ => Change::Reactivate,
        };
        apply_once(account, &change, &id).await?;
        apply_once(account, &change, &id).await?;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Kills the worker at a moment when it runs no activity. The server would start such an activity again only after its
/// timeout of 30 s.
async fn kill(worker: &mut WorkerProcess, account: &Account) -> anyhow::Result<()> {
    let identity = worker.identity()?;
    let pid = identity.trim_end_matches('@');
    let signal = async |name: &str| {
        let kill = Command::new("kill").args(["-s", name, pid]).status();
        ensure!(kill.await?.success(), "cannot send SIG{name}");
        Ok(())
    };
    loop {
        // A frozen worker starts nothing.
        signal("STOP").await?;
        let description = account.describe(Default::default()).await?;
        if description.raw().pending_activities.is_empty() {
            break;
        }
        signal("CONT").await?;
        sleep(Duration::from_millis(10)).await;
    }
    worker.kill().await?;
    forget_cache(account.client(), &account.info().workflow_id).await
}

/// Four clients send 240 updates over several runs, each of them twice, and the worker is killed twice meanwhile. The
/// account has applied each update once. The activity, which runs only if an update is applied, has been scheduled
/// once for each profile. And updates that a run had completed did arrive in the next run.
#[tokio::test]
async fn loses_nothing_and_applies_nothing_twice() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let id = env.start_options().workflow_id;
    let input = UserAccountInput {
        user_id: "42".to_owned(),
        continue_after_events: Some(EVENTS),
        ..Default::default()
    };
    let options = WorkflowStartOptions::new(&env.task_queue, &id)
        // The server hands out the task of a killed worker again after this time.
        .task_timeout(Duration::from_secs(2))
        .build();
    let started = env
        .client
        .start_workflow(UserAccountWorkflow::run, input.into(), options);
    let started = started.await?;
    let first = Account::new(env.client.clone(), started.info().clone());
    let account = env.client.get_workflow_handle::<UserAccountWorkflow>(&id);

    let no_arguments: [&str; 0] = [];
    let worker = || WorkerProcess::start(WORKER, address()?, &env.task_queue, &no_arguments);
    let answered = AtomicUsize::new(0);
    let clients = try_join_all((0..CLIENTS).map(|number| client(&account, number, &answered)));
    let killing = async {
        let mut running = worker()?;
        for kills in 1..=KILLS {
            while answered.load(Ordering::Relaxed) < kills * CLIENTS * UPDATES / (KILLS + 1) {
                sleep(Duration::from_millis(5)).await;
            }
            kill(&mut running, &account).await?;
            running = worker()?;
        }
        Ok(running)
    };
    let (_, _running) = within("all updates", try_join(clients, killing)).await?;

    let delete = UserAccountWorkflow::delete;
    account
        .signal(delete, ().into(), Default::default())
        .await?;
    let ended = async { Ok(account.get_result(Default::default()).await?) };
    within("the end", ended).await?;
    let get_state = UserAccountWorkflow::get_state;
    let state = account.query(get_state, ().into(), Default::default());
    let state = within("the state", async { Ok(state.await?) }).await?;
    assert_eq!(state.status, Status::Deleted);
    assert_eq!(state.updates_applied, u64::try_from(CLIENTS * UPDATES)?);

    let runs = histories(&first).await?;
    assert!(runs.len() > 3, "{} runs", runs.len());
    let mut validated = BTreeMap::new();
    let mut runs_of = BTreeMap::new();
    for (run, event) in runs
        .iter()
        .enumerate()
        .flat_map(|(run, events)| events.iter().map(move |event| (run, event)))
    {
        match event.attributes.clone() {
            Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
                let input = scheduled.input.unwrap_or_default().payloads;
                let profile: Profile = serde_json::from_slice(&input[0].data)?;
                *validated.entry(profile.name).or_insert(0) += 1;
            }
            Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(accepted)) => {
                let request = accepted.accepted_request.context("no request")?;
                let id = request.meta.unwrap_or_default().update_id;
                runs_of.entry(id).or_insert_with(BTreeSet::new).insert(run);
            }
            _ => {}
        }
    }
    assert_eq!(validated.len(), CLIENTS * UPDATES / 3);
    assert!(validated.values().all(|times| *times == 1), "{validated:?}");
    assert_eq!(runs_of.len(), CLIENTS * UPDATES);
    assert!(
        runs_of.values().any(|runs| runs.len() > 1),
        "no update arrived in two runs"
    );
    Ok(())
}
