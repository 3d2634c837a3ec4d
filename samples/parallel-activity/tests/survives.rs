//! What production does to a worker, done to the real worker binary under load.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "no workflow code in here")]

use anyhow::{Context, bail, ensure};
use shared::testing::{
    address,
    survive::{Scene, killed_worker, moment},
};
use std::time::{Duration, SystemTime};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;

const WORKER: &str = env!("CARGO_BIN_EXE_parallel-activity-worker");
const LOAD: &str = include_str!("load.json");

/// From the start of an attempt that nobody makes to the second: start-to-close, and the first interval
/// of the default retry policy.
const TO_SECOND_ATTEMPT: Duration = Duration::from_secs(5 + 1);

/// How long before the signal the server may have handed out a task that the worker has not begun:
/// half as long as an activity takes, so that one which was begun is not taken for such a task.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// Killed at a random moment, and another takes over: every workflow ends as it should.
#[tokio::test]
async fn a_killed_worker() -> anyhow::Result<()> {
    killed_worker(WORKER, LOAD).await
}

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
    let (mut second, told) = scene
        .play(async {
            moment().await;
            let second = scene.worker().await?;
            let told = SystemTime::now();
            let status = first.terminate().await?;
            ensure!(status.success(), "{status}: {}", first.log()?);
            Ok((second, told))
        })
        .await?;
    for history in scene.histories().await? {
        let event = |id: i64| history.iter().find(|event| event.event_id == id);
        for one in &history {
            match &one.attributes {
                Some(Attributes::ActivityTaskStartedEventAttributes(started)) => {
                    let before = TO_SECOND_ATTEMPT * (started.attempt - 1).cast_unsigned();
                    let first = SystemTime::try_from(one.event_time.context("no time")?)? - before;
                    ensure!(before.is_zero() || first + ON_ITS_WAY >= told, "{one:?}");
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
