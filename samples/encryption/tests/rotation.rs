//! Tests what still needs an old key, and that a schedule no longer needs it after `reencrypt_schedule`.

use anyhow::{Context, ensure};
use encryption::{
    encrypted,
    rotation::{keys_of_schedules, keys_of_workflows, reencrypt_schedule},
    worker_options,
    workflows::Workflow,
};
use payload_codec::{
    DEVELOPMENT_KEY_ID, EncryptionCodec, KeyRing, PUBLISHED_DEVELOPMENT_KEY, key_id,
};
use std::{io::Write, process::Stdio, time::Duration};
use temporalio_client::{
    Client, NamespacedClient, WorkflowHandle,
    grpc::WorkflowService,
    schedules::{
        CreateScheduleOptions, ScheduleAction, ScheduleHandle, ScheduleOverlapPolicy, ScheduleSpec,
    },
    tonic::IntoRequest,
};
use temporalio_common::{
    MemoValue, MemoValues, RetryPolicy,
    protos::temporal::api::{
        common::v1::Memo,
        enums::v1::EventType,
        history::v1::history_event::Attributes,
        schedule::v1::{Schedule, schedule_action::Action},
        workflow::v1::NewWorkflowExecutionInfo,
        workflowservice::v1::{
            CreateScheduleRequest, DescribeScheduleRequest, DescribeScheduleResponse,
        },
    },
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, ContinueAsNewOptions, WorkerOptions, WorkflowContext,
    WorkflowRegistrationError, WorkflowResult,
};
use testing::{TestEnv, address, events, until};
use tokio::process::Command;

const NEW_KEY: [u8; 32] = [2; 32];

fn old() -> anyhow::Result<KeyRing> {
    KeyRing::new(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)
}

fn new() -> anyhow::Result<KeyRing> {
    KeyRing::new("key-2", &NEW_KEY)
}

fn both() -> anyhow::Result<KeyRing> {
    new()?.with(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)
}

fn with_keys(env: &TestEnv, keys: KeyRing) -> TestEnv {
    TestEnv {
        client: encrypted(env.client.clone(), EncryptionCodec::new(keys)),
        task_queue: env.task_queue.clone(),
    }
}

/// Returns the description of the schedule as the server stores it.
async fn describe(
    handle: &ScheduleHandle<Client>,
    client: &Client,
) -> anyhow::Result<DescribeScheduleResponse> {
    let request = DescribeScheduleRequest {
        namespace: client.namespace(),
        schedule_id: handle.schedule_id().to_owned(),
    };
    let mut service = client.clone();
    let described = service.describe_schedule(request.into_request());
    Ok(described.await?.into_inner())
}

fn action(schedule: &mut Schedule) -> anyhow::Result<&mut NewWorkflowExecutionInfo> {
    let action = schedule
        .action
        .as_mut()
        .and_then(|action| action.action.as_mut());
    let Some(Action::StartWorkflow(action)) = action else {
        anyhow::bail!("it does not start a workflow");
    };
    Ok(action)
}

/// Creates a schedule, encrypted with the old key, that starts a workflow only when it is triggered. Like other
/// clients, it gives a memo to the workflows, and if `with_memo` is set, to the schedule too.
async fn schedule(old: &TestEnv, with_memo: bool) -> anyhow::Result<ScheduleHandle<Client>> {
    let (client, id) = (&old.client, &*old.task_queue);
    let options = CreateScheduleOptions::builder()
        .action(ScheduleAction::start_workflow(
            Workflow::run,
            "Ada".into(),
            id,
            id,
        ))
        .spec(ScheduleSpec::from_interval(Duration::from_secs(86_400)))
        .paused(true)
        .build();
    // The SDK creates the schedule without a memo, so create it again with one.
    let handle = client.create_schedule(id, options).await?;
    let mut schedule = describe(&handle, client)
        .await?
        .schedule
        .context("a schedule")?;
    handle.delete(Default::default()).await?;
    let info = action(&mut schedule)?;
    let input = info.input.clone().unwrap_or_default().payloads;
    let memo = Memo {
        fields: [("memo".to_owned(), input[0].clone())].into(),
    };
    info.memo = Some(memo.clone());
    let request = CreateScheduleRequest {
        namespace: client.namespace(),
        schedule_id: id.to_owned(),
        schedule: Some(schedule),
        memo: with_memo.then_some(memo),
        request_id: id.to_owned(),
        ..Default::default()
    };
    WorkflowService::create_schedule(&mut client.clone(), request.into_request()).await?;
    Ok(handle)
}

/// Triggers a schedule, and returns the workflow that it starts.
async fn trigger(
    handle: &ScheduleHandle<Client>,
    client: &Client,
) -> anyhow::Result<WorkflowHandle<Client, Workflow>> {
    let known = handle.describe(Default::default()).await?.action_count();
    // Like the schedule's own policy, except that it does not skip the workflow.
    let policy = ScheduleOverlapPolicy::BufferOne;
    handle.trigger(policy, Default::default()).await?;
    loop {
        let description = handle.describe(Default::default()).await?;
        if description.action_count() > known {
            let actions = description.recent_actions();
            let last = actions.last().context("an action")?;
            return Ok(client.get_workflow_handle(&last.workflow_id));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Triggers a schedule, and asserts that the worker cannot run the workflow without the old key.
async fn is_stuck(handle: &ScheduleHandle<Client>, client: &Client) -> anyhow::Result<()> {
    let stuck = trigger(handle, client).await?;
    until(&stuck, EventType::WorkflowTaskFailed).await?;
    let history = format!("{:?}", events(&stuck).await?);
    ensure!(
        history.contains("no key `test-key-id` in the key ring"),
        "{history}"
    );
    stuck.terminate(Default::default()).await?;
    Ok(())
}

/// Runs a worker, triggers a schedule, and asserts that the workflow completes.
async fn completes(handle: &ScheduleHandle<Client>, env: &TestEnv) -> anyhow::Result<()> {
    env.work(worker_options, async {
        let greeted = trigger(handle, &env.client).await?;
        assert_eq!(greeted.get_result(Default::default()).await?, "Hello, Ada");
        Ok(())
    })
    .await
}

/// A schedule needs its old key for two things, and without it a worker cannot run the schedule's workflows. First,
/// its arguments stay encrypted with the old key until `reencrypt_schedule` changes them, which changes nothing
/// else. Second, it passes the last result on to the next workflow, so one workflow must complete with the new key
/// while the workers still have the old one.
#[tokio::test]
async fn a_schedule_outlives_its_key() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (old, new, both) = (
        with_keys(&env, old()?),
        with_keys(&env, new()?),
        with_keys(&env, both()?),
    );
    let handle = schedule(&old, false).await?;
    let client = &new.client;
    let rotating = async {
        let before = describe(&handle, client).await?;
        is_stuck(&handle, client).await?;
        // Other tests have schedules too.
        let needed = keys_of_schedules(client).await?;
        ensure!(needed["test-key-id"] >= 2, "{needed:?}");

        let codec = EncryptionCodec::new(self::both()?);
        assert_eq!(reencrypt_schedule(client, &handle, &codec).await?, 2);
        assert_eq!(reencrypt_schedule(client, &handle, &codec).await?, 0);
        let mut after = describe(&handle, client).await?.schedule.context("one")?;
        let info = action(&mut after)?;
        let payloads = info.input.take().unwrap_or_default().payloads.into_iter();
        let memo = info.memo.take().unwrap_or_default().fields.into_values();
        for payload in payloads.chain(memo) {
            assert_eq!(key_id(&payload).as_deref(), Some("key-2"));
            assert_eq!(codec.decrypt(payload)?.data, b"\"Ada\"");
        }
        let mut before = before.schedule.context("one")?;
        let info = action(&mut before)?;
        (info.input, info.memo) = (None, None);
        assert_eq!(after, before);

        is_stuck(&handle, client).await
    };
    let all = async {
        completes(&handle, &old).await?;
        new.work(worker_options, rotating).await?;
        completes(&handle, &both).await?;
        completes(&handle, &new).await
    };
    let result = all.await;
    handle.delete(Default::default()).await?;
    result
}

/// A workflow that fails, is retried, continues as new, and completes: three runs.
#[workflow]
#[derive(Default)]
pub struct ThreeRuns;

#[workflow_methods]
impl ThreeRuns {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, continued: bool) -> WorkflowResult<()> {
        if ctx.info().attempt() == 1 && !continued {
            return Err(ApplicationFailure::new("the first attempt fails").into());
        }
        if !continued {
            ctx.continue_as_new(true, ContinueAsNewOptions::default())?;
        }
        Ok(())
    }
}

/// Runs that begin after the rotation can need the old key too, as OPERATIONS.md says: a retry and a cron run copy the
/// input, and continue-as-new copies the memo. `keys_of_workflows` counts them.
#[tokio::test]
async fn runs_copy_old_payloads() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (old, both) = (with_keys(&env, old()?), with_keys(&env, both()?));
    let options = |task_queue: &str| -> Result<WorkerOptions, WorkflowRegistrationError> {
        Ok(WorkerOptions::new(task_queue)
            .register_workflow::<ThreeRuns>()?
            .build())
    };
    let mut start = old.start_options();
    let id = start.workflow_id.clone();
    let mut memo = MemoValues::new();
    memo.insert("memo", MemoValue::new("mine"));
    start.memo = Some(memo);
    let soon = RetryPolicy::builder().initial_interval(Duration::from_millis(1));
    start.retry_policy = Some(soon.build());
    old.client
        .start_workflow(ThreeRuns::run, false, start)
        .await?;
    let handle = both.client.get_workflow_handle::<ThreeRuns>(&id);
    let mut start = old.start_options();
    start.cron_schedule = Some("@every 1s".to_owned());
    let cron = old
        .client
        .start_workflow(ThreeRuns::run, true, start)
        .await?;
    both.work(options, async {
        handle.get_result(Default::default()).await?;
        until(&cron, EventType::WorkflowExecutionCompleted).await?;
        Ok(())
    })
    .await?;
    // A handle without a run id is for the current run.
    let cron = old
        .client
        .get_workflow_handle::<ThreeRuns>(&cron.info().workflow_id);
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(next)) =
        events(&cron).await?.remove(0).attributes
    else {
        anyhow::bail!("the first event is not a start");
    };
    ensure!(!next.continued_execution_run_id.is_empty());
    let input = next.input.unwrap_or_default();
    assert_eq!(key_id(&input.payloads[0]).as_deref(), Some("test-key-id"));
    cron.terminate(Default::default()).await?;

    let all = format!("WorkflowId = '{id}'");
    let last = format!("{all} AND ExecutionStatus = 'Completed'");
    let count = async |query: &str| {
        let counted = env.client.count_workflows(query, Default::default());
        anyhow::Ok(counted.await?.count())
    };
    // The visibility store lags behind.
    while (count(&all).await?, count(&last).await?) != (3, 1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Six payloads: input and memo of the first run; input and memo of the second run, and the memo again in its last
    // event; and the memo of the third run.
    let counted = keys_of_workflows(&env.client, &all).await?;
    assert_eq!(counted["test-key-id"], 6, "{counted:?}");
    let counted = keys_of_workflows(&env.client, &last).await?;
    assert_eq!(counted["test-key-id"], 1, "{counted:?}");
    Ok(())
}

/// The commands of `encryption-keys` do the same as the functions, with the keys of a key file.
#[tokio::test]
async fn the_keys_commands_count_and_reencrypt() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let old = with_keys(&env, old()?);
    let handle = schedule(&old, true).await?;
    let id = handle.schedule_id();
    let run = async |arguments: &[&str]| -> anyhow::Result<(bool, String)> {
        let output = Command::new(env!("CARGO_BIN_EXE_encryption-keys"))
            .args(arguments)
            .args(["--address", address()?])
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .await?;
        let printed = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8(printed)?))
    };
    let body = async {
        // Only its owner can read this file, as a key file requires.
        let mut file = tempfile::NamedTempFile::new()?;
        let path = file.path().to_str().context("a path")?.to_owned();
        writeln!(file, "key-2 AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=")?;
        let only_new = ["reencrypt", "--schedule-id", id, "--key-file", &path];
        let (done, printed) = run(&only_new).await?;
        ensure!(
            !done && printed.contains("no key `test-key-id`"),
            "{printed}"
        );
        writeln!(
            file,
            "test-key-id dGVzdC1rZXktdGVzdC1rZXktdGVzdC1rZXktdGVzdCE="
        )?;
        // The argument is encrypted with the new key. The memo is not, because no server can change it.
        let expected = format!(
            "Error: the memo of the schedule `{id}` still needs an old key, and the server cannot change \
             it: create the schedule again\n"
        );
        assert_eq!(run(&only_new).await?, (false, expected));
        // A payload is counted even if the client lacks its key. The list of schedules lags behind.
        let client = with_keys(&env, new()?).client;
        while !keys_of_schedules(&client)
            .await?
            .contains_key("test-key-id")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        handle.delete(Default::default()).await?;
        schedule(&old, false).await?;
        let expected = format!("result: {{\"reencrypted\":2,\"schedule_id\":\"{id}\"}}\n");
        assert_eq!(run(&only_new).await?, (true, expected));
        let missing = [
            "reencrypt",
            "--schedule-id",
            "no-such-schedule",
            "--key-file",
            &path,
        ];
        let (done, printed) = run(&missing).await?;
        let expected = "Error: cannot read the schedule `no-such-schedule`: ";
        ensure!(!done && printed.starts_with(expected), "{printed}");

        let in_use = ["in-use", "--query", "WorkflowId = 'none'"];
        loop {
            let (done, printed) = run(&in_use).await?;
            ensure!(done && printed.contains("\"workflows\":{}"), "{printed}");
            // The list of schedules lags behind.
            if printed.contains("\"key-2\":") {
                break;
            }
        }
        Ok(())
    };
    let result = body.await;
    handle.delete(Default::default()).await?;
    result
}
