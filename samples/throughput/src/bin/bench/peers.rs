//! The workers to compare: the one of this sample, and the peers that `make bench-setup` installs.

use anyhow::{Context, ensure};
use std::{
    ffi::OsStr,
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

/// An installed worker.
pub struct Peer {
    name: &'static str,
    /// Path of a file, or name of a command.
    program: PathBuf,
    args: Vec<PathBuf>,
    /// Whether it is the worker of this sample, which takes flags. The others read the environment.
    own: bool,
    switches: &'static [&'static str],
    logs: PathBuf,
}

/// A running worker with a task queue of its own. It is killed when this is dropped.
pub struct Running {
    pub client: Client,
    pub task_queue: String,
    pub meter: Meter,
    loads: u32,
    child: Child,
}

impl Peer {
    /// Returns the worker of this sample, as built in the same folder as this program.
    pub fn rust() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("throughput-worker");
        ensure!(
            program.is_file(),
            "{} is not built; `make bench` builds it",
            program.display()
        );
        Ok(Self {
            name: "rust",
            program,
            args: Vec::new(),
            own: true,
            switches: &[],
            logs: folder(),
        })
    }

    /// Returns the worker of this sample on a single thread, which is cheaper if no activity blocks it.
    pub fn rust_on_one_thread() -> anyhow::Result<Self> {
        Ok(Self {
            name: "rust --threads 1",
            switches: &["--threads", "1"],
            ..Self::rust()?
        })
    }

    /// Returns all installed workers, the one of this sample first. Prints which ones are skipped, and why.
    pub fn installed() -> anyhow::Result<Vec<Self>> {
        let bench = folder();
        std::fs::create_dir_all(&bench)?;
        let mut installed = vec![Self::rust()?];
        for peer in Self::others(&bench) {
            match peer.missing(&std::env::var_os("PATH").unwrap_or_default()) {
                None => installed.push(peer),
                Some(why) => eprintln!("skipped  {}: {why}", peer.name),
            }
        }
        Ok(installed)
    }

    /// Returns the workers in other languages, as `peers/setup` installs them in `bench`.
    fn others(bench: &Path) -> [Self; 4] {
        let peer = |name, program: PathBuf, args| Self {
            name,
            program,
            args,
            own: false,
            switches: &[],
            logs: bench.to_owned(),
        };
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        [
            peer("go", bench.join("go/worker"), vec![]),
            peer(
                "java",
                "java".into(),
                vec!["-jar".into(), bench.join("java/target/worker.jar")],
            ),
            peer(
                "python",
                bench.join("python/bin/python"),
                vec![sources.join("python/worker.py")],
            ),
            peer(
                "typescript",
                "node".into(),
                vec![bench.join("typescript/lib/worker.js")],
            ),
        ]
    }

    /// Returns why the worker cannot be started, or `None` if it can. Commands are searched in `path`, which has the form
    /// of `PATH`.
    fn missing(&self, path: &OsStr) -> Option<String> {
        let is_command = self.program.components().count() == 1;
        if is_command && !std::env::split_paths(path).any(|dir| dir.join(&self.program).is_file()) {
            return Some(format!("there is no {}", self.program.display()));
        }
        // The other arguments are flags.
        let mut files = self.args.iter().chain([&self.program]);
        let installed = files.all(|file| file.is_file() || !file.is_absolute());
        (!installed).then(|| "`make bench-setup` installs it".to_owned())
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the path of the log.
    pub fn log(&self) -> String {
        let log = self.logs.join(format!("{}.log", self.name));
        log.display().to_string()
    }

    /// Starts the worker. Only the worker of this sample takes `switches`. The worker caches up to `cached` workflows, or
    /// its SDK's default number.
    pub fn start(
        &self,
        address: &str,
        client: Client,
        switches: &[&str],
        cached: Option<u32>,
    ) -> anyhow::Result<Running> {
        let task_queue = format!("bench-{}", Uuid::new_v4());
        let log = File::create(self.log())?;
        let child = self
            .command(address, &task_queue, switches, cached)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
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

    fn command(
        &self,
        address: &str,
        task_queue: &str,
        switches: &[&str],
        cached: Option<u32>,
    ) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .args(self.switches)
            .args(switches)
            .env("TEMPORAL_ADDRESS", address)
            .env("TEMPORAL_TASK_QUEUE", task_queue);
        match cached.map(|cached| cached.to_string()) {
            Some(cached) if self.own => {
                command.args(["--max-cached-workflows", &cached]);
            }
            Some(cached) => {
                command.env("MAX_CACHED_WORKFLOWS", cached);
            }
            None => {}
        }
        command
    }
}

impl Running {
    /// Runs a load, and returns how much it cost the worker.
    pub async fn run(&mut self, load: &Load) -> anyhow::Result<(Outcome, Usage)> {
        self.loads += 1;
        let id = format!("{}-{}", self.task_queue, self.loads);
        let running = load.run(&self.client, &self.task_queue, &id, || ());
        tokio::select! {
            (outcome, usage) = self.meter.measure(running) => Ok((outcome?, usage)),
            ended = self.child.wait() => anyhow::bail!("the worker ended: {}", ended?),
        }
    }
}

/// Returns the folder with the installed workers and the logs.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.temporal/bench")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{readme::OTHERS, testing::Folder};
    use std::{ffi::OsString, os::unix::fs::PermissionsExt};

    fn touch(file: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(file.parent().context("in a folder")?)?;
        Ok(std::fs::write(file, "")?)
    }

    /// A peer is skipped if its toolchain is missing, or if it is not installed. The reason says which of the two it is.
    #[test]
    fn says_what_is_missing() -> anyhow::Result<()> {
        let bench = Folder::new()?;
        let path = bench.path().join("path");
        let missing = || Peer::others(bench.path()).map(|peer| peer.missing(path.as_os_str()));
        let reasons = |reasons: [Option<&str>; 4]| reasons.map(|why| why.map(str::to_owned));
        let setup = Some("`make bench-setup` installs it");

        assert_eq!(
            missing(),
            reasons([
                setup,
                Some("there is no java"),
                setup,
                Some("there is no node")
            ])
        );
        touch(&path.join("java"))?;
        touch(&path.join("node"))?;
        assert_eq!(missing(), reasons([setup; 4]));
        for file in [
            "go/worker",
            "java/target/worker.jar",
            "python/bin/python",
            "typescript/lib/worker.js",
        ] {
            touch(&bench.path().join(file))?;
        }
        assert_eq!(missing(), reasons([None; 4]));
        Ok(())
    }

    /// The worker of this sample gets the size of the cache as a flag, and the others as a variable, even if they have no
    /// arguments.
    #[test]
    fn all_get_the_size_of_the_cache() -> anyhow::Result<()> {
        let bench = Folder::new()?;
        let own = Peer {
            name: "rust",
            program: "throughput-worker".into(),
            args: vec![],
            own: true,
            switches: &[],
            logs: bench.path().into(),
        };
        for peer in Peer::others(bench.path()).iter().chain([&own]) {
            let command = peer.command("localhost:1", "queue", &[], Some(7));
            let variable = (OsStr::new("MAX_CACHED_WORKFLOWS"), Some(OsStr::new("7")));
            let flags = ["--max-cached-workflows", "7"].map(OsStr::new);
            let args: Vec<_> = command.as_std().get_args().collect();
            assert_eq!(args.ends_with(&flags), peer.own, "{}", peer.name);
            let mut envs = command.as_std().get_envs();
            assert_ne!(envs.any(|env| env == variable), peer.own, "{}", peer.name);
        }
        Ok(())
    }

    /// The tables name every peer, and no other worker.
    #[test]
    fn tables_name_all_peers() {
        let names = Peer::others(Path::new("/")).map(|peer| peer.name);
        assert_eq!(names, OTHERS.map(|(name, _)| name));
    }

    /// Runs `peers/setup` on a system that has only these commands, each given as a name and a shell script.
    fn setup(commands: &[(&str, &str)]) -> anyhow::Result<String> {
        let bin = Folder::new()?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        for tool in ["bash", "dirname", "mkdir", "sed", "sh"] {
            let mut found = std::env::split_paths(&path).map(|dir| dir.join(tool));
            let found = found.find(|file| file.is_file()).context(tool)?;
            std::os::unix::fs::symlink(found, bin.path().join(tool))?;
        }
        for (command, script) in commands {
            let file = bin.path().join(command);
            std::fs::write(&file, format!("#!/bin/sh\n{script}\n"))?;
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755))?;
        }
        let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/setup");
        let output = std::process::Command::new(setup)
            .env("PATH", OsString::from(bin.path()))
            .output()?;
        let stderr = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "{stderr}");
        Ok(stderr)
    }

    /// Without any toolchain, the setup prints a line for each language, and succeeds.
    #[test]
    fn setup_skips_missing_toolchains() -> anyhow::Result<()> {
        assert_eq!(
            setup(&[])?,
            "skipped  go: there is no go\n\
             skipped  java: there is no java\n\
             skipped  python: there is no python3\n\
             skipped  typescript: there is no node\n"
        );
        Ok(())
    }

    /// The setup also skips toolchains that are too old. Each line names the required version.
    #[test]
    fn setup_skips_old_toolchains() -> anyhow::Result<()> {
        let go = "go: go.mod requires go >= 1.26.0 (running go 1.22.1; GOTOOLCHAIN=local)";
        let skipped = setup(&[
            ("go", &format!("echo '{go}' >&2; exit 1")),
            ("javac", "echo javac 17.0.15"),
            ("java", "echo 'openjdk version \"1.8.0_402\"' >&2"),
            ("mvn", "exit 1"),
            ("python3", "exit 1"),
            ("node", "exit 1"),
            ("npm", "exit 1"),
        ])?;
        assert_eq!(
            skipped,
            "skipped  go: go.mod requires go >= 1.26.0 (running go 1.22.1; GOTOOLCHAIN=local)\n\
             skipped  java: Java 17 or later is needed, java is 8\n\
             skipped  python: Python 3.10 or later is needed\n\
             skipped  typescript: Node.js 20.3 or later is needed\n"
        );
        Ok(())
    }
}
