//! Handlers on a real server: the types of their failures, and the lock that lets them run one at a time.

#![allow(missing_docs, reason = "workflows for this test alone")]

use anyhow::{Context, bail};
use serde_json::json;
use shared::{
    GRACEFUL_SHUTDOWN_PERIOD, Input, Lock, LogFields, SizeLimit, describe, handlers_finished,
    was_rejected,
};
use std::error::Error;
use temporalio_client::{
    Client, UntypedUpdate, UntypedWorkflow, WorkflowHandle, WorkflowUpdateHandle,
    errors::{WorkflowGetResultError, WorkflowQueryError, WorkflowUpdateError},
};
use temporalio_common::protos::temporal::api::{enums::v1::EventType, failure::v1::Failure};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowContextView,
    WorkflowRegistrationError, WorkflowResult,
    workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions},
};
use testing::{TestEnv, event_types, raw_json, replay, with_worker};

type AnyError = Box<dyn Error + Send + Sync>;

fn refused(by: &str) -> ApplicationFailure {
    ApplicationFailure::builder(format!("the {by} refuses"))
        .type_name("Refused".to_owned())
        .non_retryable(true)
        .details(vec![by.to_owned()])
        .build()
}

/// Its update holds the lock until the next `release`, and notes when it begins and ends.
#[workflow]
#[derive(Default)]
pub struct HandlersWorkflow {
    lock: Lock,
    log: Vec<String>,
    released: u32,
    finished: bool,
}

#[workflow_methods]
impl HandlersWorkflow {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Vec<String>> {
        let ended = ctx
            .wait_condition(|workflow| workflow.finished && ctx.all_handlers_finished())
            .await;
        // A workflow that has been cancelled waits for its handlers, too.
        handlers_finished(ctx).await?;
        ended?;
        Ok(ctx.state(|workflow| workflow.log.clone()))
    }

    #[update_validator(refuse)]
    pub fn check(&self, _ctx: &WorkflowContextView, by: &Input<String>) -> Result<(), AnyError> {
        match by.clone().into_result()?.as_str() {
            "validator" => Err(refused("validator").into()),
            _ => Ok(()),
        }
    }

    #[update(name = "refuse")]
    pub async fn refuse(
        _ctx: &mut WorkflowContext<Self>,
        by: Input<String>,
    ) -> Result<(), AnyError> {
        Err(refused(&by.into_result()?).into())
    }

    #[query(name = "ask")]
    pub fn ask(&self, _ctx: &WorkflowContextView) -> Result<(), AnyError> {
        Err(refused("query").into())
    }

    /// Notes the name when it has the lock, and again when the lock has been released as often as it has been taken.
    #[update(name = "one_at_a_time")]
    pub async fn one_at_a_time(
        ctx: &mut WorkflowContext<Self>,
        name: Input<String>,
    ) -> Result<(), AnyError> {
        let name = name.into_result()?;
        let lock = ctx.state(|workflow| workflow.lock.clone());
        let _guard = lock.lock(ctx).await?;
        let taken = ctx.state_mut(|workflow| {
            workflow.log.push(format!("+{name}"));
            workflow
                .log
                .iter()
                .filter(|entry| entry.starts_with('+'))
                .count()
        });
        ctx.wait_condition(|workflow| workflow.released as usize >= taken)
            .await?;
        ctx.state_mut(|workflow| workflow.log.push(format!("-{name}")));
        if name == "fails" {
            return Err("the holder fails".into());
        }
        Ok(())
    }

    /// Waits for the lock, but gives up at the next `release`.
    #[update(name = "impatient")]
    pub async fn impatient(
        ctx: &mut WorkflowContext<Self>,
        _nothing: Input<()>,
    ) -> Result<bool, AnyError> {
        let lock = ctx.state(|workflow| workflow.lock.clone());
        let released = ctx.state(|workflow| workflow.released);
        let give_up = ctx.wait_condition(|workflow| workflow.released > released);
        futures::pin_mut!(give_up);
        let waiting = lock.lock(ctx);
        futures::pin_mut!(waiting);
        let got_it = match futures::future::select(give_up, waiting).await {
            futures::future::Either::Left(_) => false,
            futures::future::Either::Right(_) => true,
        };
        Ok(got_it)
    }

    #[signal(name = "release")]
    pub fn release(&mut self, _ctx: &mut SyncWorkflowContext<Self>, times: Input<u32>) {
        self.released += times.into_result().unwrap_or_default();
    }

    #[signal(name = "finish")]
    pub fn finish(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.finished = true;
    }

    #[query(name = "log")]
    pub fn log(&self, _ctx: &WorkflowContextView) -> (Vec<String>, bool) {
        (self.log.clone(), self.lock.is_locked())
    }
}

fn worker_options(
    task_queue: &str,
    cached: usize,
) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .max_cached_workflows(cached)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<HandlersWorkflow>()?
        .workflow_interceptor(LogFields::in_workflows())
        .workflow_interceptor(SizeLimit::in_workflows())
        .build())
}

type Handle = WorkflowHandle<Client, HandlersWorkflow>;

async fn start(env: &TestEnv) -> anyhow::Result<Handle> {
    let options = env.start_options();
    let id = options.workflow_id.clone();
    env.client
        .start_workflow(HandlersWorkflow::run, (), options)
        .await?;
    Ok(env.client.get_workflow_handle(id))
}

/// Checks that nothing of the failure of [`refused`] is missing.
fn check_refused(failure: &Failure, by: &str) {
    let info = failure
        .maybe_application_failure()
        .cloned()
        .unwrap_or_default();
    let details = info.details.unwrap_or_default().payloads;
    assert_eq!(failure.message, format!("the {by} refuses"));
    assert_eq!((&*info.r#type, info.non_retryable), ("Refused", true));
    let data: Vec<&[u8]> = details.iter().map(|payload| &*payload.data).collect();
    assert_eq!(data, [json!([by]).to_string().as_bytes()]);
}

/// The failures of a validator and of an update handler arrive with type, details and flag, and the client can tell
/// which update was rejected, also after the workflow has closed. `describe` prints the type.
#[tokio::test]
async fn failures_keep_their_types() -> anyhow::Result<()> {
    with_worker(
        |queue| worker_options(queue, 1000),
        async |env| {
            let handle = start(&env).await?;
            let mut updates = Vec::new();
            for (by, rejected) in [("validator", true), ("handler", false)] {
                let update = handle
                    .start_update(HandlersWorkflow::refuse, by.into(), Default::default())
                    .await?;
                let error = update
                    .get_result(Default::default())
                    .await
                    .err()
                    .context("done")?;
                assert_eq!(
                    describe(&error),
                    format!("update failed: the {by} refuses (Refused)")
                );
                let WorkflowUpdateError::Failed(failure) = error else {
                    bail!("{error:?}");
                };
                check_refused(&failure, by);
                assert_eq!(was_rejected(&env.client, &update).await?, rejected, "{by}");
                updates.push(update);
            }
            let untyped = env
                .client
                .get_workflow_handle::<UntypedWorkflow>(&handle.info().workflow_id);
            let unknown = untyped
                .start_update(
                    UntypedUpdate::new("unknown"),
                    raw_json(&[]),
                    Default::default(),
                )
                .await?;
            assert!(unknown.get_result(Default::default()).await.is_err());
            assert!(was_rejected(&env.client, &unknown).await?);

            let asked = handle
                .query(HandlersWorkflow::ask, (), Default::default())
                .await;
            let Err(WorkflowQueryError::Rpc(status)) = asked else {
                bail!("{asked:?}");
            };
            assert_eq!(status.message(), "the query refuses");

            handle
                .signal(HandlersWorkflow::finish, (), Default::default())
                .await?;
            handle.get_result(Default::default()).await?;
            assert!(was_rejected(&env.client, &updates[0]).await?);
            assert!(!was_rejected(&env.client, &updates[1]).await?);
            let history = event_types(&handle).await?;
            let accepted =
                |event: &&EventType| **event == EventType::WorkflowExecutionUpdateAccepted;
            assert_eq!(history.iter().filter(accepted).count(), 1);
            Ok(())
        },
    )
    .await
}

async fn release(handle: &Handle, times: u32) -> anyhow::Result<()> {
    let signal = HandlersWorkflow::release;
    Ok(handle
        .signal(signal, times.into(), Default::default())
        .await?)
}

async fn log(handle: &Handle) -> anyhow::Result<(Vec<String>, bool)> {
    let log = HandlersWorkflow::log;
    Ok(handle.query(log, (), Default::default()).await?)
}

/// Starts updates that ask for the lock in the order of their names, and returns when the server has accepted all.
async fn start_all(
    handle: &Handle,
    names: &[&str],
) -> anyhow::Result<Vec<WorkflowUpdateHandle<Client, ()>>> {
    let mut started = Vec::new();
    for name in names {
        let update = HandlersWorkflow::one_at_a_time;
        started.push(
            handle
                .start_update(update, (*name).into(), Default::default())
                .await?,
        );
    }
    Ok(started)
}

async fn replays(handle: &Handle) -> anyhow::Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<HandlersWorkflow>()?
        .build();
    let history = handle.fetch_history(Default::default());
    replay(&WorkflowReplayer::new(options)?, history).await?;
    Ok(())
}

/// Handlers get the lock in the order in which they asked for it, also after one has failed and after one has given
/// up. The history replays, with a worker that caches the workflow and with one that replays it in each task.
#[tokio::test]
async fn the_lock_is_fair() -> anyhow::Result<()> {
    for cached in [1000, 0] {
        let options = |queue: &str| worker_options(queue, cached);
        with_worker(options, async |env| {
            let handle = start(&env).await?;
            let names = ["a", "fails", "b", "c"];
            let updates = start_all(&handle, &names[..2]).await?;
            let impatient = handle
                .start_update(HandlersWorkflow::impatient, ().into(), Default::default())
                .await?;
            let more = start_all(&handle, &names[2..]).await?;
            // Nobody but the first has the lock.
            assert_eq!(log(&handle).await?, (vec!["+a".to_owned()], true));
            release(&handle, 1).await?;
            assert!(!impatient.get_result(Default::default()).await?);
            release(&handle, 3).await?;
            for (update, name) in updates.iter().chain(&more).zip(names) {
                let result = update.get_result(Default::default()).await;
                assert_eq!(result.is_ok(), name != "fails", "{result:?}");
            }
            let expected = names
                .iter()
                .flat_map(|name| [format!("+{name}"), format!("-{name}")]);
            let expected: Vec<String> = expected.collect();
            assert_eq!(log(&handle).await?, (expected.clone(), false));
            let finish = HandlersWorkflow::finish;
            handle.signal(finish, (), Default::default()).await?;
            assert_eq!(handle.get_result(Default::default()).await?, expected);
            replays(&handle).await
        })
        .await?;
    }
    Ok(())
}

/// When the workflow is cancelled, handlers that wait for the lock fail, and the workflow ends CANCELED after them.
#[tokio::test]
async fn the_lock_can_be_cancelled() -> anyhow::Result<()> {
    with_worker(
        |queue| worker_options(queue, 1000),
        async |env| {
            let handle = start(&env).await?;
            let updates = start_all(&handle, &["a", "b"]).await?;
            handle.cancel(Default::default()).await?;
            for update in &updates {
                let error = update
                    .get_result(Default::default())
                    .await
                    .err()
                    .context("done")?;
                assert!(matches!(error, WorkflowUpdateError::Failed(_)), "{error:?}");
            }
            let ended = handle.get_result(Default::default()).await;
            assert!(
                matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
                "{ended:?}"
            );
            replays(&handle).await
        },
    )
    .await
}
