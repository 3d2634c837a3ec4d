//! Faults that happen in production: a worker is killed or replaced, its server dies, the network breaks.
//!
//! They happen to a sample's real worker binary, under the load of its `tests/load.json`.

use super::{Case, Load, connect_to, events, root, until_pending, within};
use anyhow::{Context, bail, ensure};
use futures::future::try_join_all;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowExecutionStatus, WorkflowHandle,
    errors::WorkflowInteractionError,
};
use temporalio_common::{
    HasWorkflowDefinition,
    data_converters::DataConverter,
    protos::temporal::api::{
        failure::v1::failure::FailureInfo,
        history::v1::{HistoryEvent, history_event::Attributes},
    },
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::watch,
    time::{sleep, timeout},
};
use uuid::Uuid;

/// Longest time until all workflows of a load have ended.
const PATIENCE: Duration = Duration::from_secs(90);

/// Time in which all workflows of a load are started.
const ARRIVALS: Duration = Duration::from_secs(1);

/// A running worker binary, which is killed on drop.
pub struct WorkerProcess {
    child: Child,
    log: PathBuf,
}

impl WorkerProcess {
    /// Starts `binary`, and writes its log to a file.
    ///
    /// # Errors
    /// If the binary cannot be started.
    pub fn start(
        binary: impl AsRef<Path>,
        address: &str,
        task_queue: &str,
        args: &[impl AsRef<OsStr>],
    ) -> anyhow::Result<Self> {
        let binary = binary.as_ref();
        let log = std::env::temp_dir().join(format!("{task_queue}-{}.log", Uuid::new_v4()));
        let output = File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        let mut command = Command::new(binary);
        command
            .args(["--address", address, "--task-queue", task_queue])
            .args(args)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {binary:?}"))?;
        Ok(Self { child, log })
    }

    /// Waits until the worker polls.
    ///
    /// # Errors
    /// If the worker ends before that.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        while !self.log()?.contains("worker started") {
            if let Some(status) = self.child.try_wait()? {
                bail!("the worker has ended, {status}: {}", self.log()?);
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Kills the worker (`kill -9`), and waits until it has ended.
    ///
    /// # Errors
    /// If the worker has already ended by itself.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the worker has ended by itself, {status}: {}", self.log()?);
        }
        Ok(self.child.kill().await?)
    }

    /// Returns the beginning of the worker's identity on the server.
    ///
    /// # Errors
    /// If the worker has ended.
    pub fn identity(&self) -> anyhow::Result<String> {
        let pid = self.child.id().context("the worker has ended by itself")?;
        Ok(format!("{pid}@"))
    }

    /// Sends SIGTERM to the worker, and waits until it has ended.
    ///
    /// # Errors
    /// If the worker has already ended by itself.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        signal(&self.child, "TERM").await?;
        Ok(timeout(PATIENCE, self.child.wait()).await??)
    }

    /// Returns the worker's log.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // An error does not matter: it is a temporary file.
        let _ = std::fs::remove_file(&self.log);
    }
}

async fn signal(child: &Child, name: &str) -> anyhow::Result<()> {
    let pid = child.id().context("the process has ended by itself")?;
    let pid = pid.to_string();
    let kill = Command::new("kill").args(["-s", name, &pid]).status();
    let kill = kill.await?;
    ensure!(kill.success(), "kill: {kill}");
    Ok(())
}

/// Sends SIGTERM to the worker that runs the workflow's only activity, which heartbeats and takes longer
/// than the worker's grace period. Returns the other worker when it runs the next attempt.
///
/// # Errors
/// If the first worker does not end with status 0, if its log does not name the activity that it
/// waits for, or if the server learns about the end of the attempt from a timeout.
pub async fn handed_over<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    workers: [WorkerProcess; 2],
) -> anyhow::Result<WorkerProcess> {
    let [mut first, mut second] = workers;
    // The server says that it is running before the worker has begun, so wait for its first heartbeat.
    let running = until_pending(handle, |activity| activity.last_heartbeat_time.is_some());
    let activity = timeout(PATIENCE, running).await??;
    if !activity
        .last_worker_identity
        .starts_with(&first.identity()?)
    {
        std::mem::swap(&mut first, &mut second);
    }
    let status = first.terminate().await?;
    let log = first.log()?;
    ensure!(status.success(), "{status}: {log}");
    let kind = activity.activity_type.unwrap_or_default().name;
    let named = format!("waiting_for=\"{kind} ({})\"", handle.info().workflow_id);
    let lines = log.lines().filter(|line| line.contains(&named)).count();
    ensure!(lines == 1, "{lines} lines with {named}: {log}");

    let identity = second.identity()?;
    let again = until_pending(handle, |activity| {
        activity.attempt == 2 && activity.last_worker_identity.starts_with(&identity)
    });
    let again = timeout(PATIENCE, again)
        .await
        .context("no other worker runs the activity")??;
    let failure = again.last_failure.unwrap_or_default();
    let timed_out = matches!(
        failure.failure_info,
        Some(FailureInfo::TimeoutFailureInfo(_))
    );
    ensure!(!timed_out, "the worker did not report: {failure:?}");
    Ok(second)
}

/// A development server whose database is a file, so that the data survives a restart.
pub struct ServerProcess {
    child: Child,
    port: u16,
    database: PathBuf,
    flags: &'static [&'static str],
}

impl ServerProcess {
    /// Starts the server on a free port, and waits until it answers.
    ///
    /// # Errors
    /// If the server does not start or does not answer.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// As [`ServerProcess::start`], but with more flags of `temporal server start-dev`.
    ///
    /// # Errors
    /// As [`ServerProcess::start`].
    pub async fn start_with(flags: &'static [&'static str]) -> anyhow::Result<Self> {
        // Below the range from which the system assigns ports. Otherwise the port could be taken at the restart.
        let port = loop {
            let port = 20000 + Uuid::new_v4().as_fields().1 % 10000;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                break port;
            }
        };
        let database = std::env::temp_dir().join(format!("{}.db", Uuid::new_v4()));
        let child = Self::spawn(port, &database, flags)?;
        let server = Self {
            child,
            port,
            database,
            flags,
        };
        server.answers().await?;
        Ok(server)
    }

    fn spawn(port: u16, database: &Path, flags: &[&str]) -> anyhow::Result<Child> {
        let script = root().join("shared/scripts/server");
        Command::new(&script)
            .arg("run")
            .arg(port.to_string())
            .arg(database)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {script:?}"))
    }

    async fn answers(&self) -> anyhow::Result<()> {
        let answers = async {
            while connect_to(&self.address(), DataConverter::default())
                .await
                .is_err()
            {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, answers)
            .await
            .context("the server does not answer")
    }

    /// Returns the address on which it listens, as `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills the server (`kill -9`), and starts it again on the same port with the same database after `pause`.
    ///
    /// # Errors
    /// If the server does not start again.
    pub async fn kill_and_restart(&mut self, pause: Duration) -> anyhow::Result<()> {
        self.child.kill().await?;
        sleep(pause).await;
        self.child = Self::spawn(self.port, &self.database, self.flags)?;
        self.answers().await
    }

    /// Freezes the process (SIGSTOP). The server then accepts connections but answers nothing.
    ///
    /// # Errors
    /// If the server has ended.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        signal(&self.child, "STOP").await
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        for end in ["", "-journal", "-shm", "-wal"] {
            let mut file = self.database.clone().into_os_string();
            file.push(end);
            let _ = std::fs::remove_file(file);
        }
    }
}

/// A network that can be cut: a proxy in front of the server.
pub struct Network {
    address: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Network {
    /// Creates a network in front of the server at `target`.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn to(target: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (cut, is_cut) = watch::channel(false);
        let target = target.to_owned();
        tokio::spawn(async move {
            loop {
                let mut until_whole = is_cut.clone();
                // While the network is cut, a new connection gets no answer, not even a refusal.
                if until_whole.wait_for(|cut| !cut).await.is_err() {
                    return;
                }
                let Ok((mut client, _)) = listener.accept().await else {
                    return;
                };
                let (target, mut until_cut) = (target.clone(), is_cut.clone());
                tokio::spawn(async move {
                    let pass = async {
                        let mut server = TcpStream::connect(target).await?;
                        copy_bidirectional(&mut client, &mut server).await
                    };
                    tokio::select! {
                        _ = pass => {}
                        _ = until_cut.wait_for(|cut| *cut) => {}
                    }
                });
            }
        });
        Ok(Self { address, cut })
    }

    /// Returns the address on which it listens, as `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts the network: connections break, and new ones get no answer.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Repairs the network.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

/// The file to which a worker writes a line for each side effect: a key, a tab, and a description.
pub struct Ledger(PathBuf);

impl Ledger {
    /// Creates an empty ledger.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create() -> anyhow::Result<Self> {
        let file = std::env::temp_dir().join(format!("{}.ledger", Uuid::new_v4()));
        File::create(&file).with_context(|| format!("cannot write {file:?}"))?;
        Ok(Self(file))
    }

    /// Returns the keys of the side effects in order. A key that occurs twice means that the side effect happened
    /// twice.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn keys(&self) -> anyhow::Result<Vec<String>> {
        let lines = std::fs::read_to_string(&self.0)?;
        let key = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        Ok(lines.lines().map(key).collect())
    }

    /// Returns the arguments that make a worker write to this ledger.
    pub fn args(&self) -> [String; 2] {
        ["--ledger".to_owned(), self.0.display().to_string()]
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A load on a task queue of its own, and the worker binary that is tested with it.
pub struct LoadTest {
    /// The client that starts the load. Replace it if the workers encrypt their payloads.
    pub client: Client,
    /// The workflows to start.
    pub load: Load,
    /// Task queue that no other test uses.
    pub task_queue: String,
    ledger: Option<Ledger>,
    binary: PathBuf,
    /// Address of the server for the worker.
    address: String,
}

impl LoadTest {
    /// Creates a load test for the worker `binary` with the `load.json` of its sample. The client connects to
    /// `server`, and the worker to `address`.
    ///
    /// # Errors
    /// If the load does not decode, or the server does not answer.
    pub async fn new(
        binary: impl Into<PathBuf>,
        load: &str,
        server: &str,
        address: &str,
    ) -> anyhow::Result<Self> {
        let task_queue = format!("survives-{}", Uuid::new_v4());
        let mut load = Load::parse(&load.replace("{task_queue}", &task_queue))?;
        let ledger = load.ledger.then(Ledger::create).transpose()?;
        load.worker_args
            .extend(ledger.iter().flat_map(Ledger::args));
        Ok(Self {
            client: connect_to(server, DataConverter::default()).await?,
            binary: binary.into(),
            load,
            address: address.to_owned(),
            task_queue,
            ledger,
        })
    }

    /// Starts another worker, and waits until it polls.
    ///
    /// # Errors
    /// As [`WorkerProcess::start`] and [`WorkerProcess::ready`].
    pub async fn worker(&self) -> anyhow::Result<WorkerProcess> {
        let args = &self.load.worker_args;
        let mut worker = WorkerProcess::start(&self.binary, &self.address, &self.task_queue, args)?;
        timeout(PATIENCE, worker.ready())
            .await
            .with_context(|| format!("{:?} does not start", self.binary))??;
        Ok(worker)
    }

    /// Kills a worker at a random moment while it works on a workflow, and starts another one. Every workflow must
    /// end as its case says.
    ///
    /// # Errors
    /// As [`LoadTest::worker`], [`LoadTest::freeze_at_work`] and [`LoadTest::run_during`].
    pub async fn killed_worker(&self) -> anyhow::Result<()> {
        let mut first = self.worker().await?;
        let second = self.run_during(async {
            random_delay().await;
            self.freeze_at_work(&first).await?;
            first.kill().await?;
            self.worker().await
        });
        second.await?.kill().await
    }

    /// Freezes the worker (SIGSTOP) and waits until it has a task of a workflow that is still running,
    /// which it cannot finish now. Without this, a kill could hit an idle worker.
    ///
    /// # Errors
    /// If all workflows have ended, or if the server does not answer.
    pub async fn freeze_at_work(&self, worker: &WorkerProcess) -> anyhow::Result<()> {
        let identity = worker.identity()?;
        // Not `eventually`: with an async closure the compiler no longer sees that this is `Send`.
        let at_work = async {
            loop {
                signal(&worker.child, "STOP").await?;
                for _ in 0..10 {
                    if self.is_at_work(&identity).await? {
                        return Ok(());
                    }
                    sleep(Duration::from_millis(20)).await;
                }
                // Frozen between two polls, it would never be given a task.
                signal(&worker.child, "CONT").await?;
                sleep(Duration::from_millis(10)).await;
            }
        };
        within("a task of the frozen worker", at_work).await
    }

    /// Whether a worker has been given a task of a workflow that is still running.
    async fn is_at_work(&self, identity: &str) -> anyhow::Result<bool> {
        let mut ended = 0;
        for number in 0..self.load.workflows {
            let id = self.workflow_id(number);
            let handle = self.client.get_workflow_handle::<UntypedWorkflow>(id);
            let described = handle.describe(Default::default()).await;
            if let Err(WorkflowInteractionError::NotFound(_)) = described {
                continue;
            }
            if described?.status() != WorkflowExecutionStatus::Running {
                ended += 1;
                continue;
            }
            let events = events(&handle).await?;
            if events.iter().any(|event| is_task_of(event, identity)) {
                return Ok(true);
            }
        }
        ensure!(
            ended < self.load.workflows,
            "all workflows ended before the worker was killed"
        );
        Ok(false)
    }

    /// Starts the workflows of the load one after the other while `fault` happens, then waits until all have
    /// ended.
    ///
    /// # Errors
    /// If a workflow does not end within 90 seconds, or not as its case says; if the ledger has a key twice; and
    /// those of `fault`.
    pub async fn run_during<T>(
        &self,
        fault: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let started = u32::try_from(self.load.workflows)?;
        let workflow = async |(number, case): (usize, &Case)| {
            // A single fault cannot use up all attempts of an activity, only the last one.
            let case = Case {
                or_fails: case.last_lost.clone(),
                ..case.clone()
            };
            sleep(ARRIVALS * u32::try_from(number)? / started).await;
            let id = self.workflow_id(number);
            timeout(PATIENCE, case.run(&self.client, &self.task_queue, &id))
                .await
                .with_context(|| format!("{} {id} has not ended", case.workflow))?
        };
        let cases = self.load.cases.iter().cycle().take(self.load.workflows);
        let workflows = try_join_all(cases.enumerate().map(workflow));
        let (outcome, _) = futures::future::try_join(fault, workflows).await?;
        let again = self.done_again()?;
        ensure!(again.is_empty(), "done more than once: {again:?}");
        Ok(outcome)
    }

    /// Returns each key of the ledger that occurs again after its first occurrence. Empty without a ledger.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn done_again(&self) -> anyhow::Result<Vec<String>> {
        let mut keys = self.ledger.as_ref().map_or(Ok(Vec::new()), Ledger::keys)?;
        let mut once = BTreeSet::new();
        keys.retain(|key| !once.insert(key.clone()));
        Ok(keys)
    }

    /// Fetches the history of each workflow of the load.
    ///
    /// # Errors
    /// If a history cannot be read.
    pub async fn fetch_histories(&self) -> anyhow::Result<Vec<Vec<HistoryEvent>>> {
        let history = async |number| {
            let id = self.workflow_id(number);
            events(&self.client.get_workflow_handle::<UntypedWorkflow>(id)).await
        };
        try_join_all((0..self.load.workflows).map(history)).await
    }

    /// Returns the ledger of side effects.
    ///
    /// # Errors
    /// If the load has no ledger.
    pub fn ledger(&self) -> anyhow::Result<&Ledger> {
        self.ledger.as_ref().context("a load without a ledger")
    }

    fn workflow_id(&self, number: usize) -> String {
        format!("{}-{number}", self.task_queue)
    }
}

/// Whether the event is a workflow task that this worker received.
fn is_task_of(event: &HistoryEvent, identity: &str) -> bool {
    match &event.attributes {
        Some(Attributes::WorkflowTaskStartedEventAttributes(started)) => {
            started.identity.starts_with(identity)
        }
        _ => false,
    }
}

/// Waits until a random moment while the workflows of a load are started, but not until its very end.
pub async fn random_delay() {
    let part = u64::from(Uuid::new_v4().as_bytes()[0]) % 64;
    sleep(Duration::from_millis(200 + 8 * part)).await;
}

/// Kills the worker `binary` under the load of its sample; see [`LoadTest::killed_worker`]. The client
/// that starts the load has `data_converter`.
///
/// # Errors
/// As [`LoadTest::new`] and [`LoadTest::killed_worker`].
pub async fn killed_worker(
    binary: impl Into<PathBuf>,
    load: &str,
    data_converter: DataConverter,
) -> anyhow::Result<()> {
    let server = super::address()?;
    let mut load_test = LoadTest::new(binary, load, server, server).await?;
    load_test.client = connect_to(server, data_converter).await?;
    load_test.killed_worker().await
}
