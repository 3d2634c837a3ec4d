//! A rolling update under load, with the real worker binary.

#![cfg(unix)]

use anyhow::{Context, bail, ensure};
use temporalio_common::protos::temporal::api::history::v1::{
    HistoryEvent, history_event::Attributes,
};
use testing::{
    address,
    faults::{LoadTest, random_delay},
};

const WORKER: &str = env!("CARGO_BIN_EXE_parallel-activity-worker");
const LOAD: &str = include_str!("load.json");

/// What the activity logs when it begins to greet.
const GREETING: &str = "greeting name=";

/// SIGTERM in a rolling update: the old worker ends with status 0 and finishes the activities that it
/// has begun. None of them runs again, and every workflow ends as expected.
///
/// Tasks that reach the old worker while it ends may time out. The SDK (1.1.1) drops tasks that it has
/// not begun, and nobody polls its sticky queue any more. The server gives them to the new worker: a
/// workflow task after ten seconds, an activity task after its start-to-close timeout.
#[tokio::test]
async fn a_worker_shuts_down_under_load() -> anyhow::Result<()> {
    let server = address()?;
    let load_test = LoadTest::new(WORKER, LOAD, server, server).await?;
    let mut first = load_test.worker().await?;
    let old = first.identity()?;
    let mut second = load_test
        .run_during(async {
            random_delay().await;
            let second = load_test.worker().await?;
            let status = first.terminate().await?;
            ensure!(status.success(), "{status}: {}", first.log()?);
            Ok(second)
        })
        .await?;
    let log = first.log()?;
    let both = log.clone() + &second.log()?;
    for history in load_test.fetch_histories().await? {
        let workflow_id = workflow_id(&history).context("no workflow id")?;
        let event = |id: i64| history.iter().find(|event| event.event_id == id);
        let name = |id: i64| event(id).and_then(name).context("no name");
        for one in &history {
            match &one.attributes {
                Some(Attributes::ActivityTaskCompletedEventAttributes(completed)) => {
                    // The check below relies on what the logs say.
                    ensure!(
                        has_begun(&both, workflow_id, &name(completed.scheduled_event_id)?),
                        "the logs do not say that it began: {one:?}: {both}"
                    );
                }
                Some(Attributes::ActivityTaskStartedEventAttributes(started)) => {
                    // The log of the old worker shows whether the first attempt had begun there.
                    ensure!(started.attempt <= 2, "{one:?}");
                    ensure!(
                        started.attempt == 1
                            || !has_begun(&log, workflow_id, &name(started.scheduled_event_id)?),
                        "begun, and begun again: {one:?}"
                    );
                }
                Some(Attributes::ActivityTaskTimedOutEventAttributes(_)) => bail!("{one:?}"),
                Some(Attributes::WorkflowTaskTimedOutEventAttributes(task)) => {
                    let whose = [task.started_event_id, task.scheduled_event_id]
                        .into_iter()
                        .find_map(|id| match event(id)?.attributes.as_ref()? {
                            Attributes::WorkflowTaskStartedEventAttributes(started) => {
                                Some(started.identity.as_str())
                            }
                            Attributes::WorkflowTaskScheduledEventAttributes(scheduled) => {
                                Some(scheduled.task_queue.as_ref()?.name.as_str())
                            }
                            _ => None,
                        });
                    ensure!(
                        whose.is_some_and(|whose| whose.starts_with(&old)),
                        "{whose:?} lost {one:?}"
                    );
                }
                _ => {}
            }
        }
    }
    second.kill().await
}

fn workflow_id(history: &[HistoryEvent]) -> Option<&str> {
    match history.first()?.attributes.as_ref()? {
        Attributes::WorkflowExecutionStartedEventAttributes(a) => Some(&a.workflow_id),
        _ => None,
    }
}

/// Whether a log says that the activity has begun to greet `name`, a JSON string.
fn has_begun(log: &str, workflow_id: &str, name: &str) -> bool {
    let parts = [
        GREETING,
        &format!("{workflow_id:?}"),
        &format!("name={name}"),
    ];
    log.lines()
        .any(|line| parts.iter().all(|part| line.contains(part)))
}

/// The name that a scheduled activity greets, as JSON.
fn name(scheduled: &HistoryEvent) -> Option<String> {
    match scheduled.attributes.as_ref()? {
        Attributes::ActivityTaskScheduledEventAttributes(a) => {
            let payload = a.input.as_ref()?.payloads.first()?;
            String::from_utf8(payload.data.clone()).ok()
        }
        _ => None,
    }
}
