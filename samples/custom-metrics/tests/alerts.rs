//! Tests the rules of `alerts.yml` in a real Prometheus. Each rule fires in its own situation and stays silent in
//! the others.

#![cfg(unix)]

use anyhow::{Context, bail, ensure};
use custom_metrics::{
    activities::SLEEP,
    metrics::Metrics,
    worker_options,
    workflows::{OrderWorkflow, StartTwoActivitiesWorkflow},
};
use futures::future::{FutureExt, LocalBoxFuture, try_join_all};
use http_client::http_client;
use regex::Regex;
use reqwest::{Client as HttpClient, Url};
use serde_json::{Value, json};
use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use temporalio_client::UntypedWorkflow;
use temporalio_common::data_converters::DataConverter;
use temporalio_macros::activities;
use temporalio_sdk::{
    Worker, WorkerOptions,
    activities::{ActivityContext, ActivityError},
};
use testing::{TestEnv, connect_to, faults::WorkerProcess, outside, root, until_pending};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// How long the expected alerts, and no others, must fire. This is longer than the window and the `for` of most
/// rules together, as shortened for this test.
const HOLD: Duration = Duration::from_secs(9);

/// How long a scene may take until the expected alerts fire.
const SCENE_LIMIT: Duration = Duration::from_secs(50);

/// The windows of the rules, and the windows that replace them in this test. Prometheus scrapes every second
/// instead of every five. A worker that cannot poll tries again every ten seconds, so that window stays longer.
const WINDOWS: [(&str, &str); 3] = [("[10m]", "[10s]"), ("[5m]", "[6s]"), ("[1m]", "[20s]")];

/// How long a condition must last in this test before an alert fires.
const FOR: &str = "for: 2s";

fn shortened(rules: &str) -> anyhow::Result<String> {
    let mut rules = Regex::new(r"for: \d+m\b")?
        .replace_all(rules, FOR)
        .into_owned();
    for (long, short) in WINDOWS {
        rules = rules.replace(long, short);
    }
    ensure!(
        !Regex::new(r"\d[mh]\b")?.is_match(&rules),
        "a duration is too long for this test: {rules}"
    );
    Ok(rules)
}

/// Returns a port on which nothing listens at the moment.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A directory for one test, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A development server of this test, which the test may freeze. It reports its backlog every second.
struct Server {
    process: Child,
    port: u16,
    metrics: u16,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let script = root().join("shared/scripts/temporal-cli");
        let found = outside(&script.to_string_lossy()).output()?;
        let cli = String::from_utf8(found.stdout)?;
        let (port, metrics) = (free_port()?, free_port()?);
        let mut server = Command::new(cli.trim());
        server
            .args(["server", "start-dev", "--headless", "--log-level", "never"])
            .args(["--port", &port.to_string()])
            .args(["--metrics-port", &metrics.to_string()]);
        for setting in [
            "matching.numTaskqueueReadPartitions=1",
            "matching.numTaskqueueWritePartitions=1",
            "history.transferProcessorMaxPollRPS=2000",
            "history.timerProcessorMaxPollRPS=2000",
            "matching.backlogMetricsEmitInterval=\"1s\"",
        ] {
            server.args(["--dynamic-config-value", setting]);
        }
        let process = server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a development server")?;
        Ok(Self {
            process,
            port,
            metrics,
        })
    }

    fn address(&self) -> String {
        local(self.port).to_string()
    }

    /// Waits until the server answers.
    async fn env(&self) -> anyhow::Result<TestEnv> {
        let answers = async {
            loop {
                // The server creates the namespace last, so it is ready when it can start a workflow.
                if let Ok(client) = connect_to(&self.address(), DataConverter::default()).await {
                    let env = TestEnv {
                        client,
                        task_queue: "server-frozen-then-gone".to_owned(),
                    };
                    if start(&env, "Warm", &[]).await.is_ok() {
                        return env;
                    }
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        let answers = timeout(SCENE_LIMIT, answers).await;
        answers.context("the development server does not answer")
    }

    async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.process.id().context("the server has ended")?;
        let sent = Command::new("kill")
            .args(["-s", name, &pid.to_string()])
            .status()
            .await?;
        ensure!(sent.success(), "kill -s {name}: {sent}");
        Ok(())
    }
}

/// A Prometheus with the rules of `alerts.yml`, for one worker and one task queue of the server.
struct Prometheus {
    _process: Child,
    _folder: Folder,
    scene: String,
    client: HttpClient,
    alerts: Url,
}

impl Prometheus {
    fn start(worker: SocketAddr, server: &Server, task_queue: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let folder = Folder::new(&format!("prometheus-{port}"))?;
        let rules = shortened(&fs::read_to_string("alerts.yml")?)?;
        fs::write(folder.0.join("alerts.yml"), rules)?;
        // The server writes `_` for `-`. Its metrics about the task queues of other scenes are dropped.
        let kept = task_queue.replace('-', "_");
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [
                {"job_name": "worker", "static_configs": [{"targets": [worker.to_string()]}]},
                {
                    "job_name": "server",
                    // The server's page is a hundred times longer than a worker's.
                    "scrape_interval": "2s",
                    "scrape_timeout": "2s",
                    "static_configs": [{"targets": [local(server.metrics).to_string()]}],
                    "metric_relabel_configs": [
                        {"source_labels": ["taskqueue"], "regex": kept, "action": "keep"},
                    ],
                },
            ],
        });
        // YAML is a superset of JSON.
        let file = folder.0.join("prometheus.yml");
        fs::write(&file, config.to_string())?;
        let address = local(port).to_string();
        let log = fs::File::create(folder.0.join("log"))?;
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.0.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let alerts = Url::parse(&format!("http://{address}/api/v1/alerts"))?;
        Ok(Self {
            _process: process,
            _folder: folder,
            scene: task_queue.to_owned(),
            client: http_client(&alerts, Duration::from_secs(5))?,
            alerts,
        })
    }

    async fn firing(&self) -> anyhow::Result<BTreeSet<String>> {
        let answer = self.client.get(self.alerts.clone()).send().await?;
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        let alerts = answer["data"]["alerts"].as_array().context("no alerts")?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let names = firing.filter_map(|alert| alert["labels"]["alertname"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// Waits until these alerts, and no others, have fired for as long as [`HOLD`].
    async fn settles(&self, expected: &[&str]) -> anyhow::Result<()> {
        self.fire(expected, HOLD).await
    }

    async fn fire(&self, expected: &[&str], hold: Duration) -> anyhow::Result<()> {
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        let (begin, mut since, mut firing) = (Instant::now(), None, None);
        while begin.elapsed() < SCENE_LIMIT {
            // Prometheus does not answer while it starts.
            firing = self.firing().await.ok();
            match since {
                _ if firing.as_ref() != Some(&expected) => since = None,
                None => since = Some(Instant::now()),
                Some(since) if since.elapsed() >= hold => return Ok(()),
                Some(_) => {}
            }
            sleep(Duration::from_millis(250)).await;
        }
        bail!("{}: {expected:?} should fire, not {firing:?}", self.scene)
    }
}

async fn start(env: &TestEnv, workflow_type: &str, input: &[Value]) -> anyhow::Result<()> {
    env.start_json::<UntypedWorkflow>(workflow_type, input)
        .await?;
    Ok(())
}

/// Starts an order, waits until it ends in any way, pauses, and repeats this forever.
async fn repeat(env: &TestEnv, order: Value, pause: Duration) -> anyhow::Result<()> {
    loop {
        let order = order.clone();
        let handle = env
            .start_json::<OrderWorkflow>("OrderWorkflow", &[order])
            .await?;
        let _ = handle.get_result(Default::default()).await;
        sleep(pause).await;
    }
}

fn ended(many: anyhow::Result<Vec<()>>) -> anyhow::Result<()> {
    many.map(|_| ())
}

/// Starts the sample's worker as a process.
async fn worker(server: &Server, task_queue: &str, metrics: u16) -> anyhow::Result<WorkerProcess> {
    let mut worker = WorkerProcess::start(
        env!("CARGO_BIN_EXE_custom-metrics-worker"),
        &server.address(),
        task_queue,
        &["--metrics-address", &local(metrics).to_string()],
    )?;
    worker.ready().await?;
    Ok(worker)
}

/// The load that runs in a scene until its alerts have been checked.
type Load<'a> = LocalBoxFuture<'a, anyhow::Result<()>>;

/// Checks the alerts for the sample's worker under a load.
async fn check_process(
    server: &Server,
    env: &TestEnv,
    load: Load<'_>,
    expected: &[&str],
) -> anyhow::Result<()> {
    let metrics = free_port()?;
    let _worker = worker(server, &env.task_queue, metrics).await?;
    let prometheus = Prometheus::start(local(metrics), server, &env.task_queue)?;
    tokio::select! {
        ended = load => bail!("the load ended: {ended:?}"),
        checked = prometheus.settles(expected) => checked,
    }
}

/// Checks the alerts for a worker in this process under a load.
async fn check_worker(
    server: &Server,
    env: &TestEnv,
    options: impl FnOnce(&str, Metrics) -> anyhow::Result<WorkerOptions>,
    load: Load<'_>,
    expected: &[&str],
) -> anyhow::Result<()> {
    let metrics = Metrics::serve(local(0))?;
    let prometheus = Prometheus::start(metrics.address(), server, &env.task_queue)?;
    let runtime = metrics.runtime()?;
    let options = options(&env.task_queue, metrics)?;
    let mut worker = Worker::new(&runtime, env.client.clone(), options)?;
    let shutdown = worker.shutdown_handle();
    let checked = async {
        let checked = tokio::select! {
            ended = load => bail!("the load ended: {ended:?}"),
            checked = prometheus.settles(expected) => checked,
        };
        shutdown();
        checked
    };
    let (ran, checked) = tokio::join!(worker.run(), checked);
    checked?;
    Ok(ran?)
}

/// Replaces the sample's activities. Reserving a piece takes a tenth of a second.
pub struct Slow;

#[activities]
impl Slow {
    #[activity(name = "reserve_stock")]
    pub async fn reserve_stock(_ctx: ActivityContext, pieces: u32) -> Result<(), ActivityError> {
        sleep(Duration::from_millis(100) * pieces).await;
        Ok(())
    }
}

/// Returns options with one activity slot, as in the sample, and slow activities.
fn one_slow_slot(task_queue: &str, metrics: Metrics) -> anyhow::Result<WorkerOptions> {
    let tuner = worker_options(task_queue, metrics.clone())?.tuner;
    let options = WorkerOptions::new(task_queue).tuner(tuner);
    Ok(options
        .register_workflow_with_factory(move || OrderWorkflow::new(metrics.clone()))?
        .register_activities(Slow)
        .build())
}

/// Returns options with room for a single workflow in the cache.
fn tiny_cache(task_queue: &str, metrics: Metrics) -> anyhow::Result<WorkerOptions> {
    let mut options = worker_options(task_queue, metrics)?;
    options.max_cached_workflows = 1;
    Ok(options)
}

/// Starts and stops a worker again and again. Orders wait almost a second for it.
async fn start_and_stop(env: &TestEnv, metrics: &Metrics, done: &Cell<bool>) -> anyhow::Result<()> {
    let runtime = metrics.runtime()?;
    while !done.get() {
        let input = [order(1)];
        let orders = [(); 3].map(|()| env.start_json::<OrderWorkflow>("OrderWorkflow", &input));
        let orders = try_join_all(orders).await?;
        sleep(Duration::from_millis(900)).await;
        let options = worker_options(&env.task_queue, metrics.clone())?;
        let mut worker = Worker::new(&runtime, env.client.clone(), options)?;
        let shutdown = worker.shutdown_handle();
        let ended = async {
            for order in orders {
                order.get_result(Default::default()).await?;
            }
            shutdown();
            anyhow::Ok(())
        };
        let (ran, ended) = tokio::join!(worker.run(), ended);
        ran?;
        ended?;
    }
    Ok(())
}

fn order(pieces: u32) -> Value {
    json!({"channel": "shop", "pieces": pieces})
}

/// Returns whether both programs are installed, and prints a line if not.
fn installed() -> anyhow::Result<bool> {
    for program in ["prometheus", "promtool"] {
        if outside(program).arg("--version").output().is_err() {
            // Not with `eprintln!`, because the test harness hides what a passing test prints with it.
            writeln!(
                std::io::stderr(),
                "SKIPPED: {program} is not installed, so alerts.yml is not tested"
            )?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every rule of `alerts.yml` fires in its own scene and in no other. The scenes are an idle worker, no worker, a
/// busy worker with a single slot, a worker with too few slots, failing activities, failing workflow tasks, failing
/// requests, a cache that is too small, a worker that is away at times, a frozen server, and a server that is gone.
#[tokio::test]
async fn fire_when_they_should() -> anyhow::Result<()> {
    if !installed()? {
        return Ok(());
    }
    let checked = outside("promtool")
        .args(["check", "rules", "alerts.yml"])
        .output()?;
    ensure!(checked.status.success(), "{checked:?}");

    let (server, frozen) = (Server::start()?, Server::start()?);
    let all = server.env().await?;
    // Each scene has its own task queue. Nothing else uses this server.
    let scene = |name: &str| TestEnv {
        task_queue: name.to_owned(),
        ..all.clone()
    };
    let short = Duration::from_millis(500);

    let idle = async {
        let env = scene("idle");
        // "Sold out" is a benign failure.
        let load = try_join_all([order(1), order(20)].map(|order| repeat(&env, order, short)));
        check_process(&server, &env, load.map(ended).boxed_local(), &[]).await
    };
    let none = async {
        let env = scene("none");
        start(&env, "OrderWorkflow", &[order(1)]).await?;
        let nobody = local(free_port()?);
        let prometheus = Prometheus::start(nobody, &server, &env.task_queue)?;
        prometheus.settles(&["NobodyPolls", "WorkerDown"]).await
    };
    let busy = async {
        let env = scene("busy");
        let load = repeat(&env, order(9), Duration::ZERO).boxed_local();
        check_worker(&server, &env, one_slow_slot, load, &[]).await
    };
    let crowded = async {
        let env = scene("too-few-slots");
        let load = try_join_all([30; 4].map(|pieces| repeat(&env, order(pieces), Duration::ZERO)));
        let expected = ["ActivitiesWait", "SlotsUsedUp"];
        check_worker(
            &server,
            &env,
            one_slow_slot,
            load.map(ended).boxed_local(),
            &expected,
        )
        .await
    };
    let activities_fail = async {
        let env = scene("failing-activities");
        let load = repeat(&env, order(2_000), short).boxed_local();
        check_process(&server, &env, load, &["ActivitiesFail"]).await
    };
    let tasks_fail = async {
        let env = scene("failing-workflow-tasks");
        let load = async {
            loop {
                let handle = env
                    .start_json::<UntypedWorkflow>("NoSuchWorkflow", &[])
                    .await?;
                sleep(Duration::from_secs(3)).await;
                // Each failed workflow task evicts its workflow, and many of them would also mean a small cache.
                handle.terminate(Default::default()).await?;
            }
        };
        check_process(&server, &env, load.boxed_local(), &["WorkflowTasksFail"]).await
    };
    let requests_fail = async {
        let env = scene("failing-requests");
        let load = async {
            loop {
                let handle = env
                    .start_json::<StartTwoActivitiesWorkflow>("StartTwoActivitiesWorkflow", &[])
                    .await?;
                until_pending(&handle, |activity| activity.last_started_time.is_some()).await?;
                // The worker then reports an activity that the server no longer knows.
                handle.terminate(Default::default()).await?;
                sleep(SLEEP).await;
            }
        };
        check_process(&server, &env, load.boxed_local(), &["RequestsFail"]).await
    };
    let small = async {
        let env = scene("tiny-cache");
        let load = try_join_all([1; 4].map(|pieces| repeat(&env, order(pieces), Duration::ZERO)));
        check_worker(
            &server,
            &env,
            tiny_cache,
            load.map(ended).boxed_local(),
            &["CacheTooSmall"],
        )
        .await
    };
    let away = async {
        let env = scene("away-at-times");
        let metrics = Metrics::serve(local(0))?;
        let prometheus = Prometheus::start(metrics.address(), &server, &env.task_queue)?;
        let done = Cell::new(false);
        let checked = async {
            let checked = prometheus.settles(&["WorkflowTasksWait"]).await;
            done.set(true);
            checked
        };
        let (came, checked) = tokio::join!(start_and_stop(&env, &metrics, &done), checked);
        checked?;
        came
    };
    let gone = async {
        let env = frozen.env().await?;
        let metrics = free_port()?;
        let _worker = worker(&frozen, &env.task_queue, metrics).await?;
        let prometheus = Prometheus::start(local(metrics), &frozen, &env.task_queue)?;
        frozen.signal("STOP").await?;
        prometheus.settles(&["ServerDown"]).await?;
        frozen.signal("KILL").await?;
        let expected = ["PollsFail", "ServerDown"];
        prometheus.fire(&expected, Duration::ZERO).await
    };
    let scenes: Vec<LocalBoxFuture<'_, anyhow::Result<()>>> = vec![
        idle.boxed_local(),
        none.boxed_local(),
        busy.boxed_local(),
        crowded.boxed_local(),
        activities_fail.boxed_local(),
        tasks_fail.boxed_local(),
        requests_fail.boxed_local(),
        small.boxed_local(),
        away.boxed_local(),
        gone.boxed_local(),
    ];
    try_join_all(scenes).await?;
    Ok(())
}
