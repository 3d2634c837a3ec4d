//! The samples with their workers and loads, for `make soak` and for the tests.

#![warn(missing_docs)]

use anyhow::Context;
use futures::TryStreamExt;
use payload_codec::EncryptionArgs;
use shared::AbsentAsNull;
use std::{collections::BTreeMap, path::Path};
use temporalio_client::WorkflowExecutionStatus;
use temporalio_common::data_converters::{
    DataConverter, DefaultFailureConverter, PayloadConverter,
};
use testing::{connect_to, faults::LoadTest, root};

/// A sample that has a `tests/load.json`.
pub struct Sample {
    /// Name of its folder.
    pub name: String,
    /// Its load and its worker binary.
    pub load_test: LoadTest,
}

impl Sample {
    /// Returns all samples, sorted by name. Their worker binaries are in the folder `binaries`. The client connects
    /// to `server`, and the workers to `address`.
    ///
    /// # Errors
    /// If a load cannot be read, or the server does not answer.
    pub async fn all(binaries: &Path, server: &str, address: &str) -> anyhow::Result<Vec<Self>> {
        let mut samples = Vec::new();
        for entry in std::fs::read_dir(root().join("samples"))? {
            let entry = entry?;
            let Ok(load) = std::fs::read_to_string(entry.path().join("tests/load.json")) else {
                continue;
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let binary = binaries.join(format!("{name}-worker"));
            let load_test = LoadTest::new(binary, &load, server, address).await;
            let mut load_test = load_test.with_context(|| name.clone())?;
            if load_test.load.encrypted {
                load_test.client = connect_to(server, encrypting()?).await?;
            }
            samples.push(Self { name, load_test });
        }
        samples.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(samples)
    }

    /// Counts what happened more than once: executions with the same workflow id, and ledger entries with the same
    /// key.
    ///
    /// # Errors
    /// If the server does not list its workflows, or the ledger cannot be read.
    pub async fn duplicates(&self) -> anyhow::Result<usize> {
        let query = format!("TaskQueue = '{}'", self.load_test.task_queue);
        let mut workflows = self
            .load_test
            .client
            .list_workflows(query, Default::default());
        let mut executions = BTreeMap::<String, usize>::new();
        while let Some(workflow) = workflows.try_next().await? {
            // An execution may have several runs.
            if workflow.status() != WorkflowExecutionStatus::ContinuedAsNew {
                *executions.entry(workflow.id().to_owned()).or_default() += 1;
            }
        }
        // Children do not count, because some of them fail on purpose and are retried.
        let ours = |id: &str| id.strip_prefix("soak-").is_some_and(is_number);
        let twice = executions.iter().filter(|(id, _)| ours(id));
        let twice = twice.map(|(_, executions)| executions - 1).sum::<usize>();
        Ok(twice + self.load_test.done_again()?.len())
    }
}

/// Returns a data converter with the development key, which is the default of a worker that encrypts.
fn encrypting() -> anyhow::Result<DataConverter> {
    Ok(DataConverter::new(
        PayloadConverter::default(),
        DefaultFailureConverter::default(),
        AbsentAsNull(EncryptionArgs::default().codec(None)?),
    ))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
