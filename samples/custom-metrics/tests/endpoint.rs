//! Runs the real worker binary: its endpoint, its log, and its error when the port is in use.

#![cfg(unix)]

use crate::promql;
use anyhow::{Context, ensure};
use custom_metrics::{
    metrics::{Channel, Metrics, UNKNOWN},
    scrape::Scrape,
    worker_options,
    workflows::{Order, OrderWorkflow, StartTwoActivitiesWorkflow},
};
use http_client::http_client;
use reqwest::Url;
use serde_json::{Value, json};
use std::{net::SocketAddr, process::Stdio, time::Duration};
use temporalio_client::{
    Client, NamespacedClient, UntypedQuery, UntypedWorkflow, WorkflowHandle, WorkflowStartOptions,
    grpc::WorkflowService, tonic::IntoRequest,
};
use temporalio_common::protos::temporal::api::{
    command::v1::{Command as Ordered, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::v1::{ActivityType, Payloads},
    enums::v1::{CommandType, EventType::WorkflowTaskFailed},
    taskqueue::v1::TaskQueue,
    workflowservice::v1::{PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest},
};
use temporalio_sdk::Worker;
use testing::{TEST_TIMEOUT, TestEnv, address, raw_json, until, until_pending};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// A worker process, the address of its metrics, and the lines of its log.
struct Running {
    process: Child,
    metrics: SocketAddr,
    log: JoinHandle<Vec<String>>,
}

fn command(env: &TestEnv, filter: &str) -> anyhow::Result<Command> {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_custom-metrics-worker"));
    worker
        .args(["--address", address()?, "--task-queue", &env.task_queue])
        // An empty value counts as not set.
        .env("RUST_LOG", filter)
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(worker)
}

async fn start(env: &TestEnv, filter: &str, flags: &[&str]) -> anyhow::Result<Running> {
    let mut worker = command(env, filter)?;
    worker
        .args(["--metrics-address", "127.0.0.1:0"])
        .args(flags);
    let mut process = worker.spawn()?;
    let mut log = BufReader::new(process.stderr.take().context("piped")?).lines();
    let first = log.next_line().await?.context("no log")?;
    let metrics = first
        .split_once("http://")
        .and_then(|(_, url)| url.split_once("/metrics"))
        .with_context(|| first.clone())?
        .0
        .parse()?;
    let log = tokio::spawn(async move {
        let mut lines = vec![first];
        while let Ok(Some(line)) = log.next_line().await {
            lines.push(line);
        }
        lines
    });
    Ok(Running {
        process,
        metrics,
        log,
    })
}

impl Running {
    /// Stops the worker with a signal, so that the server gives its cached workflows to another worker.
    async fn stop(mut self) -> anyhow::Result<Vec<String>> {
        let pid = self
            .process
            .id()
            .context("the worker has ended")?
            .to_string();
        Command::new("kill").arg(pid).status().await?;
        ensure!(self.process.wait().await?.success());
        Ok(self.log.await?)
    }
}

/// Runs an order to its end on one worker, and queries it on a second one, which must replay it for that.
/// Returns the logs of both, the workflow id, and how often the second worker counted the order.
async fn order_and_replay(
    env: &TestEnv,
    filter: &str,
    flags: &[&str],
) -> anyhow::Result<(Vec<String>, String, f64)> {
    let worker = start(env, filter, flags).await?;
    let order = Order {
        channel: Channel::Phone,
        pieces: 1,
    };
    let handle = env
        .client
        .start_workflow(OrderWorkflow::run, order.into(), env.start_options())
        .await?;
    handle.get_result(Default::default()).await?;
    let orders = "orders_total{channel=\"phone\"}";
    let scrape = Scrape::read(worker.metrics).await?;
    assert_eq!(scrape.get(orders), Some(1.0));
    let mut log = worker.stop().await?;

    let worker = start(env, filter, flags).await?;
    let metadata = UntypedQuery::new("__temporal_workflow_metadata");
    handle
        .query(metadata, raw_json(&[]), Default::default())
        .await?;
    let counted = Scrape::read(worker.metrics).await?.get(orders);
    let counted = counted.context("the series does not begin with 0")?;
    log.extend(worker.stop().await?);
    Ok((log, handle.info().workflow_id.clone(), counted))
}

/// When another worker replays an order, it does not count it again and does not log it again. The log line names
/// the workflow.
#[tokio::test]
async fn replay_is_silent() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (log, id, counted) = order_and_replay(&env, "", &[]).await?;
    assert_eq!(counted, 0.0);
    let mut received = log.iter().filter(|line| line.contains("order received"));
    let line = received.next().context("not logged")?;
    assert!(line.contains(&format!("workflow_id=\"{id}\"")), "{line}");
    assert!(received.next().is_none(), "{log:?}");
    Ok(())
}

/// With `--log-format json` every line is JSON, with the fields in `spans`, even if `RUST_LOG` names only this
/// sample. The line of an activity has its type and attempt.
#[tokio::test]
async fn json_lines_have_all_fields() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (filter, flags) = ("custom_metrics=info", ["--log-format", "json"]);
    let (mut log, id, _) = order_and_replay(&env, filter, &flags).await?;
    let worker = start(&env, filter, &flags).await?;
    let handle = env
        .start_json::<StartTwoActivitiesWorkflow>("StartTwoActivitiesWorkflow", &[])
        .await?;
    handle.get_result(Default::default()).await?;
    log.extend(worker.stop().await?);

    let lines: Vec<Value> = log
        .iter()
        .map(|line| serde_json::from_str(line))
        .collect::<Result<_, _>>()?;
    let spans = |message: &str| -> Vec<&Value> {
        let lines = lines.iter().filter(|line| line["message"] == message);
        lines.map(|line| &line["spans"][0]).collect()
    };
    let received = spans("order received");
    assert_eq!(received.len(), 1, "{log:?}");
    assert_eq!(received[0]["workflow_id"], id);
    assert_eq!(received[0]["workflow_type"], "OrderWorkflow");
    assert!(received[0]["run_id"].is_string());
    let activities = spans("in the activity");
    assert_eq!(activities.len(), 2, "{log:?}");
    for span in activities {
        assert_eq!(span["workflow_id"], handle.info().workflow_id);
        assert_eq!(span["activity_type"], "print_and_sleep");
        assert_eq!(span["attempt"], 1);
        assert!(span["run_id"].is_string());
    }
    Ok(())
}

/// Runs orders on a worker whose cache has room for one workflow, so that it evicts and replays them.
async fn overflow_the_cache(env: &TestEnv, metrics: &Metrics) -> anyhow::Result<()> {
    let mut options = worker_options(&env.task_queue, metrics.clone())?;
    options.max_cached_workflows = 1;
    let runtime = metrics.runtime()?;
    let mut worker = Worker::new(&runtime, env.client.clone(), options)?;
    let orders = async {
        let orders = [(); 8].map(|()| order(env, 1));
        let orders = futures::future::try_join_all(orders).await?;
        for order in orders {
            order.get_result(Default::default()).await?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        ended = worker.run() => anyhow::bail!("the worker ended: {ended:?}"),
        done = orders => done,
    }
}

async fn order(
    env: &TestEnv,
    pieces: u32,
) -> anyhow::Result<WorkflowHandle<Client, OrderWorkflow>> {
    let order = json!({"channel": "shop", "pieces": pieces});
    env.start_json("OrderWorkflow", &[order]).await
}

/// The worker or the server has every metric of the dashboard, with every label, after the events that it counts
/// have happened. Of two failures the SDK counts only the one that is not benign.
#[tokio::test]
async fn dashboard_queries_find_data() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let worker = start(&env, "", &[]).await?;
    // A workflow task that fails, because the worker does not know the workflow type.
    let unknown = env.start_options();
    let id = unknown.workflow_id.clone();
    let kind = UntypedWorkflow::new("NoSuchWorkflow");
    env.client
        .start_workflow(kind, raw_json(&[]), unknown)
        .await?;
    let unknown = env.client.get_workflow_handle::<OrderWorkflow>(id);
    until(&unknown, WorkflowTaskFailed).await?;
    unknown.terminate(Default::default()).await?;
    // A benign failure of an activity, and one that is not.
    for pieces in [11, 1_001] {
        let handle = order(&env, pieces).await?;
        let _ = handle.get_result(Default::default()).await;
    }
    // A workflow that is cancelled, and a request that fails, because the worker reports an activity that the
    // server no longer knows.
    let handle = env
        .start_json::<StartTwoActivitiesWorkflow>("StartTwoActivitiesWorkflow", &[])
        .await?;
    until_pending(&handle, |activity| activity.last_started_time.is_some()).await?;
    handle.cancel(Default::default()).await?;
    let _ = handle.get_result(Default::default()).await;
    let small = Metrics::serve("127.0.0.1:0".parse()?)?;
    overflow_the_cache(&TestEnv::new().await?, &small).await?;

    let queried = promql::queried_metrics()?;
    let mut missing = Vec::new();
    for _ in 0..100 {
        let worker = Scrape::read(worker.metrics).await?;
        let small = Scrape::read(small.address()).await?;
        let server = read_server().await?;
        missing = queried
            .iter()
            .filter(|queried| !queried.is_on(&[&worker, &small, &server]))
            .collect();
        if missing.is_empty() {
            assert_eq!(worker.sum("temporal_activity_execution_failed"), Some(1.0));
            let failed = worker.get("activity_executions_total{status=\"failed\"}");
            assert_eq!(failed, Some(2.0));
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("on the dashboard, but not found: {missing:#?}")
}

/// Reads the metrics of the test server, on the port that `shared/scripts/server` gives them.
///
/// Not with [`Scrape::read`], which gives a worker two seconds. The server's page has series for the task queue of every
/// test, so it is much longer.
async fn read_server() -> anyhow::Result<Scrape> {
    let mut server: SocketAddr = address()?.parse()?;
    server.set_port(server.port() + 2_000);
    let url = Url::parse(&format!("http://{server}/metrics"))?;
    let client = http_client(&url, TEST_TIMEOUT)?;
    let answer = client.get(url).send().await?.error_for_status()?;
    Scrape::parse(&answer.text().await?)
}

/// The dashboard takes the time from start to end from the server, which counts every workflow once, however it
/// ends. The SDK counts each query of a closed workflow as another end. When that changes, this test fails, and the
/// dashboard can use the SDK's metric again.
#[tokio::test]
async fn the_server_counts_each_workflow_once() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let worker = start(&env, "", &[]).await?;
    let completed = order(&env, 1).await?;
    completed.get_result(Default::default()).await?;
    let failed = order(&env, 1_001).await?;
    ensure!(failed.get_result(Default::default()).await.is_err());
    let cancelled = env
        .start_json::<StartTwoActivitiesWorkflow>("StartTwoActivitiesWorkflow", &[])
        .await?;
    until_pending(&cancelled, |activity| activity.last_started_time.is_some()).await?;
    cancelled.cancel(Default::default()).await?;
    ensure!(cancelled.get_result(Default::default()).await.is_err());
    for _ in 0..3 {
        let metadata = UntypedQuery::new("__temporal_workflow_metadata");
        completed
            .query(metadata, raw_json(&[]), Default::default())
            .await?;
    }

    let queue = format!("taskqueue=\"{}\"", env.task_queue.replace('-', "_"));
    let ends = |page: &Scrape| -> f64 {
        let ours = page.series().filter(|series| {
            series.starts_with("workflow_schedule_to_close_latency_count{")
                && series.contains(&queue)
        });
        ours.filter_map(|series| page.get(series)).sum()
    };
    let counted = timeout(TEST_TIMEOUT, async {
        while ends(&read_server().await?) != 3.0 {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    });
    counted
        .await
        .context("the server does not count three workflows")??;
    let queried = promql::queried_metrics()?;
    let is_queried = |metric: &str| queried.iter().any(|queried| queried.metric == metric);
    assert!(is_queried("workflow_schedule_to_close_latency_bucket"));
    assert!(!is_queried("temporal_workflow_endtoend_latency_bucket"));
    let page = Scrape::read(worker.metrics).await?;
    assert_eq!(
        page.sum("temporal_workflow_endtoend_latency_count"),
        Some(3.0 + 3.0)
    );
    Ok(())
}

/// Acts as a worker in another language with these workflow types. Each of its workflows runs one activity on the
/// worker under test.
async fn run_foreign_workflows(env: &TestEnv, workflow_types: &[String]) -> anyhow::Result<()> {
    let task_queue = format!("{}-foreign", env.task_queue);
    let namespace = env.client.namespace();
    for workflow_type in workflow_types {
        let options =
            WorkflowStartOptions::new(task_queue.clone(), format!("{task_queue}-{workflow_type}"));
        let kind = UntypedWorkflow::new(workflow_type);
        env.client
            .start_workflow(kind, raw_json(&[]), options.build())
            .await?;
    }
    let mut client = env.client.clone();
    for _ in workflow_types {
        let poll = PollWorkflowTaskQueueRequest {
            namespace: namespace.clone(),
            task_queue: Some(TaskQueue {
                name: task_queue.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let task = client
            .poll_workflow_task_queue(poll.into_request())
            .await?
            .into_inner();
        let activity = ScheduleActivityTaskCommandAttributes {
            activity_id: "1".to_owned(),
            activity_type: Some(ActivityType {
                name: "reserve_stock".to_owned(),
            }),
            task_queue: Some(TaskQueue {
                name: env.task_queue.clone(),
                ..Default::default()
            }),
            input: Some(Payloads {
                payloads: raw_json(&[json!(1)]).payloads,
            }),
            start_to_close_timeout: Duration::from_secs(5).try_into().ok(),
            ..Default::default()
        };
        let command = Ordered {
            command_type: CommandType::ScheduleActivityTask.into(),
            attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(activity)),
            ..Default::default()
        };
        let completed = RespondWorkflowTaskCompletedRequest {
            namespace: namespace.clone(),
            task_token: task.task_token,
            commands: vec![command],
            ..Default::default()
        };
        client
            .respond_workflow_task_completed(completed.into_request())
            .await?;
    }
    Ok(())
}

/// Counts the series of these workflow types on a page, of metrics whose names begin with `prefix`.
fn count_series(page: &Scrape, workflow_types: &[String], prefix: &str) -> usize {
    let labels: Vec<_> = workflow_types
        .iter()
        .map(|name| format!("workflow_type=\"{name}\""))
        .collect();
    let series = page.series().filter(|series| series.starts_with(prefix));
    series
        .filter(|series| labels.iter().any(|label| series.contains(label)))
        .count()
}

/// Workflow types that the worker has not registered share one value of our label, while the SDK makes a value for
/// each. When the SDK limits them, this test fails, and METRICS.md no longer needs the warning.
#[tokio::test]
async fn unknown_types_share_a_label() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let worker = start(&env, "", &[]).await?;
    let types = |name: &str| -> Vec<_> { (0..50).map(|n| format!("{name}{n}")).collect() };
    let (foreign, unknown) = (types("Foreign"), types("Unknown"));
    run_foreign_workflows(&env, &foreign).await?;
    for workflow_type in &unknown {
        let kind = UntypedWorkflow::new(workflow_type);
        let started = env
            .client
            .start_workflow(kind, raw_json(&[]), env.start_options());
        started.await?;
    }
    let ours = format!(
        "activity_schedule_to_start_latency_count{{activity_type=\"reserve_stock\",workflow_type=\"{UNKNOWN}\"}}"
    );
    let mut theirs = [0, 0];
    let page = timeout(TEST_TIMEOUT, async {
        loop {
            let page = Scrape::read(worker.metrics).await?;
            theirs = [&foreign, &unknown].map(|types| count_series(&page, types, "temporal_"));
            if theirs == [50 * 20, 50 * 12] {
                return anyhow::Ok(page);
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    let page = page
        .await
        .with_context(|| format!("the SDK has other series now: {theirs:?}"))??;
    assert_eq!(page.get(&ours), Some(50.0));
    let all = [foreign.as_slice(), unknown.as_slice()].concat();
    assert_eq!(count_series(&page, &all, "activity_"), 0);
    Ok(())
}

/// If the port is in use, the worker ends with one line that names the address and what to do.
#[tokio::test]
async fn a_port_in_use_is_reported() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let busy = taken.local_addr()?.to_string();
    let mut worker = command(&env, "")?;
    let output = worker.args(["--metrics-address", &busy]).output().await?;
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr)?;
    // The number of the error depends on the operating system.
    let stderr = stderr.replace("(os error 48)", "(os error 98)");
    let expected = format!(
        "Error: cannot serve metrics at {busy}: Address already in use (os error 98); choose \
         another address with --metrics-address\n"
    );
    assert_eq!(stderr, expected);
    Ok(())
}
