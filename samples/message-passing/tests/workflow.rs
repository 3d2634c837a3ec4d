//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, bail};
use futures::future::{join, try_join3};
use message_passing::{
    language::Language::{self, Arabic, Chinese, English, French, Hindi},
    worker_options,
    workflows::{Approve, GetLanguages, GreetingWorkflow, SetLanguage},
};
use serde_json::{Value, json};
use shared::{describe, was_rejected};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use temporalio_client::{
    Client, UntypedQuery, UntypedSignal, UntypedUpdate, UntypedWorkflow, WorkflowHandle,
    WorkflowUpdateHandle,
    errors::{WorkflowGetResultError, WorkflowUpdateError},
};
use temporalio_common::{
    data_converters::PayloadConverter,
    protos::temporal::api::{
        enums::v1::EventType::{self, ActivityTaskScheduled},
        history::v1::history_event::Attributes,
    },
};
use temporalio_macros::activities;
use temporalio_sdk::{
    WorkerOptions, WorkflowRegistrationError,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, activity_types, event_types, events, raw_json, until, with_worker};
use tokio::time::sleep;

type Handle = WorkflowHandle<Client, GreetingWorkflow>;

/// The worker's options, with a service that does not know French.
fn options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    worker_options(task_queue, vec![French])
}

/// A greeting service that answers when a test opens it, or when its worker shuts down.
#[derive(Clone, Default)]
pub struct ClosedService(Arc<AtomicBool>);

#[activities]
impl ClosedService {
    #[activity(name = "call_greeting_service")]
    pub async fn call_greeting_service(
        self: Arc<Self>,
        ctx: ActivityContext,
        language: Language,
    ) -> Result<Option<String>, ActivityError> {
        while !self.0.load(Ordering::Relaxed) {
            if ctx.is_cancelled() {
                return Err(ActivityError::cancelled());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(Some(format!("{language}")))
    }
}

impl ClosedService {
    fn open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The worker's options with this service.
    fn options(&self, task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
        Ok(WorkerOptions::new(task_queue)
            .graceful_shutdown_period(Duration::ZERO)
            .register_workflow::<GreetingWorkflow>()?
            .register_activities(self.clone())
            .build())
    }
}

async fn start(env: &TestEnv) -> anyhow::Result<Handle> {
    env.start_json("GreetingWorkflow", &[]).await
}

async fn languages(handle: &Handle, include_unsupported: bool) -> anyhow::Result<Vec<Language>> {
    let input = GetLanguages {
        include_unsupported,
    };
    let query = handle.query(
        GreetingWorkflow::get_languages,
        input.into(),
        Default::default(),
    );
    Ok(query.await?)
}

async fn language(handle: &Handle) -> anyhow::Result<Language> {
    let query = handle.query(
        GreetingWorkflow::get_language,
        ().into(),
        Default::default(),
    );
    Ok(query.await?)
}

async fn set(handle: &Handle, language: Language) -> Result<Language, WorkflowUpdateError> {
    let input = SetLanguage { language }.into();
    let method = GreetingWorkflow::set_language;
    handle
        .execute_update(method, input, Default::default())
        .await
}

async fn set_using_activity(
    handle: &Handle,
    language: Language,
) -> Result<Language, WorkflowUpdateError> {
    let update = start_using_activity(handle, language).await?;
    update.get_result(Default::default()).await
}

async fn start_using_activity(
    handle: &Handle,
    language: Language,
) -> Result<WorkflowUpdateHandle<Client, Language>, WorkflowUpdateError> {
    let input = SetLanguage { language }.into();
    let method = GreetingWorkflow::set_language_using_activity;
    handle.start_update(method, input, Default::default()).await
}

async fn approve(handle: &Handle) -> anyhow::Result<()> {
    let name = String::new();
    let approve = GreetingWorkflow::approve;
    let input = Some(Approve { name }).into();
    Ok(handle.signal(approve, input, Default::default()).await?)
}

async fn result(handle: &Handle) -> anyhow::Result<String> {
    Ok(handle.get_result(Default::default()).await?)
}

/// Counts the updates that the history contains.
async fn accepted(handle: &Handle) -> anyhow::Result<usize> {
    let events = event_types(handle).await?;
    let accepted = |event: &&EventType| **event == EventType::WorkflowExecutionUpdateAccepted;
    Ok(events.iter().filter(accepted).count())
}

/// What the published starter does: queries, an update, an update that calls the activity, and a signal. The activity
/// has the options of the README.
#[tokio::test]
async fn greets_in_the_language_of_the_updates() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let handle = start(&env).await?;
        assert_eq!(languages(&handle, false).await?, [Chinese, English]);
        assert_eq!(languages(&handle, true).await?, Language::ALL);
        assert_eq!(set(&handle, Chinese).await?, English);
        assert_eq!(language(&handle).await?, Chinese);
        assert_eq!(set_using_activity(&handle, Arabic).await?, Chinese);
        // Now the workflow has the greeting, so the activity does not run again.
        assert_eq!(set_using_activity(&handle, Arabic).await?, Arabic);
        assert_eq!(languages(&handle, false).await?, [Arabic, Chinese, English]);
        approve(&handle).await?;
        assert_eq!(result(&handle).await?, "مرحبا بالعالم");
        assert_eq!(activity_types(&handle).await?, ["call_greeting_service"]);
        // Queries are answered after the end, and are not in the history. Updates are not accepted any more.
        assert_eq!(language(&handle).await?, Arabic);
        assert_eq!(accepted(&handle).await?, 3);
        let late = set(&handle, Chinese).await;
        assert!(
            matches!(late, Err(WorkflowUpdateError::NotFound(_))),
            "{late:?}"
        );
        let scheduled =
            events(&handle)
                .await?
                .into_iter()
                .find_map(|event| match event.attributes {
                    Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
                        Some(scheduled)
                    }
                    _ => None,
                });
        let scheduled = scheduled.context("no activity")?;
        let seconds = |seconds| Duration::from_secs(seconds).try_into().ok();
        assert_eq!(scheduled.start_to_close_timeout, seconds(10));
        assert_eq!(scheduled.schedule_to_close_timeout, seconds(60));
        Ok(())
    })
    .await
}

/// A rejected update leaves nothing in the history, and a failed one its acceptance. The client can tell which is which,
/// although both failures have the same type, and the workflow goes on.
#[tokio::test]
async fn rejected_and_failed_updates() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let handle = start(&env).await?;
        let input = SetLanguage { language: French };
        let update = GreetingWorkflow::set_language;
        let rejected = handle
            .start_update(update, input.into(), Default::default())
            .await?;
        let failed = start_using_activity(&handle, French).await?;
        for (update, is_rejected, message) in [
            (&rejected, true, "FRENCH is not supported"),
            (&failed, false, "Greeting service does not support FRENCH"),
        ] {
            let error = update
                .get_result(Default::default())
                .await
                .err()
                .context("done")?;
            let expected = format!("update failed: {message} (LanguageNotSupported)");
            assert_eq!(describe(&error), expected);
            assert_eq!(was_rejected(&env.client, update).await?, is_rejected);
        }
        assert_eq!(accepted(&handle).await?, 1);
        assert_eq!(language(&handle).await?, English);
        assert_eq!(set(&handle, Chinese).await?, English);
        approve(&handle).await?;
        assert_eq!(result(&handle).await?, "你好，世界");
        Ok(())
    })
    .await
}

/// Concurrent updates run one after the other, in the order in which they were sent. Two updates to the same new
/// language call the service once, and an update without await gets its turn in between. The workflow is approved
/// meanwhile, and waits for all of them.
#[tokio::test]
async fn concurrent_updates() -> anyhow::Result<()> {
    let service = ClosedService::default();
    with_worker(
        |queue| service.options(queue),
        async |env| {
            let handle = start(&env).await?;
            let arabic = start_using_activity(&handle, Arabic).await?;
            let again = start_using_activity(&handle, Arabic).await?;
            let hindi = start_using_activity(&handle, Hindi).await?;
            approve(&handle).await?;
            assert_eq!(set(&handle, Chinese).await?, English);
            service.open();
            let previous = try_join3(
                arabic.get_result(Default::default()),
                again.get_result(Default::default()),
                hindi.get_result(Default::default()),
            );
            assert_eq!(previous.await?, (Chinese, Arabic, Arabic));
            assert_eq!(result(&handle).await?, "HINDI");
            assert_eq!(activity_types(&handle).await?, ["call_greeting_service"; 2]);
            Ok(())
        },
    )
    .await
}

/// Messages that arrive before the first line of `run` find the state that they need, and are handled.
#[tokio::test]
async fn messages_before_the_first_task() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env).await?;
    approve(&handle).await?;
    let working = env.work(options, async {
        let greeting = result(&handle).await?;
        assert!(
            ["Hello, world", "你好，世界"].contains(&&*greeting),
            "{greeting}"
        );
        Ok(())
    });
    // The update may also reach the server after the workflow has ended.
    let (update, working) = join(set(&handle, Chinese), working).await;
    working?;
    match update {
        Ok(previous) => assert_eq!(previous, English),
        Err(error) => assert!(
            matches!(error, WorkflowUpdateError::NotFound(_)),
            "{error:?}"
        ),
    }
    Ok(())
}

/// A cancelled workflow lets its update end before it ends itself, CANCELED: the update fails because its activity is
/// cancelled, and the caller does not hear that the workflow is gone.
#[tokio::test]
async fn cancelled_during_an_update() -> anyhow::Result<()> {
    let service = ClosedService::default();
    with_worker(
        |queue| service.options(queue),
        async |env| {
            let handle = start(&env).await?;
            let update = start_using_activity(&handle, Arabic).await?;
            let waiting = start_using_activity(&handle, Hindi).await?;
            until(&handle, ActivityTaskScheduled).await?;
            handle.cancel(Default::default()).await?;
            for update in [update, waiting] {
                let ended = update.get_result(Default::default()).await;
                let Err(WorkflowUpdateError::Failed(failure)) = ended else {
                    bail!("{ended:?}");
                };
                assert!(!failure.message.contains("completed before"), "{failure:?}");
            }
            let ended = handle.get_result(Default::default()).await;
            assert!(
                matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
                "{ended:?}"
            );
            Ok(())
        },
    )
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = start(&env).await?;
    env.ends_cancelled(&handle, options).await
}

/// Bad input of an update or a query reaches its caller, and bad input of a signal is ignored. The workflow goes on,
/// and an approval needs no argument.
#[tokio::test]
async fn refuses_bad_messages() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        let handle = start(&env).await?;
        let untyped = env
            .client
            .get_workflow_handle::<UntypedWorkflow>(&handle.info().workflow_id);
        let cases: [(&[Value], &str); 4] = [
            (&[], "the argument is missing"),
            (&[json!({})], "missing field `language`"),
            (
                &[json!({"language": 8})],
                "`language`: 8 is not a language, send a number from 1 to 7",
            ),
            (
                &[json!({"language": "ARABIC"})],
                "`language`: invalid type: string \"ARABIC\", expected u8",
            ),
        ];
        for (arguments, reason) in cases {
            for (update, rejected) in [
                ("set_language", true),
                ("set_language_using_activity", false),
            ] {
                let update = UntypedUpdate::new(update);
                let update = untyped.start_update(update, raw_json(arguments), Default::default());
                let update = update.await?;
                let error = update
                    .get_result(Default::default())
                    .await
                    .err()
                    .context("done")?;
                let expected = format!("update failed: bad input: {reason} (BadInput)");
                assert_eq!(describe(&error), expected);
                assert_eq!(
                    was_rejected(&env.client, &update).await?,
                    rejected,
                    "{reason}"
                );
            }
        }
        let query = UntypedQuery::new("get_languages");
        let asked = untyped
            .query(query, raw_json(&[json!({})]), Default::default())
            .await;
        let error = asked.err().context("answered")?;
        let reason = "bad input: missing field `include_unsupported`";
        assert!(describe(&error).contains(reason), "{}", describe(&error));

        let signal = async |arguments: &[Value]| {
            let approve = UntypedSignal::new("approve");
            untyped
                .signal(approve, raw_json(arguments), Default::default())
                .await
        };
        signal(&[json!({"name": 7})]).await?;
        signal(&[json!("Ada")]).await?;
        // The query is answered after the signals, and none of them has ended the workflow.
        for arguments in [&[][..], &[json!(null)]] {
            let query = UntypedQuery::new("get_language");
            let current = untyped
                .query(query, raw_json(arguments), Default::default())
                .await?;
            let current: Language = current.to_value(&PayloadConverter::default());
            assert_eq!(current, English);
        }
        signal(&[]).await?;
        assert_eq!(result(&handle).await?, "Hello, world");
        Ok(())
    })
    .await
}

/// The workflow takes no argument, and ignores any that it gets.
#[tokio::test]
async fn ignores_arguments() -> anyhow::Result<()> {
    with_worker(options, async |env| {
        for arguments in [&[json!(null)][..], &[json!("World"), json!(1)]] {
            let handle: Handle = env.start_json("GreetingWorkflow", arguments).await?;
            approve(&handle).await?;
            assert_eq!(result(&handle).await?, "Hello, world");
        }
        Ok(())
    })
    .await
}
