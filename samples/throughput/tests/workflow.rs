//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use shared::describe;
use std::{
    pin::pin,
    process::{Output, Stdio},
    time::Duration,
};
use temporalio_client::UntypedWorkflow;
use temporalio_common::protos::temporal::api::enums::v1::EventType::{
    self, ActivityTaskScheduled, ChildWorkflowExecutionStarted, ChildWorkflowExecutionTerminated,
    MarkerRecorded, StartChildWorkflowExecutionInitiated, WorkflowExecutionSignaled,
};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError, testing::ActivityEnvironment};
use testing::{TestEnv, address, bad_input, event_types, until, with_worker};
use throughput::{
    activities::ThroughputActivities,
    encryption::Encryption,
    load::{Load, Pace, payload},
    usage::{Meter, process},
    worker_options,
    workflows::{EchoWorkflow, Plan, Shape, ThroughputWorkflow},
};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

/// Limit for steps that usually take less than a second.
const PATIENCE: Duration = Duration::from_secs(20);

fn load(shape: Shape, workflows: u32, pace: Pace) -> Load {
    Load {
        workflows,
        pace,
        plan: Plan {
            shape,
            activities: 3,
            payload: payload(64),
        },
    }
}

/// Each shape takes its three steps in the way that its name says.
#[tokio::test]
async fn runs_every_shape() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for (shape, step) in [
            (Shape::Sequence, ActivityTaskScheduled),
            (Shape::Parallel, ActivityTaskScheduled),
            (Shape::Local, MarkerRecorded),
            (Shape::Child, StartChildWorkflowExecutionInitiated),
            (Shape::Signal, WorkflowExecutionSignaled),
        ] {
            let id = format!("{}-{shape:?}", env.task_queue);
            load(shape, 1, Pace::Concurrency(1))
                .run(&env.client, &env.task_queue, &id, || ())
                .await?;
            let handle = env.client.get_workflow_handle::<ThroughputWorkflow>(id);
            let events = event_types(&handle).await?;
            let steps = events.iter().filter(|event| **event == step).count();
            assert_eq!(steps, 3, "{shape:?}: {events:?}");
            if shape == Shape::Parallel {
                let first = |kind: EventType| events.iter().position(|event| *event == kind);
                assert!(
                    events.iter().rposition(|event| *event == step)
                        < first(EventType::ActivityTaskCompleted)
                );
            }
        }
        Ok(())
    })
    .await
}

/// A closed loop starts every workflow once, waits until all have ended, and counts them.
#[tokio::test]
async fn closed_loop() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let ended = std::cell::Cell::new(0);
        let outcome = load(Shape::Local, 20, Pace::Concurrency(5))
            .run(&env.client, &env.task_queue, &env.task_queue, || {
                ended.set(ended.get() + 1);
            })
            .await?;
        assert_eq!((ended.get(), outcome.workflows), (20, 20));
        let latency = outcome.latency_ms;
        assert!(0.0 < latency.p50 && latency.p50 <= latency.p99 && latency.p99 <= latency.max);
        Ok(())
    })
    .await
}

/// An open loop starts its workflows at the given rate, even if none of the earlier ones has ended.
#[tokio::test]
async fn open_loop() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let load = load(Shape::Local, 20, Pace::Rate(40.0));
    let mut running = pin!(load.run(&env.client, &env.task_queue, &env.task_queue, || ()));
    let last = format!("{}-19", env.task_queue);
    let last = env.client.get_workflow_handle::<ThroughputWorkflow>(last);
    let all_started = async {
        while last.describe(Default::default()).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    // There is no worker yet, so no workflow can end.
    tokio::select! {
        ended = &mut running => bail!("ended without a worker: {ended:?}"),
        started = timeout(PATIENCE, all_started) => started.context("not all are started")?,
    }
    env.work(worker_options, async {
        let outcome = running.await?;
        assert!(outcome.seconds >= 19.0 / 40.0, "{outcome:?}");
        Ok(())
    })
    .await
}

/// A latency begins when its workflow was due. If the starter falls behind, the delay counts.
#[tokio::test]
async fn latency_includes_the_delay_of_the_starter() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let late = Duration::from_millis(1500);
        // All of them are due within 20 ms.
        let load = load(Shape::Local, 20, Pace::Rate(1_000.0));
        let mut running = pin!(load.run(&env.client, &env.task_queue, &env.task_queue, || ()));
        // The load begins, and then gets no CPU time, as on an overloaded machine.
        let begun = timeout(Duration::ZERO, &mut running).await;
        assert!(begun.is_err(), "{begun:?}");
        sleep(late).await;
        let outcome = running.await?;
        assert!(outcome.latency_ms.p50 >= 1480.0, "{outcome:?}");
        Ok(())
    })
    .await
}

/// Runs the activity alone, without a server or a worker.
#[tokio::test]
async fn echoes() -> anyhow::Result<()> {
    let env = ActivityEnvironment::builder().build();
    let payload = "payload".to_owned();
    let echoed = env.run(ThroughputActivities::echo, payload).await?;
    assert_eq!(echoed, "payload");
    Ok(())
}

/// The default identities of all SDKs give a process id and a host. Identities that users have chosen do not.
#[test]
fn reads_identities() {
    for identity in ["42@host", "42@host@", "42@host@task-queue"] {
        assert_eq!(process(identity), Some((42, "host")), "{identity}");
    }
    for identity in ["", "42", "host", "me@host", "@host"] {
        assert_eq!(process(identity), None, "{identity}");
    }
}

/// A worker and a starter that both encrypt work together.
#[tokio::test]
async fn encrypts() -> anyhow::Result<()> {
    let encryption = Encryption {
        encrypt: true,
        ..Default::default()
    };
    let env = TestEnv::with_data_converter(encryption.data_converter(None)?).await?;
    env.work(worker_options, async {
        load(Shape::Sequence, 1, Pace::Concurrency(1))
            .run(&env.client, &env.task_queue, &env.task_queue, || ())
            .await?;
        Ok(())
    })
    .await
}

/// The meter finds this process among the pollers of the task queue, and measures its CPU time and memory.
#[tokio::test]
async fn finds_the_worker() -> anyhow::Result<()> {
    let nobody = TestEnv::new().await?;
    let meter = Meter::for_task_queue(&nobody.client, &nobody.task_queue).await?;
    assert!(meter.is_none());
    with_worker(worker_options, async |env| {
        let load = load(Shape::Sequence, 3, Pace::Concurrency(1));
        load.run(&env.client, &env.task_queue, &env.task_queue, || ())
            .await?;
        let mut meter = Meter::for_task_queue(&env.client, &env.task_queue)
            .await?
            .expect("a poller");
        let again = format!("{}-again", env.task_queue);
        let running = load.run(&env.client, &env.task_queue, &again, || ());
        let (outcome, usage) = meter.measure(running).await;
        outcome?;
        assert!(usage.resident > 1 << 20, "{usage:?}");
        assert!(!usage.cpu.is_zero(), "{usage:?}");
        Ok(())
    })
    .await
}

/// Both workflows fail at once if their input does not decode. The failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let plan = json!({"shape": "round", "activities": 1, "payload": ""});
        let handle = env
            .start_json::<ThroughputWorkflow>("ThroughputWorkflow", &[plan])
            .await?;
        let reason = bad_input(&handle).await?;
        assert!(
            reason.starts_with("`shape`: unknown variant `round`"),
            "{reason}"
        );
        let handle = env
            .start_json::<EchoWorkflow>("EchoWorkflow", &[json!(1)])
            .await?;
        assert_eq!(
            bad_input(&handle).await?,
            "invalid type: integer `1`, expected a string"
        );
        Ok(())
    })
    .await
}

/// Every shape accepts payloads of the largest size.
#[tokio::test]
async fn accepts_the_largest_payload() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for shape in [
            Shape::Sequence,
            Shape::Parallel,
            Shape::Local,
            Shape::Child,
            Shape::Signal,
        ] {
            let mut load = load(shape, 1, Pace::Concurrency(1));
            load.plan.payload = payload(1 << 20);
            load.plan.activities = if shape == Shape::Parallel { 3 } else { 1 };
            let id = format!("{}-{shape:?}", env.task_queue);
            load.run(&env.client, &env.task_queue, &id, || ())
                .await
                .with_context(|| format!("{shape:?}"))?;
        }
        Ok(())
    })
    .await
}

/// If one workflow task cannot schedule so many activities, or so large payloads, the workflow fails before it starts
/// the first activity.
#[tokio::test]
async fn refuses_too_much_at_once() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        for (activities, bytes, reason) in [
            (2000, 1500, None),
            (
                2001,
                1,
                Some("2001 activities at once, more than the limit of 2000; lower --activities"),
            ),
            (
                5,
                1 << 20,
                Some(
                    "all activities at once have 5242880 bytes of payload, more than the limit of \
                     3145728; lower --activities or --payload",
                ),
            ),
        ] {
            let plan = json!({
                "shape": "parallel",
                "activities": activities,
                "payload": payload(bytes),
            });
            let handle = env
                .start_json::<ThroughputWorkflow>("ThroughputWorkflow", &[plan])
                .await?;
            let Some(reason) = reason else {
                until(&handle, ActivityTaskScheduled).await?;
                handle.terminate(Default::default()).await?;
                continue;
            };
            let error = handle.get_result(Default::default()).await.err();
            let error = describe(&error.context("completed")?);
            assert_eq!(error, format!("workflow failed: {reason}"));
            let events = event_types(&handle).await?;
            assert!(!events.contains(&ActivityTaskScheduled), "{events:?}");
        }
        Ok(())
    })
    .await
}

/// A signal that does not decode counts as a step, and does not block the workflow.
#[tokio::test]
async fn a_bad_signal_counts_as_a_step() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let plan = json!({"shape": "signal", "activities": 1, "payload": ""});
        let handle = env
            .start_json::<ThroughputWorkflow>("ThroughputWorkflow", &[plan])
            .await?;
        let untyped = env
            .client
            .get_workflow_handle::<UntypedWorkflow>(&handle.info().workflow_id);
        untyped
            .signal(
                temporalio_client::UntypedSignal::new("step"),
                testing::raw_json(&[json!({"no": "string"})]),
                Default::default(),
            )
            .await?;
        assert_eq!(handle.get_result(Default::default()).await?, 1);
        Ok(())
    })
    .await
}

/// A workflow whose children's ids would be too long fails before it starts the first of them.
#[tokio::test]
async fn refuses_child_ids_that_are_too_long() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let plan = json!({"shape": "child", "activities": 11, "payload": ""});
        env.checks_child_id::<ThroughputWorkflow>("ThroughputWorkflow", &[plan], "-child-10")
            .await
    })
    .await
}

/// A workflow whose child is terminated before a worker learns about the cancellation ends CANCELED. If the SDK
/// cancelled the child by itself, the workflow task would fail forever.
#[tokio::test]
async fn ends_cancelled_with_a_terminated_child() -> anyhow::Result<()> {
    // Starts the child, but cannot run it.
    let parent_only = |task_queue: &str| -> Result<_, WorkflowRegistrationError> {
        Ok(WorkerOptions::new(task_queue)
            .register_workflow::<ThroughputWorkflow>()?
            .build())
    };
    let env = TestEnv::new().await?;
    let handle = load(Shape::Child, 1, Pace::Concurrency(1))
        .start(&env.client, &env.task_queue, env.task_queue.clone())
        .await?;
    env.work(parent_only, until(&handle, ChildWorkflowExecutionStarted))
        .await?;
    let child = format!("{}-child-0", env.task_queue);
    let child = env.client.get_workflow_handle::<EchoWorkflow>(child);
    child.terminate(Default::default()).await?;
    until(&handle, ChildWorkflowExecutionTerminated).await?;
    env.ends_cancelled(&handle, worker_options).await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let handle = load(Shape::Signal, 1, Pace::Concurrency(1))
        .start(&env.client, &env.task_queue, env.task_queue.clone())
        .await?;
    env.ends_cancelled(&handle, worker_options).await
}

/// Runs the starter.
async fn starter(server: &str, task_queue: &str, args: &[&str]) -> anyhow::Result<Output> {
    let binary = env!("CARGO_BIN_EXE_throughput-starter");
    output_of(binary, server, task_queue, args).await
}

/// Runs a binary without the caller's Temporal variables.
async fn output_of(
    binary: &str,
    server: &str,
    task_queue: &str,
    args: &[&str],
) -> anyhow::Result<Output> {
    let mut starter = Command::new(binary);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TEMPORAL_")) {
        starter.env_remove(name);
    }
    let output = starter
        .args(["--address", server, "--task-queue", task_queue])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    Ok(timeout(PATIENCE, output).await??)
}

/// The starter's last line on stdout is the result, with the CPU time and memory of the worker, which is this process.
#[tokio::test]
async fn prints_speed_and_cost() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let args = ["--workflows", "5", "--rate", "50", "--shape", "signal"];
        let output = starter(address()?, &env.task_queue, &args).await?;
        let stderr = String::from_utf8(output.stderr)?;
        assert!(output.status.success(), "{stderr}");
        let stdout = String::from_utf8(output.stdout)?;
        let json = stdout
            .trim_end()
            .strip_prefix("result: ")
            .expect("one line");
        let report: Value = serde_json::from_str(json)?;
        assert_eq!(report["workflows"], 5);
        for figure in [
            "workflows_per_second",
            "worker_cpu_ms",
            "worker_peak_rss_mib",
        ] {
            assert!(report[figure].as_f64() > Some(0.0), "{figure}: {report}");
        }
        for line in ["speed ", "latency ", "worker "] {
            assert!(
                stderr.lines().any(|printed| printed.starts_with(line)),
                "{stderr}"
            );
        }
        Ok(())
    })
    .await
}

/// Without `--yes`, the starter does not even connect to a server on another machine.
#[tokio::test]
async fn refuses_a_server_elsewhere() -> anyhow::Result<()> {
    // An address that is reserved for documentation.
    let server = "192.0.2.1:7233";
    let output = starter(server, "none", &[]).await?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr)?,
        "Error: 192.0.2.1 is not this machine; if you are allowed to load that server, add --yes\n"
    );
    Ok(())
}

/// With `--encrypt`, neither worker nor starter uses the published key for a server on another machine.
#[tokio::test]
async fn refuses_the_published_key_elsewhere() -> anyhow::Result<()> {
    for (binary, args) in [
        (
            env!("CARGO_BIN_EXE_throughput-starter"),
            vec!["--encrypt", "--yes"],
        ),
        (env!("CARGO_BIN_EXE_throughput-worker"), vec!["--encrypt"]),
    ] {
        let output = output_of(binary, "192.0.2.1:7233", "none", &args).await?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let expected =
            "Error: 192.0.2.1:7233 is not on this machine, and the published development key";
        assert!(stderr.starts_with(expected), "{stderr}");
    }
    Ok(())
}

/// The starter refuses bad flags before it starts a workflow.
#[tokio::test]
async fn refuses_bad_flags() -> anyhow::Result<()> {
    let long_id = "x".repeat(228);
    for (args, message) in [
        (
            vec!["--workflow-id", &long_id],
            "Error: --workflow-id has 228 bytes, and at most 227 fit: choose a shorter one\n",
        ),
        (vec!["--workflows", "0"], "--workflows"),
        (vec!["--concurrency", "0"], "--concurrency"),
        (vec!["--rate", "0"], "--rate"),
        (vec!["--rate", "5", "--concurrency", "5"], "--concurrency"),
        (vec!["--payload", "1048577"], "--payload"),
        (vec!["--shape", "round"], "parallel, local, child, signal"),
        (
            vec![
                "--shape",
                "parallel",
                "--activities",
                "5",
                "--payload",
                "1048576",
            ],
            "lower --activities or --payload",
        ),
    ] {
        let output = starter("127.0.0.1:1", "none", &args).await?;
        let stderr = String::from_utf8(output.stderr)?;
        assert!(!output.status.success(), "{args:?}");
        assert!(stderr.contains(message), "{args:?}: {stderr}");
    }
    Ok(())
}
