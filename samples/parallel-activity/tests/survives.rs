//! What production does to a worker, done to the real worker binary under load.

#![cfg(unix)]

use anyhow::{Context, bail, ensure};
use temporalio_common::protos::temporal::api::history::v1::{
    HistoryEvent, history_event::Attributes,
};
use testing::{
    address,
    survive::{Scene, moment},
};

const WORKER: &str = env!("CARGO_BIN_EXE_parallel-activity-worker");
const LOAD: &str = include_str!("load.json");

/// What the activity logs when it begins.
const GREETING: &str = "greeting name=";

/// SIGTERM in a rolling update: the status is 0, what activities had begun is finished, none of them
/// runs again, and every workflow ends as it should.
///
/// Tasks may time out, of those that come to the old worker as it ends: the SDK (1.1.1) drops what it
/// has not begun, and what lies on its sticky queue has nobody to fetch it. The server gives them to
/// the new worker: a workflow task after ten seconds, an activity task as after any start-to-close
/// timeout.
#[tokio::test]
async fn a_worker_told_to_end() -> anyhow::Result<()> {
    let server = address()?;
    let scene = Scene::new(WORKER, LOAD, server, server).await?;
    let mut first = scene.worker().await?;
    let old = first.identity()?;
    let mut second = scene
        .play(async {
            moment().await;
            let second = scene.worker().await?;
            let status = first.terminate().await?;
            ensure!(status.success(), "{status}: {}", first.log()?);
            Ok(second)
        })
        .await?;
    let log = first.log()?;
    let both = log.clone() + &second.log()?;
    ensure!(both.contains(GREETING), "the logs do not tell: {both}");
    let mut begun_once = 0;
    for history in scene.histories().await? {
        let workflow_id = workflow_id(&history).context("no workflow id")?;
        let event = |id: i64| history.iter().find(|event| event.event_id == id);
        for one in &history {
            match &one.attributes {
                Some(Attributes::ActivityTaskStartedEventAttributes(started)) => {
                    // As it was handed out once already, the log of the old worker tells whether it had
                    // begun there.
                    ensure!(started.attempt <= 2, "{one:?}");
                    let scheduled = event(started.scheduled_event_id);
                    let name = scheduled.and_then(name).context("no name")?;
                    let id = format!("workflow_id={workflow_id:?}");
                    let line = [GREETING, &id, &format!("name={name}")];
                    let begun = log
                        .lines()
                        .any(|logged| line.iter().all(|part| logged.contains(part)));
                    if started.attempt == 2 {
                        ensure!(!begun, "begun, and begun again: {one:?}");
                    } else if started.identity.starts_with(&old) {
                        // Or the search for a line would never find one.
                        ensure!(begun, "no line with {line:?}: {log}");
                        begun_once += 1;
                    }
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
    ensure!(begun_once > 0, "the old worker has begun nothing");
    second.kill().await
}

fn workflow_id(history: &[HistoryEvent]) -> Option<&str> {
    match history.first()?.attributes.as_ref()? {
        Attributes::WorkflowExecutionStartedEventAttributes(a) => Some(&a.workflow_id),
        _ => None,
    }
}

/// Whom a scheduled activity is to greet, as JSON.
fn name(scheduled: &HistoryEvent) -> Option<String> {
    match scheduled.attributes.as_ref()? {
        Attributes::ActivityTaskScheduledEventAttributes(a) => {
            let payload = a.input.as_ref()?.payloads.first()?;
            String::from_utf8(payload.data.clone()).ok()
        }
        _ => None,
    }
}
