//! The workers that are compared: our own, and those that `make bench-setup` has installed.

use anyhow::{Context, ensure};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};
use temporalio_client::Client;
use throughput::{
    load::{Load, Outcome},
    usage::{Meter, Usage},
};
use tokio::process::{Child, Command};
use uuid::Uuid;

/// A worker that can be started.
pub struct Peer {
    name: &'static str,
    program: PathBuf,
    args: Vec<PathBuf>,
    switches: &'static [&'static str],
    logs: PathBuf,
}

/// A worker that runs on a task queue of its own. Dropped, it is killed.
pub struct Running {
    pub client: Client,
    pub task_queue: String,
    pub meter: Meter,
    loads: u32,
    child: Child,
}

impl Peer {
    /// Our own, as it was built beside this program.
    pub fn rust() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("throughput-worker");
        ensure!(
            program.is_file(),
            "{} is not built; `make bench` does",
            program.display()
        );
        Ok(Self {
            name: "rust",
            program,
            args: Vec::new(),
            switches: &[],
            logs: folder(),
        })
    }

    /// Our own, for who does not keep the one thread free.
    pub fn rust_on_two_threads() -> anyhow::Result<Self> {
        Ok(Self {
            name: "rust --threads 2",
            switches: &["--threads", "2"],
            ..Self::rust()?
        })
    }

    /// All that are here, our own first. Says which are not.
    pub fn installed() -> anyhow::Result<Vec<Self>> {
        let (bench, peers) = (
            folder(),
            Path::new(env!("CARGO_MANIFEST_DIR")).join("peers"),
        );
        std::fs::create_dir_all(&bench)?;
        let others = [
            Self {
                name: "python",
                program: bench.join("python/bin/python"),
                args: vec![peers.join("python/worker.py")],
                switches: &[],
                logs: bench.clone(),
            },
            Self {
                name: "typescript",
                program: "node".into(),
                args: vec![bench.join("typescript/lib/worker.js")],
                switches: &[],
                logs: bench.clone(),
            },
        ];
        let mut installed = vec![Self::rust()?];
        for peer in others {
            if peer.is_installed() {
                installed.push(peer);
            } else {
                eprintln!("skipped  {}: `make bench-setup` installs it", peer.name);
            }
        }
        Ok(installed)
    }

    fn is_installed(&self) -> bool {
        let mut files = self.args.iter().chain([&self.program]);
        // `node` alone is a command; it is there if what it runs is.
        files.all(|file| file.is_file() || file.is_relative())
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where its log is.
    pub fn log(&self) -> String {
        let log = self.logs.join(format!("{}.log", self.name));
        log.display().to_string()
    }

    /// Starts it. `switches` are for our own alone.
    pub fn start(
        &self,
        address: &str,
        client: Client,
        switches: &[&str],
        cached: Option<u32>,
    ) -> anyhow::Result<Running> {
        let task_queue = format!("bench-{}", Uuid::new_v4());
        let log = File::create(self.log())?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .args(self.switches)
            .args(switches)
            .env("TEMPORAL_ADDRESS", address)
            .env("TEMPORAL_TASK_QUEUE", &task_queue)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        if let Some(cached) = cached {
            let cached = cached.to_string();
            command.env("MAX_CACHED_WORKFLOWS", &cached);
            if self.args.is_empty() {
                command.args(["--max-cached-workflows", &cached]);
            }
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let pid = child.id().context("it ended at once")?;
        Ok(Running {
            client,
            task_queue,
            meter: Meter::new(pid),
            loads: 0,
            child,
        })
    }
}

impl Running {
    /// Runs a load, and tells what it cost the worker.
    pub async fn run(&mut self, load: &Load) -> anyhow::Result<(Outcome, Usage)> {
        self.loads += 1;
        let id = format!("{}-{}", self.task_queue, self.loads);
        let running = load.run(&self.client, &self.task_queue, &id, || ());
        tokio::select! {
            (outcome, usage) = self.meter.during(running) => Ok((outcome?, usage)),
            ended = self.child.wait() => anyhow::bail!("the worker ended: {}", ended?),
        }
    }
}

/// What is installed, and logs.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.temporal/bench")
}
