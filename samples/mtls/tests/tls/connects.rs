//! Settings that connect: flags, variables and profiles, and every form of a key.

use crate::tls::pki::{Folder, Gateway, STARTER, WORKER, command, pki, run};
use anyhow::ensure;
use std::{io::Write, net::TcpListener, process::Stdio};
use temporalio_common::envconfig::{
    DataSource, LoadClientConfigProfileOptions, load_client_config_profile,
};
use testing::TestEnv;
use tokio::process::Command;

/// Fails unless the starter reaches the server and prints the server's own answer. Returns the starter's stderr.
async fn reaches_the_server(mut starter: Command) -> anyhow::Result<String> {
    starter.env("TEMPORAL_NAMESPACE", "nope");
    let output = run(starter).await?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(
        stderr.ends_with("Namespace nope is not found.\n"),
        "{stderr}"
    );
    Ok(stderr)
}

/// Worker and starter, each with flags alone, run the workflow through the gateway.
#[tokio::test]
async fn by_flags() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let (folder, _) = pki()?;
    let gateway = Gateway::start(&folder, "ca.pem", "127.0.0.1:0").await?;
    let with_flags = |binary| {
        let mut command = command(binary);
        command.args([
            "--address",
            &gateway.address,
            "--task-queue",
            &env.task_queue,
        ]);
        command.args(folder.flags("ca.pem", Some("client")));
        command
    };
    let _worker = with_flags(WORKER).stderr(Stdio::null()).spawn()?;
    let output = run(with_flags(STARTER)).await?;
    let stdout = String::from_utf8(output.stdout)?;
    assert_eq!(stdout, "result: \"Securely processed: data\"\n");
    Ok(())
}

/// Variables that name files, or hold the PEM itself, connect.
#[tokio::test]
async fn by_variables() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let gateway = Gateway::start(&folder, "ca.pem", "127.0.0.1:0").await?;
    for (suffix, file) in [("PATH", true), ("DATA", false)] {
        let mut starter = command(STARTER);
        starter.env("TEMPORAL_ADDRESS", &gateway.address);
        for (variable, name) in [
            ("SERVER_CA_CERT", "ca.pem"),
            ("CLIENT_CERT", "client.pem"),
            ("CLIENT_KEY", "client.key"),
        ] {
            let value = if file {
                folder.file(name)
            } else {
                folder.read(name)?
            };
            starter.env(format!("TEMPORAL_TLS_{variable}_{suffix}"), value);
        }
        reaches_the_server(starter).await?;
    }
    Ok(())
}

/// The profile that `make run-mtls` uses connects with the files that `make certs` creates, whether the address
/// is a host name, an IP address or a URL.
#[tokio::test]
async fn by_profile() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let mut certs = command(env!("CARGO_BIN_EXE_mtls-certs"));
    certs.current_dir(folder.file(""));
    ensure!(run(certs).await?.status.success(), "no certificates");
    for file in ["ca.pem", "server.pem", "server.key"] {
        folder.write(file, &folder.read(&format!(".temporal/certs/{file}"))?)?;
    }
    let gateway = Gateway::start(&folder, "ca.pem", "127.0.0.1:0").await?;
    let port = gateway.address.replace("127.0.0.1", "");
    for address in [
        format!("localhost{port}"),
        gateway.address,
        format!("https://localhost{port}"),
    ] {
        let mut starter = command(STARTER);
        starter
            .current_dir(folder.file(""))
            .env(
                "TEMPORAL_CONFIG_FILE",
                concat!(env!("CARGO_MANIFEST_DIR"), "/temporal.toml"),
            )
            .args(["--profile", "local", "--address", &address]);
        reaches_the_server(starter).await?;
    }
    Ok(())
}

/// An IPv6 address in brackets connects, with a certificate from files or from variables. A certificate from
/// files is not read again in that case, and the starter warns about that.
#[tokio::test]
async fn by_an_ipv6_address() -> anyhow::Result<()> {
    if TcpListener::bind("[::1]:0").is_err() {
        // Not with `eprintln!`, because the test harness hides what a passing test prints with it.
        writeln!(std::io::stderr(), "SKIPPED: this machine has no IPv6")?;
        return Ok(());
    }
    let (folder, ca) = pki()?;
    ca.issue(&folder, "server", &["::1", "inside"], -1..1)?;
    let gateway = Gateway::start(&folder, "ca.pem", "[::1]:0").await?;
    let url = format!("https://{}", gateway.address);
    let warning = format!(
        "the client certificate {} is read only once",
        folder.file("client.pem")
    );
    for address in [&gateway.address, &url] {
        for name in [None, Some("inside")] {
            let mut by_files = command(STARTER);
            by_files.args(folder.flags("ca.pem", Some("client")));
            let mut by_data = command(STARTER);
            by_data
                .args(folder.flags("ca.pem", None))
                .env("TEMPORAL_TLS_CLIENT_CERT_DATA", folder.read("client.pem")?)
                .env("TEMPORAL_TLS_CLIENT_KEY_DATA", folder.read("client.key")?);
            for (mut starter, warns) in [(by_files, true), (by_data, false)] {
                starter.args(["--address", address]);
                if let Some(name) = name {
                    starter.args(["--tls-server-name", name]);
                }
                let said = reaches_the_server(starter).await?;
                ensure!(said.contains(&warning) == warns, "{said}");
            }
        }
    }
    Ok(())
}

/// No profile has an unknown key. Programs would ignore it.
#[test]
fn profiles_have_no_unknown_keys() -> anyhow::Result<()> {
    for profile in ["local", "cloud-mtls", "cloud-api-key"] {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/temporal.toml").to_owned();
        let options = LoadClientConfigProfileOptions::builder()
            .config_source(DataSource::Path(file))
            .config_file_profile(profile.to_owned())
            .config_file_strict(true)
            .disable_env(true)
            .build();
        let loaded = load_client_config_profile(options, None);
        let loaded = loaded.map_err(|error| anyhow::anyhow!("{error}"))?;
        ensure!(loaded.tls.is_some(), "{profile} has no TLS");
        assert_eq!(
            loaded.tls.and_then(|tls| tls.client_cert).is_some(),
            profile != "cloud-api-key"
        );
    }
    Ok(())
}
