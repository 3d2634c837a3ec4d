//! The service in a process of its own, as the tests use it.

use anyhow::Context;
use async_activity_completion::{
    service::{DecisionLinks, Key},
    service_client::ServiceClient,
};
use reqwest::{StatusCode, Url};
use serde_json::Value;
use std::{path::PathBuf, process::Stdio, time::Duration};
use temporalio_client::{Client, WorkflowHandle};
use temporalio_common::HasWorkflowDefinition;
use testing::{address, eventually, until_pending};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The service and its files. It is killed when this is dropped.
pub struct Service {
    /// Where it listens.
    pub url: Url,
    files: tempfile::TempDir,
    process: Child,
    flags: Vec<String>,
}

impl Service {
    /// Starts the service on a free port, with an empty store and these flags.
    pub async fn start(flags: &[&str]) -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (url, process) = start(&files, &flags, "127.0.0.1:0").await?;
        Ok(Self {
            url,
            files,
            process,
            flags,
        })
    }

    /// `kill -9`, and waits until the process is gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Starts it again after a kill, on the same port and with the same files.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let listen = self.url.socket_addrs(|| None)?[0].to_string();
        (self.url, self.process) = start(&self.files, &self.flags, &listen).await?;
        Ok(())
    }

    /// Returns the flags by which a worker uses this service.
    pub fn worker_flags(&self) -> [String; 4] {
        let key_file = self.files.path().join("key").display().to_string();
        ["--service-url", self.url.as_str(), "--key-file", &key_file].map(str::to_owned)
    }

    /// Returns a client with the key of the service.
    pub fn client(&self) -> anyhow::Result<ServiceClient> {
        ServiceClient::new(self.url.clone(), self.key()?.into())
    }

    /// Returns the key of the service.
    pub fn key(&self) -> anyhow::Result<Key> {
        Key::read_or_create(&self.files.path().join("key"))
    }

    /// Returns the only file of this store.
    pub fn record(&self, store: &str) -> anyhow::Result<PathBuf> {
        self.records(store)?.pop().context("the store is empty")
    }

    fn records(&self, store: &str) -> anyhow::Result<Vec<PathBuf>> {
        let files = std::fs::read_dir(self.files.path().join("store").join(store))?;
        let paths = files.map(|file| Ok(file?.path()));
        let paths: Vec<PathBuf> = paths.collect::<std::io::Result<_>>()?;
        let is_record = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
        Ok(paths.into_iter().filter(is_record).collect())
    }

    /// Sends a request with these fields, and returns the answer.
    pub async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> anyhow::Result<(StatusCode, String)> {
        let mut url = self.url.join(path)?;
        url.query_pairs_mut().extend_pairs(query);
        open(url.as_str()).await
    }
}

async fn start(
    files: &tempfile::TempDir,
    flags: &[String],
    listen: &str,
) -> anyhow::Result<(Url, Child)> {
    let mut process = Command::new(env!("CARGO_BIN_EXE_async-activity-completion-service"))
        .args(["--address", address()?, "--listen", listen])
        .args(flags)
        .arg("--key-file")
        .arg(files.path().join("key"))
        .arg("--store")
        .arg(files.path().join("store"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = process.stdout.take().context("no stdout")?;
    let url = BufReader::new(stdout).lines().next_line().await?;
    Ok((url.context("the service has ended")?.parse()?, process))
}

/// Opens a link, and returns the answer.
pub async fn open(link: &str) -> anyhow::Result<(StatusCode, String)> {
    let url: Url = link.parse()?;
    let client = http_client::http_client(&url, Duration::from_secs(10))?;
    let response = client.get(url).send().await?;
    Ok((response.status(), response.text().await?))
}

/// Waits until the expense waits for its decision and the store has the tokens of all expenses. Returns where to
/// decide.
pub async fn links<W: HasWorkflowDefinition>(
    service: &Service,
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<DecisionLinks> {
    let waits = until_pending(handle, |activity| activity.heartbeat_details.is_some()).await?;
    // The service sends the heartbeat first, and stores the token after it.
    eventually("the tokens in the store", async || {
        for record in service.records("expenses")? {
            let expense: Value = serde_json::from_slice(&std::fs::read(record)?)?;
            if expense["task_token"].is_null() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await?;
    let details = waits.heartbeat_details.context("no details")?;
    Ok(serde_json::from_slice(&details.payloads[0].data)?)
}
