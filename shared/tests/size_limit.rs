//! Sends payloads of many sizes to a real server, with and without the codec. A payload that is too large fails its
//! workflow within seconds, and the failure names the size and the limit.

#![allow(missing_docs, reason = "workflows for this test alone")]

use anyhow::{Context, ensure};
use payload_codec::{DEVELOPMENT_KEY_ID, EncryptionCodec, KeyRing, PUBLISHED_DEVELOPMENT_KEY};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{Input, Inputs, Json, MAX_ERROR, MAX_INPUT, MAX_RESULT, SizeLimit, describe};
use std::{fmt::Debug, time::Duration};
use temporalio_client::{Client, WorkflowHandle, errors::WorkflowGetResultError};
use temporalio_common::{
    HasWorkflowDefinition, RetryPolicy,
    data_converters::{
        DataConverter, DefaultFailureConverter, PayloadConverter, TemporalDeserializable,
    },
    error::{ApplicationErrorCategory, IncomingError},
    protos::temporal::api::enums::v1::EventType,
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, ChildWorkflowOptions, LocalActivityOptions,
    SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowRegistrationError, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, activity_types, bad_input, event_types, with_worker};

/// Approximately the largest argument that the server itself accepts. The exact size depends on metadata.
const NEARLY_2_MIB: usize = (2 << 20) - 200;

/// Returns a text whose JSON has this many bytes.
fn text(bytes: usize) -> String {
    "x".repeat(bytes - 2)
}

/// Passes its input to an activity, and returns the activity's result.
#[workflow]
#[derive(Default)]
pub struct EchoWorkflow;

#[workflow_methods]
impl EchoWorkflow {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        text: Input<String>,
    ) -> WorkflowResult<String> {
        let text = text.decode(ctx)?;
        Ok(ctx
            .execute_activity(Activities::echo, text, options())
            .await?)
    }
}

/// Returns the sizes of its two arguments.
#[workflow]
#[derive(Default)]
pub struct PairWorkflow;

#[workflow_methods]
impl PairWorkflow {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        pair: Inputs<String, String>,
    ) -> WorkflowResult<(usize, usize)> {
        let (first, second) = pair.decode(ctx)?;
        Ok((first.len(), second.unwrap_or_default().len()))
    }
}

/// Kind of payload that a [`MakeWorkflow`] creates.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub enum Make {
    ActivityResult,
    ActivityBytes,
    LocalActivityResult,
    WorkflowResult,
    ActivityInput,
    LocalActivityInput,
    ChildInput,
    SignalInput,
    ContinueAsNewInput,
    ActivityError,
    ActivityErrorInAChain,
    LocalActivityError,
    WorkflowError,
    ActivityDetails,
}

/// Creates a payload with this number of bytes. Returns the number, or a text of that size.
#[workflow]
#[derive(Default)]
pub struct MakeWorkflow;

#[workflow_methods]
impl MakeWorkflow {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: Input<(Make, usize, String)>,
    ) -> WorkflowResult<Value> {
        let (make, size, padding) = input.decode(ctx)?;
        let local = LocalActivityOptions::builder()
            .start_to_close_timeout(Duration::from_secs(5))
            .retry_policy(RetryPolicy::builder().maximum_attempts(1).build())
            .build();
        let id = format!("{}-child", ctx.workflow_id());
        match make {
            _ if !padding.is_empty() => {}
            Make::ActivityResult
            | Make::ActivityError
            | Make::ActivityErrorInAChain
            | Make::ActivityDetails => {
                let made = ctx.execute_activity(Activities::make, (make, size), options());
                return Ok(json!(made.await?.len()));
            }
            Make::ActivityBytes => {
                let made = ctx.execute_activity(Activities::bytes, size, options());
                return Ok(json!(made.await?.len()));
            }
            Make::LocalActivityResult | Make::LocalActivityError => {
                let made = ctx.execute_local_activity(Activities::make, (make, size), local);
                return Ok(json!(made.await?.len()));
            }
            Make::WorkflowResult => return Ok(json!(text(size))),
            Make::ActivityInput => {
                ctx.execute_activity(Activities::echo, text(size), options())
                    .await?;
            }
            Make::LocalActivityInput => {
                ctx.execute_local_activity(Activities::echo, text(size), local)
                    .await?;
            }
            Make::ChildInput => {
                let options = ChildWorkflowOptions::workflow_id(id);
                let child = ctx.start_child_workflow(EchoWorkflow::run, text(size), options);
                child.await?.result().await?;
            }
            Make::SignalInput => {
                let options = ChildWorkflowOptions::workflow_id(id);
                let child = ctx.start_child_workflow(WaitingWorkflow::run, (), options);
                let child = child.await?;
                child
                    .signal(WaitingWorkflow::end, text(size).into(), Default::default())
                    .await?;
                child.result().await?;
            }
            Make::ContinueAsNewInput => {
                let frame = serde_json::to_string(&(make, size, "")).unwrap_or_default();
                let input = (make, size, "x".repeat(size - frame.len()));
                ctx.continue_as_new(input.into(), Default::default())?;
            }
            Make::WorkflowError => {
                let failure = ApplicationFailure::builder("x".repeat(size));
                return Err(failure.type_name("Made".to_owned()).build().into());
            }
        }
        Ok(json!(size))
    }
}

/// Returns texts from an update, until a signal ends it.
#[workflow]
#[derive(Default)]
pub struct WaitingWorkflow {
    ended: bool,
}

#[workflow_methods]
impl WaitingWorkflow {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, _nothing: Input<()>) -> WorkflowResult<()> {
        ctx.wait_condition(|this| this.ended).await?;
        Ok(())
    }

    #[update]
    pub fn make(&mut self, _ctx: &mut SyncWorkflowContext<Self>, size: Input<usize>) -> String {
        size.into_result().map(text).unwrap_or_default()
    }

    #[signal]
    pub fn end(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _text: Input<String>) {
        self.ended = true;
    }
}

pub struct Activities;

#[activities]
impl Activities {
    #[activity(name = "echo")]
    pub async fn echo(_ctx: ActivityContext, text: Json<String>) -> Result<String, ActivityError> {
        Ok(text.0)
    }

    #[activity(name = "make")]
    pub async fn make(
        _ctx: ActivityContext,
        (make, size): (Make, usize),
    ) -> Result<String, ActivityError> {
        let failure = match make {
            Make::ActivityResult | Make::LocalActivityResult => return Ok(text(size)),
            Make::ActivityErrorInAChain => {
                let cause = anyhow::anyhow!("x".repeat(size)).context("made");
                ApplicationFailure::builder(cause)
            }
            Make::ActivityDetails => {
                let failure = ApplicationFailure::builder("made").details(text(size));
                return Err(failure.non_retryable(true).build().into());
            }
            _ => ApplicationFailure::builder("x".repeat(size)),
        };
        let failure = failure
            .type_name("Made".to_owned())
            .category(ApplicationErrorCategory::Benign)
            .next_retry_delay(Duration::from_millis(1));
        Err(failure.build().into())
    }

    #[activity(name = "bytes")]
    pub async fn bytes(_ctx: ActivityContext, size: usize) -> Result<Vec<u8>, ActivityError> {
        Ok(vec![0xff; size])
    }
}

/// Returns options with two attempts, which show whether a failure is retried.
fn options() -> ActivityOptions {
    let policy = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(10))
        .maximum_attempts(2)
        .build();
    ActivityOptions::with_start_to_close_timeout(Duration::from_secs(5))
        .retry_policy(policy)
        .build()
}

fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<EchoWorkflow>()?
        .register_workflow::<PairWorkflow>()?
        .register_workflow::<MakeWorkflow>()?
        .register_workflow::<WaitingWorkflow>()?
        .register_activities(Activities)
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .build())
}

/// Returns data converters without a codec, with encryption, and with compression and encryption.
fn data_converters() -> anyhow::Result<[(&'static str, DataConverter); 3]> {
    let codec = || {
        let keys = KeyRing::new(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)?;
        anyhow::Ok(EncryptionCodec::new(keys))
    };
    let converter = |codec| {
        DataConverter::new(
            PayloadConverter::default(),
            DefaultFailureConverter::default(),
            codec,
        )
    };
    Ok([
        ("plain", DataConverter::default()),
        ("encrypted", converter(codec()?)),
        ("compressed", converter(codec()?.compress_from(Some(1)))),
    ])
}

async fn with_every_codec<F>(body: impl Fn(&'static str, TestEnv) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    for (codec, converter) in data_converters()? {
        let env = TestEnv::with_data_converter(converter).await?;
        env.work(worker_options, body(codec, env.clone()))
            .await
            .context(codec)?;
    }
    Ok(())
}

/// Returns how a workflow ended. Fails if it takes longer than a few seconds.
async fn end<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Result<W::Output, String>>
where
    W::Output: TemporalDeserializable,
{
    let result = handle.get_result(Default::default());
    let result = tokio::time::timeout(Duration::from_secs(20), result).await;
    Ok(result
        .context("the workflow hangs")?
        .map_err(|error| describe(&error)))
}

/// Runs a [`MakeWorkflow`], and returns how it ended.
async fn made(env: &TestEnv, make: Make, size: usize) -> anyhow::Result<Result<Value, String>> {
    let input = json!([make, size, ""]);
    let handle = env
        .start_json::<MakeWorkflow>("MakeWorkflow", &[input])
        .await?;
    end(&handle).await
}

fn assert_ends<T: Debug>(what: impl Debug, ended: Result<T, String>, failure: &str) {
    match ended {
        Err(error) => assert_eq!(error, format!("workflow failed: {failure}"), "{what:?}"),
        Ok(value) => {
            let value = format!("{value:?}");
            let short: String = value.chars().take(80).collect();
            panic!("{what:?} completed with {short}, instead of: {failure}");
        }
    }
}

/// An input of exactly the limit passes through an activity and back. One byte more fails the workflow before it runs
/// an activity, and so does the largest input that the server accepts. For compressed input, the decompressed size
/// counts.
#[tokio::test]
async fn input() -> anyhow::Result<()> {
    with_every_codec(async |codec, env| {
        let more = match codec {
            "plain" => vec![MAX_INPUT - 1, NEARLY_2_MIB],
            "compressed" => vec![5 << 20],
            _ => vec![],
        };
        for size in [MAX_INPUT, MAX_INPUT + 1].into_iter().chain(more) {
            let input = [json!(text(size))];
            let handle = env
                .start_json::<EchoWorkflow>("EchoWorkflow", &input)
                .await?;
            if size <= MAX_INPUT {
                let echoed = end(&handle).await?;
                assert_eq!(echoed.map(|echoed| echoed.len()), Ok(size - 2));
            } else {
                let reason = format!("{size} bytes, more than the limit of 1572864");
                assert_eq!(bad_input(&handle).await?, reason);
                assert!(activity_types(&handle).await?.is_empty());
            }
        }
        Ok(())
    })
    .await
}

/// The limit applies to the total size of two arguments.
#[tokio::test]
async fn arguments_count_together() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let half = MAX_INPUT / 2;
        for excess in [0, 1] {
            let arguments = [json!(text(half)), json!(text(half + excess))];
            let handle = env
                .start_json::<PairWorkflow>("PairWorkflow", &arguments)
                .await?;
            if excess == 0 {
                assert_eq!(end(&handle).await?, Ok((half - 2, half - 2)));
            } else {
                let reason = format!(
                    "{} bytes, more than the limit of {MAX_INPUT}",
                    MAX_INPUT + 1
                );
                assert_eq!(bad_input(&handle).await?, reason);
            }
        }
        Ok(())
    })
    .await
}

/// Our client refuses to send an input that the workflow would refuse.
#[tokio::test]
async fn clients_refuse_to_send_too_much() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let half = MAX_INPUT / 2;
    let start = |text: String| {
        let input = text.into();
        env.client
            .start_workflow(EchoWorkflow::run, input, env.start_options())
    };
    let start_pair = |first: String, second: String| {
        let input = (first, Some(second)).into();
        env.client
            .start_workflow(PairWorkflow::run, input, env.start_options())
    };
    start(text(MAX_INPUT)).await?;
    start_pair(text(half), text(half)).await?;
    let refused = [
        start(text(MAX_INPUT + 1)).await.err(),
        start_pair(text(half), text(half + 1)).await.err(),
    ];
    for error in refused {
        let error = describe(&error.context("started")?);
        assert_eq!(
            error,
            "Failed to serialize workflow input: Encoding error: \
             the input has 1572865 bytes, more than the limit of 1572864"
        );
    }
    Ok(())
}

/// A result of exactly the limit arrives. A larger result fails at the first attempt: with one byte more, and with more
/// than a request to the server can have.
#[tokio::test]
async fn results() -> anyhow::Result<()> {
    let makers = [
        (Make::ActivityResult, "activity make failed: "),
        (Make::ActivityBytes, "activity bytes failed: "),
        // The failure of a local activity is not wrapped in another failure.
        (Make::LocalActivityResult, ""),
        (Make::WorkflowResult, ""),
    ];
    with_every_codec(async |codec, env| {
        for (make, activity) in makers {
            for size in [MAX_RESULT, MAX_RESULT + 1, NEARLY_2_MIB, 5 << 20] {
                // A failed result never reaches the codec.
                if size > MAX_RESULT + 1 && codec != "plain" {
                    continue;
                }
                let ended = made(&env, make, size).await?;
                if size == MAX_RESULT {
                    assert!(ended.is_ok(), "{make:?}: {ended:?}");
                    continue;
                }
                let failure = format!(
                    "{activity}the result has {size} bytes, more than the limit of 2088960 (TooLarge)"
                );
                assert_ends((make, size), ended, &failure);
            }
        }
        Ok(())
    })
    .await
}

/// The input limit applies to everything that a workflow sends: to an activity, a child, a signal or its next run.
#[tokio::test]
async fn outgoing_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for make in [
            Make::ActivityInput,
            Make::LocalActivityInput,
            Make::ChildInput,
            Make::SignalInput,
            Make::ContinueAsNewInput,
        ] {
            let ended = made(&env, make, MAX_INPUT).await?;
            assert_eq!(ended, Ok(json!(MAX_INPUT)), "{make:?}");
            for size in [MAX_INPUT + 1, 5 << 20] {
                let ended = made(&env, make, size).await?;
                let failure = format!(
                    "the input has {size} bytes, more than the limit of 1572864 (TooLarge)"
                );
                assert_ends((make, size), ended, &failure);
            }
        }
        Ok(())
    })
    .await
}

/// An error's text of up to the limit arrives unchanged. A longer text is shortened. The failure keeps its type, and is
/// retried as before.
#[tokio::test]
async fn errors() -> anyhow::Result<()> {
    let makers = [
        (Make::ActivityError, "activity make failed: "),
        (Make::LocalActivityError, ""),
        (Make::WorkflowError, ""),
    ];
    with_worker(worker_options, async |env| {
        for (make, activity) in makers {
            for size in [MAX_ERROR, MAX_ERROR + 1, NEARLY_2_MIB, 5 << 20] {
                let ended = made(&env, make, size).await?;
                let text = if size == MAX_ERROR {
                    "x".repeat(size)
                } else {
                    format!(
                        "{}… (shortened: the error has {size} bytes, more than the limit of 65536)",
                        "x".repeat(500)
                    )
                };
                assert_ends((make, size), ended, &format!("{activity}{text} (Made)"));
            }
        }
        let ended = made(&env, Make::ActivityErrorInAChain, 5 << 20).await?;
        let failure = format!(
            "activity make failed: made: {}… (shortened: the error has {} bytes, more than the \
             limit of 65536) (Made)",
            "x".repeat(494),
            (5 << 20) + "made".len()
        );
        assert_ends("a chain", ended, &failure);
        Ok(())
    })
    .await
}

/// A shortened failure of an activity is retried if, and only if, the original would be.
#[tokio::test]
async fn shortened_failures_keep_their_policy() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let input = json!([Make::ActivityError, 5 << 20, ""]);
        let handle = env
            .start_json::<MakeWorkflow>("MakeWorkflow", &[input])
            .await?;
        let error = handle.get_result(Default::default()).await.err();
        let error = error.context("completed")?;
        let WorkflowGetResultError::Failed(failure) = &error else {
            anyhow::bail!("{error}");
        };
        let Some(IncomingError::Application(failure)) = failure.cause() else {
            anyhow::bail!("{failure:?}");
        };
        assert!(!failure.is_non_retryable());
        assert_eq!(failure.category(), ApplicationErrorCategory::Benign);
        assert_eq!(failure.next_retry_delay(), Some(Duration::from_millis(1)));
        Ok(())
    })
    .await
}

/// The failure of an activity that the server just accepts fails its workflow too, although the
/// workflow's own failure contains it and is larger.
#[tokio::test]
async fn failures_of_activities() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        // Together with the other parts of the activity's failure, this is still within 2 MiB.
        let size = (2 << 20) - 75;
        let ended = made(&env, Make::ActivityDetails, size).await?;
        let error = ended.err().context("completed")?;
        let size = error
            .strip_prefix("workflow failed: the failure of an activity has ")
            .and_then(|error| {
                error.strip_suffix(" bytes, more than the limit of 2088960: made (TooLarge)")
            });
        let size: usize = size.context(error.clone())?.parse()?;
        ensure!(size > 2 << 20, "{size}");
        Ok(())
    })
    .await
}

/// A result of an update that is too large fails the update. The workflow goes on.
#[tokio::test]
async fn updates() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let handle = env
            .client
            .start_workflow(WaitingWorkflow::run, ().into(), env.start_options())
            .await?;
        for size in [MAX_RESULT, MAX_RESULT + 1, 5 << 20] {
            let update =
                handle.execute_update(WaitingWorkflow::make, size.into(), Default::default());
            let updated = tokio::time::timeout(Duration::from_secs(20), update)
                .await
                .context("hangs")?;
            match updated {
                Ok(made) => assert_eq!((made.len() + 2, size), (MAX_RESULT, MAX_RESULT)),
                Err(error) => {
                    let expected =
                        format!("the result has {size} bytes, more than the limit of 2088960");
                    assert!(describe(&error).contains(&expected), "{error:?}");
                    assert!(size > MAX_RESULT);
                }
            }
        }
        handle
            .signal(WaitingWorkflow::end, "".into(), Default::default())
            .await?;
        assert_eq!(end(&handle).await?, Ok(()));
        let failed_tasks = event_types(&handle).await?.into_iter();
        let failed_tasks = failed_tasks.filter(|event| *event == EventType::WorkflowTaskFailed);
        assert_eq!(failed_tasks.count(), 0);
        Ok(())
    })
    .await
}
