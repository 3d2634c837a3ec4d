//! Creates certificates of all kinds, and runs the binaries that use them.

use anyhow::{Context, bail, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::{
    fs,
    ops::Range,
    path::PathBuf,
    process::{Output, Stdio},
    time::{Duration, SystemTime},
};
use testing::address;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};
use uuid::Uuid;

pub const STARTER: &str = env!("CARGO_BIN_EXE_mtls-starter");
pub const WORKER: &str = env!("CARGO_BIN_EXE_mtls-worker");

/// Time limit for a command. It is longer than the 8 s that connecting may take.
pub const WITHIN: Duration = Duration::from_secs(10);

/// A folder for the certificates of one test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> anyhow::Result<Self> {
        let name = format!("mtls-{}", Uuid::new_v4());
        let folder = Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name));
        fs::create_dir_all(&folder.0)?;
        Ok(folder)
    }

    /// Returns the path of a file in the folder.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    pub fn read(&self, name: &str) -> anyhow::Result<String> {
        fs::read_to_string(self.file(name)).with_context(|| name.to_owned())
    }

    /// Writes a file in one step, which is how to replace a certificate that is in use.
    pub fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let new = self.file(&format!("{name}.new"));
        fs::write(&new, content)?;
        Ok(fs::rename(new, self.file(name))?)
    }

    /// Returns the flags with which a worker or a starter uses these certificates.
    pub fn flags(&self, ca: &str, client: Option<&str>) -> Vec<String> {
        let mut flags = vec!["--tls-ca-path".to_owned(), self.file(ca)];
        if let Some(client) = client {
            flags.extend([
                "--tls-cert-path".to_owned(),
                self.file(&format!("{client}.pem")),
            ]);
            flags.extend([
                "--tls-key-path".to_owned(),
                self.file(&format!("{client}.key")),
            ]);
        }
        flags
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A CA. The file with its certificate has its name.
pub struct Ca(Issuer<'static, KeyPair>);

impl Ca {
    pub fn new(folder: &Folder, name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        folder.write(&format!("{name}.pem"), &params.self_signed(&key)?.pem())?;
        Ok(Self(Issuer::new(params, key)))
    }

    /// Issues a certificate and its key. `days` says when it is valid, relative to today.
    pub fn issue(
        &self,
        folder: &Folder,
        name: &str,
        sans: &[&str],
        days: Range<i32>,
    ) -> anyhow::Result<()> {
        let sans: Vec<String> = sans.iter().map(|&san| san.to_owned()).collect();
        let mut params = CertificateParams::new(sans)?;
        params.distinguished_name.push(DnType::CommonName, name);
        let day = |day: i32| {
            let days = Duration::from_secs(24 * 60 * 60) * day.unsigned_abs();
            let now = SystemTime::now();
            if day < 0 { now - days } else { now + days }
        };
        params.not_before = day(days.start).into();
        params.not_after = day(days.end).into();
        let key = KeyPair::generate()?;
        folder.write(&format!("{name}.key"), &key.serialize_pem())?;
        folder.write(
            &format!("{name}.pem"),
            &params.signed_by(&key, &self.0)?.pem(),
        )
    }
}

/// Creates what most tests need: a CA, and its certificates for a server and a client.
pub fn pki() -> anyhow::Result<(Folder, Ca)> {
    let folder = Folder::new()?;
    let ca = Ca::new(&folder, "ca")?;
    ca.issue(&folder, "server", &["localhost", "127.0.0.1"], -1..1)?;
    ca.issue(&folder, "client", &[], -1..1)?;
    Ok((folder, ca))
}

/// Returns a command without the `TEMPORAL_*` variables and `RUST_LOG` of the environment.
pub fn command(binary: &str) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TEMPORAL_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.kill_on_drop(true);
    command
}

/// Runs a command, which must end within the time limit.
pub async fn run(mut command: Command) -> anyhow::Result<Output> {
    let output = timeout(WITHIN, command.output()).await;
    Ok(output.with_context(|| format!("{command:?} is still running after {WITHIN:?}"))??)
}

/// Runs a command that must fail, and returns the only line on its stderr.
pub async fn error(command: Command) -> anyhow::Result<String> {
    let output = run(command).await?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(1),
        "{}: {stderr}",
        output.status
    );
    ensure!(stderr.lines().count() == 1, "{stderr}");
    ensure!(output.stdout.is_empty(), "stdout is not empty");
    Ok(stderr.trim_end().to_owned())
}

/// The gateway binary, in front of the test server or another one.
pub struct Gateway {
    pub address: String,
    pub log: Lines<BufReader<ChildStderr>>,
    child: Child,
}

impl Gateway {
    /// Starts the gateway with `server.pem`, for the clients of the CAs in `client_ca`.
    pub async fn start(folder: &Folder, client_ca: &str, listen: &str) -> anyhow::Result<Self> {
        Self::start_for(address()?, folder, client_ca, listen).await
    }

    /// Starts the gateway in front of `target`; otherwise as [`Gateway::start`].
    pub async fn start_for(
        target: &str,
        folder: &Folder,
        client_ca: &str,
        listen: &str,
    ) -> anyhow::Result<Self> {
        let mut gateway = command(env!("CARGO_BIN_EXE_mtls-gateway"));
        gateway.args(["--listen", listen, "--target", target]);
        gateway.args([
            "--cert",
            &folder.file("server.pem"),
            "--key",
            &folder.file("server.key"),
        ]);
        gateway.args(["--client-ca", &folder.file(client_ca)]);
        let mut child = gateway
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("piped")?).lines();
        let mut stdout = BufReader::new(child.stdout.take().context("piped")?).lines();
        let Some(ready) = stdout.next_line().await? else {
            bail!("{}", log.next_line().await?.unwrap_or_default());
        };
        let (address, _) = ready.split_once(' ').context("no address")?;
        Ok(Self {
            address: address.to_owned(),
            log,
            child,
        })
    }

    /// Stops the gateway as Ctrl-C does, and waits until it has ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().context("running")?.to_string();
        Command::new("kill")
            .args(["-s", "INT", &pid])
            .status()
            .await?;
        let status = timeout(WITHIN, self.child.wait()).await??;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}
