//! What production does to a worker, done to the real worker binary under load.

#![cfg(unix)]

use anyhow::{bail, ensure};
use shared::testing::{
    address,
    survive::{Scene, killed_worker, moment},
};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;

const WORKER: &str = env!("CARGO_BIN_EXE_parallel-activity-worker");
const LOAD: &str = include_str!("load.json");

/// Killed at a random moment, and another takes over: every workflow ends as it should.
#[tokio::test]
async fn a_killed_worker() -> anyhow::Result<()> {
    killed_worker(WORKER, LOAD).await
}

/// SIGTERM in a rolling update: the status is 0, what activities had begun is finished, none runs
/// again, and every workflow ends as it should.
///
/// Workflow tasks may time out, of those that come to the old worker as it ends: the SDK (1.1.1) drops
/// what it has not begun, and what lies on its sticky queue has nobody to fetch it. After ten seconds
/// the server gives both to the new worker.
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
    for history in scene.histories().await? {
        let event = |id: i64| history.iter().find(|event| event.event_id == id);
        for one in &history {
            match &one.attributes {
                Some(Attributes::ActivityTaskStartedEventAttributes(started)) => {
                    assert_eq!(started.attempt, 1, "{one:?}");
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
