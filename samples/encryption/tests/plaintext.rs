//! Puts a secret into every place that accepts data, and searches for it in histories, in visibility records and in
//! every byte on the wire. Without encryption all secrets are found, with encryption none.

#![allow(clippy::expect_used, reason = "a test may panic, its helpers too")]

use anyhow::Context;
use encryption::{data_converter, encrypted};
use payload_codec::{DEVELOPMENT_KEY_ID, EncryptionCodec, KeyRing, PUBLISHED_DEVELOPMENT_KEY};
use prost::Message;
use shared::describe;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use temporalio_client::{
    Client, ClientOptions, ConnectionOptions, GrpcCompression, UntypedQuery, Url,
    WorkflowExecuteUpdateOptions, WorkflowHandle, WorkflowIdConflictPolicy, WorkflowQueryOptions,
    WorkflowSignalOptions, WorkflowTerminateOptions, WorkflowUpdateWithStartOptions,
    errors::{WorkflowQueryError, WorkflowUpdateError},
    grpc::WorkflowService,
    schedules::{
        CreateScheduleOptions, ScheduleAction, ScheduleHandle, ScheduleSpec, ScheduleUpdate,
    },
    tonic::{Code, IntoRequest},
};
use temporalio_common::{
    HasWorkflowDefinition, MemoValue, MemoValues, RetryPolicy,
    data_converters::RawValue,
    protos::temporal::api::{
        common::v1::{Header, Payload, Payloads, WorkflowExecution},
        enums::v1::EventType,
        history::v1::History,
        workflowservice::v1::{
            DescribeScheduleRequest, DescribeWorkflowExecutionRequest,
            ListWorkflowExecutionsRequest,
        },
    },
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, ChildWorkflowOptions, ContinueAsNewOptions,
    LocalActivityOptions, SyncWorkflowContext, TimerOptions, WorkerOptions, WorkflowContext,
    WorkflowContextView, WorkflowRegistrationError, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, address, events, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Names of the places that get a secret.
const PLACES: [&str; 35] = [
    "start-input",
    "start-memo",
    "start-header",
    "upserted-memo",
    "current-details",
    "local-input",
    "local-result",
    "local-failure",
    "local-summary",
    "activity-input",
    "activity-result",
    "activity-summary",
    "activity-failure",
    "activity-failure-details",
    "heartbeat",
    "child-input",
    "child-result",
    "child-summary",
    "child-details",
    "timer-summary",
    "signal-input",
    "signal-header",
    "query-input",
    "query-header",
    "query-result",
    "query-failure",
    "update-input",
    "update-header",
    "update-result",
    "update-failure",
    "next-run-input",
    "workflow-failure",
    "workflow-failure-details",
    "termination-details",
    "schedule-input",
];

fn secret(place: &str) -> String {
    format!("secret of {place}.")
}

fn shows(place: &str, bytes: &[u8]) -> bool {
    let secret = secret(place).into_bytes();
    bytes.windows(secret.len()).any(|window| window == secret)
}

fn secrets_in(bytes: &[u8]) -> Vec<&'static str> {
    let mut places = PLACES.to_vec();
    places.retain(|place| shows(place, bytes));
    places
}

/// Activities with secrets in their input and output.
pub struct Secretive;

#[activities]
impl Secretive {
    #[activity]
    pub async fn local(
        _ctx: ActivityContext,
        (fails, _secret): (bool, String),
    ) -> Result<String, ActivityError> {
        match fails {
            true => Err(ApplicationFailure::non_retryable(secret("local-failure")).into()),
            false => Ok(secret("local-result")),
        }
    }

    /// Fails at the first attempt, and succeeds at the second.
    #[activity]
    pub async fn remote(ctx: ActivityContext, _secret: String) -> Result<String, ActivityError> {
        if ctx.info().attempt > 1 {
            return Ok(secret("activity-result"));
        }
        ctx.record_heartbeat(secret("heartbeat")).await?;
        let failure = ApplicationFailure::builder(secret("activity-failure"))
            .details(secret("activity-failure-details"))
            .build();
        Err(failure.into())
    }

    #[activity]
    pub async fn fails(_ctx: ActivityContext) -> Result<(), ActivityError> {
        let failure = ApplicationFailure::builder(secret("workflow-failure"))
            .details(secret("workflow-failure-details"))
            .non_retryable(true)
            .build();
        Err(failure.into())
    }
}

/// A workflow with a secret in every place.
#[workflow]
#[derive(Default)]
pub struct Everything {
    header: Option<Vec<u8>>,
}

#[workflow_methods]
impl Everything {
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        (again, _secret): (bool, String),
    ) -> WorkflowResult<()> {
        let timeout = Duration::from_secs(5);
        if again {
            // Passes on the failure of an activity.
            let options = ActivityOptions::start_to_close_timeout(timeout);
            return Ok(ctx.execute_activity(Secretive::fails, (), options).await?);
        }
        let memo = MemoValue::new(secret("upserted-memo"));
        ctx.upsert_memo([("upserted", Some(memo))])
            .map_err(ApplicationFailure::new)?;
        ctx.set_current_details(secret("current-details"));

        let options = || {
            LocalActivityOptions::builder()
                .start_to_close_timeout(timeout)
                .include_arguments_in_marker(true)
                .summary(secret("local-summary"))
                .build()
        };
        let input = secret("local-input");
        ctx.execute_local_activity(Secretive::local, (false, input.clone()), options())
            .await?;
        // Continues after the failure.
        let _ = ctx
            .execute_local_activity(Secretive::local, (true, input), options())
            .await;

        let options = ActivityOptions::with_start_to_close_timeout(timeout)
            .heartbeat_timeout(timeout)
            .retry_policy(
                RetryPolicy::builder()
                    .initial_interval(Duration::from_millis(100))
                    .build(),
            )
            .summary(secret("activity-summary"))
            .build();
        ctx.execute_activity(Secretive::remote, secret("activity-input"), options)
            .await?;

        let options = ChildWorkflowOptions::builder()
            .static_summary(secret("child-summary"))
            .static_details(secret("child-details"))
            .build();
        ctx.start_child_workflow(Child::run, secret("child-input"), options)
            .await?
            .result()
            .await?;

        let options = TimerOptions::builder(Duration::from_millis(1))
            .summary(secret("timer-summary"))
            .build();
        ctx.timer(options).await;

        ctx.wait_condition(|state| state.header.is_some()).await?;
        let header = ctx.state(|state| state.header.clone());
        if header != Some(json("signal-header").data) {
            return Err(ApplicationFailure::new("the header cannot be read").into());
        }
        ctx.continue_as_new(
            (true, secret("next-run-input")),
            ContinueAsNewOptions::default(),
        )?;
        Ok(())
    }

    #[signal]
    pub fn go_on(&mut self, ctx: &mut SyncWorkflowContext<Self>, _secret: String) {
        let header = ctx.headers().get("header");
        self.header = Some(header.map(|h| h.data.clone()).unwrap_or_default());
    }

    #[query]
    pub fn ask(
        &self,
        _ctx: &WorkflowContextView,
        (fails, _secret): (bool, String),
    ) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        match fails {
            true => Err(secret("query-failure").into()),
            false => Ok(secret("query-result")),
        }
    }

    #[update]
    pub fn change(
        &mut self,
        _ctx: &mut SyncWorkflowContext<Self>,
        (fails, _secret): (bool, String),
    ) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        match fails {
            true => Err(secret("update-failure").into()),
            false => Ok(secret("update-result")),
        }
    }
}

/// The child of [`Everything`].
#[workflow]
#[derive(Default)]
pub struct Child;

#[workflow_methods]
impl Child {
    #[run]
    pub async fn run(_ctx: &mut WorkflowContext<Self>, _secret: String) -> WorkflowResult<String> {
        Ok(secret("child-result"))
    }
}

fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .register_workflow::<Everything>()?
        .register_workflow::<Child>()?
        .register_activities(Secretive)
        .build())
}

/// A proxy that records all bytes in both directions.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<Vec<u8>>>>);

impl Wire {
    /// Listens in front of the test server, and returns the address.
    async fn tap(&self) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let tapped = listener.local_addr()?.to_string();
        tokio::spawn(self.clone().pass(listener, address()?));
        Ok(tapped)
    }

    async fn pass(self, listener: TcpListener, server: &str) -> anyhow::Result<()> {
        loop {
            let (client, _) = listener.accept().await?;
            let server = TcpStream::connect(server).await?;
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(self.clone().copy(from_client, to_server));
            tokio::spawn(self.clone().copy(from_server, to_client));
        }
    }

    async fn copy(
        self,
        mut from: impl AsyncReadExt + Unpin,
        mut to: impl AsyncWriteExt + Unpin,
    ) -> anyhow::Result<()> {
        let stream = {
            let mut streams = self.0.lock().expect("no panic");
            streams.push(Vec::new());
            streams.len() - 1
        };
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            self.0.lock().expect("no panic")[stream].extend(&buffer[..length]);
            to.write_all(&buffer[..length]).await?;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no panic").concat()
    }
}

fn development_codec() -> anyhow::Result<EncryptionCodec> {
    let keys = KeyRing::new(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)?;
    Ok(EncryptionCodec::new(keys))
}

/// Returns a payload that a client in any language could put into a header.
fn json(place: &str) -> Payload {
    Payload {
        metadata: HashMap::from([("encoding".to_owned(), b"json/plain".to_vec())]),
        data: format!("{:?}", secret(place)).into_bytes(),
        ..Default::default()
    }
}

fn header(place: &str) -> Header {
    Header {
        fields: HashMap::from([("header".to_owned(), json(place))]),
    }
}

/// Connects a client without compression, so that the bytes on the wire can be searched. Encrypts if there is a codec.
async fn connect(address: &str, codec: Option<EncryptionCodec>) -> anyhow::Result<TestEnv> {
    let options = ConnectionOptions::new(Url::parse(&format!("http://{address}"))?)
        .grpc_compression(GrpcCompression::None)
        .build();
    let client = Client::connect(options, ClientOptions::new("default").build()).await?;
    let client = match codec {
        Some(codec) => encrypted(client, codec),
        None => client,
    };
    Ok(TestEnv {
        client,
        ..TestEnv::new().await?
    })
}

/// Puts a secret into every place, checks that the receiver of each secret can read it, and returns everything that
/// the server stores about the workflows: histories, records and visibility records. The failure of a query must reach
/// the client as `query_failure`.
async fn play(env: TestEnv, query_failure: &str) -> anyhow::Result<Vec<u8>> {
    let mut memo = MemoValues::new();
    memo.insert("memo", secret("start-memo"));
    let mut options = env.start_options();
    options.memo = Some(memo);
    options.header = Some(header("start-header"));
    let input = (false, secret("start-input"));
    let handle = env
        .client
        .start_workflow(Everything::run, input, options)
        .await?;

    until(&handle, EventType::TimerFired).await?;
    let question = |fails| (fails, secret("query-input"));
    let asking = WorkflowQueryOptions::builder()
        .header(header("query-header"))
        .build();
    let answer = handle
        .query(Everything::ask, question(false), asking)
        .await?;
    assert_eq!(answer, secret("query-result"));
    let failed = handle
        .query(Everything::ask, question(true), Default::default())
        .await;
    let Err(WorkflowQueryError::Rpc(status)) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, query_failure)
    );

    let change = |fails| (fails, secret("update-input"));
    let id = handle.info().workflow_id.clone();
    let running = WorkflowIdConflictPolicy::UseExisting;
    let options = WorkflowUpdateWithStartOptions::new(&env.task_queue, &id, running)
        .start_header(header("start-header"))
        .update_header(header("update-header"))
        .build();
    let (start, input) = (Everything::run, (false, secret("start-input")));
    let changed = env
        .client
        .execute_update_with_start_workflow(
            start,
            input,
            Everything::change,
            change(false),
            options,
        )
        .await?;
    assert_eq!(changed, secret("update-result"));
    let changing = WorkflowExecuteUpdateOptions::builder()
        .header(header("update-header"))
        .build();
    let failed = handle
        .execute_update(Everything::change, change(true), changing)
        .await;
    let Err(WorkflowUpdateError::Failed(failure)) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(failure.message, secret("update-failure"));
    let details = UntypedQuery::new("__temporal_workflow_metadata");
    handle
        .query(details, RawValue::default(), Default::default())
        .await?;

    let signal = WorkflowSignalOptions::builder()
        .header(header("signal-header"))
        .build();
    handle
        .signal(Everything::go_on, secret("signal-input"), signal)
        .await?;
    let error = handle
        .get_result(Default::default())
        .await
        .expect_err("it fails");
    let reason = format!(
        "workflow failed: activity Secretive::fails failed: {}",
        secret("workflow-failure")
    );
    assert_eq!(describe(&error), reason);
    let second_run = env.client.get_workflow_handle::<Everything>(id);
    let mut stored = record(&handle).await?;
    stored.extend(record(&second_run).await?);

    let handle = start_unseen(&env, None).await?;
    let details = Payloads {
        payloads: vec![json("termination-details")],
    };
    let options = WorkflowTerminateOptions::builder().details(details).build();
    handle.terminate(options).await?;
    stored.extend(record(&handle).await?);

    let handle = schedule(&env).await?;
    let mut update = handle.describe(Default::default()).await?.into_update();
    change_note(&mut update);
    handle.send_update(update, Default::default()).await?;
    stored.extend(schedule_record(&env, handle).await?);
    Ok(stored)
}

/// Starts a workflow on a queue that no worker polls.
async fn start_unseen(
    env: &TestEnv,
    summary: Option<String>,
) -> anyhow::Result<WorkflowHandle<Client, impl HasWorkflowDefinition>> {
    let mut options = env.start_options();
    options.task_queue += "-unseen";
    options.static_summary = summary;
    options.header = Some(header("start-header"));
    let input = (false, secret("start-input"));
    let (signal, word) = (Everything::go_on, secret("signal-input"));
    let client = &env.client;
    let starting = client.signal_with_start_workflow(Everything::run, input, signal, word, options);
    Ok(starting.await?)
}

/// Returns everything that the server stores about a workflow: history, record and visibility record.
async fn record<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<Vec<u8>> {
    let events = events(handle).await?;
    let mut stored = History { events }.encode_to_vec();
    let (mut client, info) = (handle.client().clone(), handle.info());
    let request = DescribeWorkflowExecutionRequest {
        namespace: info.namespace.clone(),
        execution: Some(WorkflowExecution {
            workflow_id: info.workflow_id.clone(),
            run_id: info.run_id.clone().unwrap_or_default(),
        }),
    };
    // `handle.describe()` would decrypt.
    let description = client.describe_workflow_execution(request.into_request());
    stored.extend(description.await?.get_ref().encode_to_vec());
    let request = ListWorkflowExecutionsRequest {
        namespace: info.namespace.clone(),
        query: format!("WorkflowId = '{}'", info.workflow_id),
        ..Default::default()
    };
    loop {
        let listed = client.list_workflow_executions(request.clone().into_request());
        let listed = listed.await?.into_inner();
        // The visibility store lags behind.
        if !listed.executions.is_empty() {
            stored.extend(listed.encode_to_vec());
            return Ok(stored);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Creates a schedule.
async fn schedule(env: &TestEnv) -> anyhow::Result<ScheduleHandle<Client>> {
    let input = (true, secret("schedule-input"));
    let id = &*env.task_queue;
    let options = CreateScheduleOptions::builder()
        .action(ScheduleAction::start_workflow(
            Everything::run,
            input,
            id,
            id,
        ))
        .spec(ScheduleSpec::from_interval(Duration::from_secs(
            24 * 60 * 60,
        )))
        .build();
    Ok(env.client.create_schedule(id, options).await?)
}

fn change_note(update: &mut ScheduleUpdate) {
    update.set_note("changed");
}

/// Deletes the schedule, and returns everything that the server stored about it.
async fn schedule_record(env: &TestEnv, handle: ScheduleHandle<Client>) -> anyhow::Result<Vec<u8>> {
    let request = DescribeScheduleRequest {
        namespace: "default".to_owned(),
        schedule_id: env.task_queue.clone(),
    };
    let mut client = env.client.clone();
    let description = client.describe_schedule(request.into_request()).await?;
    handle.delete(Default::default()).await?;
    Ok(description.get_ref().encode_to_vec())
}

/// Runs `play` with or without encryption. Returns the secrets found on the wire, and those found on the server.
async fn played(codec: Option<EncryptionCodec>) -> anyhow::Result<[Vec<&'static str>; 2]> {
    let wire = Wire::default();
    // The SDK does not decrypt the failure of a query.
    let query_failure = match codec {
        Some(_) => "Encoded failure".to_owned(),
        None => secret("query-failure"),
    };
    let env = connect(&wire.tap().await?, codec).await?;
    let mut stored = Vec::new();
    let playing = async {
        stored = play(env.clone(), &query_failure).await?;
        Ok(())
    };
    env.work(worker_options, playing).await?;
    Ok([secrets_in(&wire.bytes()), secrets_in(&stored)])
}

/// With encryption, no secret is readable on the wire or on the server, and the receivers can still read them.
#[tokio::test]
async fn nothing_is_readable() -> anyhow::Result<()> {
    let [sent, stored] = played(Some(development_codec()?)).await?;
    assert_eq!((sent, stored), (vec![], vec![]));
    Ok(())
}

/// Without encryption, every secret is found, so the test above searches in the right places.
#[tokio::test]
async fn everything_is_readable_without_encryption() -> anyhow::Result<()> {
    let [sent, stored] = played(None).await?;
    assert_eq!(sent, PLACES);
    let passing = [
        "current-details",
        "heartbeat",
        "query-input",
        "query-header",
        "query-result",
        "query-failure",
    ];
    let mut kept = PLACES.to_vec();
    kept.retain(|place| !passing.contains(place));
    assert_eq!(stored, kept);
    Ok(())
}

/// With only the codec, the SDK sends these secrets in plain text. If this test fails, the SDK has closed a gap, and
/// you can remove it from `PlaintextGuard` and the README.
#[tokio::test]
async fn the_codec_alone_leaves_gaps() -> anyhow::Result<()> {
    let mut env = TestEnv::new().await?;
    env.client.options_mut().data_converter = data_converter(development_codec()?);
    let handle = start_unseen(&env, Some(secret("start-summary"))).await?;
    let details = Payloads {
        payloads: vec![json("termination-details")],
    };
    let options = WorkflowTerminateOptions::builder().details(details).build();
    handle.terminate(options).await?;
    let gaps = ["start-header", "termination-details"];
    let kept = record(&handle).await?;
    assert_eq!(secrets_in(&kept), gaps);
    assert!(shows("start-summary", &kept));

    let handle = schedule(&env).await?;
    let update = handle.update(change_note, Default::default());
    update.await?;
    let record = schedule_record(&env, handle).await?;
    assert_eq!(secrets_in(&record), ["schedule-input"]);
    Ok(())
}

/// `PlaintextGuard` refuses calls that it cannot encrypt, and says what to do instead.
#[tokio::test]
async fn the_guard_refuses() -> anyhow::Result<()> {
    let env = connect(address()?, Some(development_codec()?)).await?;
    let mut options = env.start_options();
    options.static_summary = Some(secret("start-input"));
    let input = (false, String::new());
    let start = env.client.start_workflow(Everything::run, input, options);
    let error = describe(&start.await.err().context("it starts")?);
    let reason = "static_summary and static_details would be sent in plain text; use a memo";
    assert!(error.ends_with(reason), "{error}");

    let handle = schedule(&env).await?;
    let update = handle.update(change_note, Default::default());
    let error = describe(&update.await.err().context("it updates")?);
    let reason = "use describe(), into_update() and send_update()";
    assert!(error.ends_with(reason), "{error}");
    let record = schedule_record(&env, handle).await?;
    assert!(secrets_in(&record).is_empty());
    Ok(())
}

/// A workflow that panics.
#[workflow]
#[derive(Default)]
pub struct Panics;

#[workflow_methods]
impl Panics {
    #[run]
    pub async fn run(_ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        panic!("{}", secret("workflow-failure"))
    }
}

/// The text of a failed workflow task stays readable, because it passes through neither converter nor codec. The
/// README says so.
#[tokio::test]
async fn panics_are_readable() -> anyhow::Result<()> {
    let env = connect(address()?, Some(development_codec()?)).await?;
    let options = |task_queue: &str| -> Result<_, WorkflowRegistrationError> {
        Ok(WorkerOptions::new(task_queue)
            .register_workflow::<Panics>()?
            .build())
    };
    env.work(options, async {
        let handle = env
            .client
            .start_workflow(Panics::run, (), env.start_options())
            .await?;
        until(&handle, EventType::WorkflowTaskFailed).await?;
        assert_eq!(secrets_in(&record(&handle).await?), ["workflow-failure"]);
        handle.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}
