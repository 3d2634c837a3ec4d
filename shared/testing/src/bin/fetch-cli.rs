//! `fetch-cli VERSION FOLDER`: downloads the Temporal CLI with the SDK's own test environment, for machines
//! without Python. `scripts/temporal-cli` calls it.

use anyhow::Context;
use temporalio_sdk::testing::{
    EphemeralExe, EphemeralExeVersion, LocalWorkflowEnvironmentOptions, WorkflowEnvironment,
};

#[tokio::main]
async fn main() -> shared::MainResult {
    let mut args = std::env::args().skip(1);
    let usage = "usage: fetch-cli VERSION FOLDER";
    let version = args.next().context(usage)?;
    let folder = args.next().context(usage)?;
    let executable = EphemeralExe::CachedDownload {
        version: EphemeralExeVersion::Fixed(version),
        dest_dir: Some(folder),
        ttl: None,
    };
    // The SDK has no call that only downloads.
    let options = LocalWorkflowEnvironmentOptions::builder()
        .server_executable(executable)
        .build();
    Ok(WorkflowEnvironment::start_local(options)
        .await?
        .shutdown()
        .await?)
}
