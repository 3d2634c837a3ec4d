//! Kills the real worker binary while an order is open, and replaces it by a worker of another stage.

#![cfg(unix)]

use anyhow::{Context, ensure};
use std::{process::Stdio, time::Duration};
use temporalio_client::{
    Client, NamespacedClient, WorkflowExecutionStatus, WorkflowHandle, WorkflowStartOptions,
    grpc::WorkflowService,
    tonic::{Code, IntoRequest},
};
use temporalio_common::{
    protos::temporal::api::{
        enums::v1::{
            EventType::{ActivityTaskCompleted, WorkflowTaskFailed},
            WorkflowTaskFailedCause,
        },
        history::v1::history_event::Attributes,
        workflowservice::v1::SetWorkerDeploymentCurrentVersionRequest,
    },
    worker::{VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion},
};
use temporalio_sdk::WorkerOptions;
use testing::{
    TestEnv, activity_types, address, events, eventually, faults::WorkerProcess, forget_cache,
    until, within,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};
use versioning::{
    stages::Stage,
    worker_options,
    workflows::{Order, OrderWorkflow, Receipt},
};

type Handle = WorkflowHandle<Client, OrderWorkflow>;

fn worker(env: &TestEnv, stage: &str) -> anyhow::Result<WorkerProcess> {
    let binary = env!("CARGO_BIN_EXE_versioning-worker");
    WorkerProcess::start(binary, address()?, &env.task_queue, &["--stage", stage])
}

fn order() -> Order {
    Order {
        number: "A-17".to_owned(),
        cents: 4200,
    }
}

/// Returns an order that a worker of the first stage has shipped before it was killed.
async fn shipped_by_initial(env: &TestEnv) -> anyhow::Result<Handle> {
    let id = env.start_options().workflow_id;
    let options = WorkflowStartOptions::new(env.task_queue.clone(), id.clone())
        // How long the server waits for a worker that was killed while it had a task.
        .task_timeout(Duration::from_secs(1))
        .build();
    env.client
        .start_workflow(OrderWorkflow::run, order().into(), options)
        .await?;
    let handle = env.client.get_workflow_handle(id);
    let mut old = worker(env, "initial")?;
    until(&handle, ActivityTaskCompleted).await?;
    old.kill().await?;
    forget_cache(&env.client, &handle.info().workflow_id).await?;
    Ok(handle)
}

async fn deliver(handle: &Handle) -> anyhow::Result<()> {
    let nothing = ().into();
    Ok(handle
        .signal(OrderWorkflow::delivered, nothing, Default::default())
        .await?)
}

async fn assert_completed(handle: &Handle, ran: &[&str]) -> anyhow::Result<()> {
    let parcel = "parcel-A-17".to_owned();
    let result = async { Ok(handle.get_result(Default::default()).await?) };
    assert_eq!(within("the receipt", result).await?, Receipt { parcel });
    assert_eq!(activity_types(handle).await?, ran);
    Ok(())
}

/// A worker of the first stage dies while an order is open. A worker of the second stage completes the order
/// without a check, as it began.
#[tokio::test]
async fn patched_completes_an_open_order() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = shipped_by_initial(&env).await?;
    let new = worker(&env, "patched")?;
    deliver(&handle).await?;
    assert_completed(&handle, &["ship_order"]).await?;
    drop(new);
    Ok(())
}

/// Without the patch the order is stuck, and its history has the reason. It has not failed, and a worker of
/// this `stage` completes it.
async fn stuck_until(stage: &str) -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = shipped_by_initial(&env).await?;
    let mut new = worker(&env, "incompatible")?;
    deliver(&handle).await?;
    until(&handle, WorkflowTaskFailed).await?;
    let failed = events(&handle)
        .await?
        .into_iter()
        .find_map(|event| match event.attributes {
            Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) => Some(failed),
            _ => None,
        });
    let failed = failed.unwrap_or_default();
    assert_eq!(
        failed.cause(),
        WorkflowTaskFailedCause::NonDeterministicError
    );
    let message = failed.failure.unwrap_or_default().message;
    assert_eq!(
        message,
        "[TMPRL1100] Nondeterminism error: Activity type of scheduled event 'ship_order' does not \
         match activity type of activity command 'fraud_check'"
    );
    let description = handle.describe(Default::default()).await?;
    assert_eq!(description.status(), WorkflowExecutionStatus::Running);
    new.kill().await?;

    let repaired = worker(&env, stage)?;
    assert_completed(&handle, &["ship_order"]).await?;
    drop(repaired);
    Ok(())
}

/// Nothing is lost if the patch is deployed later.
#[tokio::test]
async fn incompatible_is_stuck_until_patched() -> anyhow::Result<()> {
    stuck_until("patched").await
}

/// Nothing is lost if the change is rolled back.
#[tokio::test]
async fn incompatible_is_stuck_until_rolled_back() -> anyhow::Result<()> {
    stuck_until("initial").await
}

/// While the order is stuck, the starter prints the reason once. When a worker with repaired code runs, the
/// starter prints the result.
#[tokio::test]
async fn the_starter_prints_why_an_order_is_stuck() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = shipped_by_initial(&env).await?;
    let mut new = worker(&env, "incompatible")?;

    let mut starter = Command::new(env!("CARGO_BIN_EXE_versioning-starter"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TEMPORAL_")) {
        starter.env_remove(name);
    }
    let id = &handle.info().workflow_id;
    let mut starter = starter
        .args(["--address", address()?, "--task-queue", &env.task_queue])
        .args(["--deliver", "--workflow-id", id])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(starter.stderr.take().context("piped")?).lines();
    let mut line = async || -> anyhow::Result<String> {
        let line = async { Ok(lines.next_line().await?) };
        let line = within("a line of the starter", line).await?;
        line.context("the starter has ended")
    };
    assert_eq!(line().await?, format!("workflow {id}"));
    let waiting = line().await?;
    let (start, rest) = waiting.split_once(" times: ").context(waiting.clone())?;
    ensure!(
        start.starts_with("waiting  the workflow task has failed "),
        "{waiting}"
    );
    let reason = "[TMPRL1100] Nondeterminism error: Activity type of scheduled event 'ship_order' \
                  does not match activity type of activity command 'fraud_check'; the server retries it";
    ensure!(rest.starts_with(reason), "{waiting}");
    new.kill().await?;

    let repaired = worker(&env, "patched")?;
    assert_eq!(line().await?, "ran      ship_order");
    let output = async { Ok(starter.wait_with_output().await?) };
    let output = within("the end of the starter", output).await?;
    let stdout = String::from_utf8(output.stdout)?;
    assert_eq!(stdout, "result: {\"parcel\":\"parcel-A-17\"}\n");
    drop(repaired);
    Ok(())
}

/// Returns options for a worker with a deployment of its own, whose workflows stay with its build.
fn pinned(task_queue: &str, stage: Stage, build_id: &str) -> anyhow::Result<WorkerOptions> {
    let version = WorkerDeploymentVersion::builder()
        .deployment_name(task_queue)
        .build_id(build_id)
        .build();
    let mut options = worker_options(task_queue, stage)?;
    options.deployment_options = WorkerDeploymentOptions::new(version)
        .use_worker_versioning(true)
        .default_versioning_behavior(VersioningBehavior::Pinned)
        .build();
    Ok(options)
}

/// Routes new workflows to this build, when the server knows its worker.
async fn set_current(env: &TestEnv, build_id: &str) -> anyhow::Result<()> {
    let request = SetWorkerDeploymentCurrentVersionRequest {
        namespace: env.client.namespace(),
        deployment_name: env.task_queue.clone(),
        build_id: build_id.to_owned(),
        ..Default::default()
    };
    let set = async || {
        let mut client = env.client.clone();
        let set = client.set_worker_deployment_current_version(request.clone().into_request());
        match set.await {
            // The server does not know the worker yet.
            Err(status) if status.code() == Code::NotFound => Ok(None),
            other => Ok(Some(other.map(drop)?)),
        }
    };
    eventually(format!("build {build_id}"), set).await
}

/// The alternative to patches: both builds run side by side, and no order runs with the code of both. Then
/// even a change without a patch does no harm.
#[tokio::test]
async fn pinned_orders_stay_with_their_build() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let start = async || -> anyhow::Result<Handle> {
        let options = env.start_options();
        let id = options.workflow_id.clone();
        env.client
            .start_workflow(OrderWorkflow::run, order().into(), options)
            .await?;
        let handle = env.client.get_workflow_handle(id);
        until(&handle, ActivityTaskCompleted).await?;
        Ok(handle)
    };
    let body = async {
        set_current(&env, "1.0").await?;
        let before = start().await?;
        set_current(&env, "2.0").await?;
        let after = start().await?;
        deliver(&before).await?;
        deliver(&after).await?;
        assert_completed(&before, &["ship_order"]).await?;
        assert_completed(&after, &["fraud_check", "ship_order"]).await
    };
    let new = env.work(
        |queue: &str| pinned(queue, Stage::Incompatible, "2.0"),
        body,
    );
    env.work(|queue: &str| pinned(queue, Stage::Initial, "1.0"), new)
        .await
}
