//! Opens the Web UI in a browser: it shows ciphertext, and with the codec server plain text.
//!
//! The test needs Chromium, and Playwright for Python, from `.temporal/browser` or the system. If one of them is
//! missing, the test prints a line that `make test` counts as a skip, and passes.

use anyhow::{Context, bail, ensure};
use axum::http::HeaderValue;
use encryption::{
    codec_server::{Access, router},
    encrypted, worker_options,
    workflows::Workflow,
};
use payload_codec::{DEVELOPMENT_KEY_ID, EncryptionCodec, KeyRing, PUBLISHED_DEVELOPMENT_KEY};
use std::{io::Write, process::Stdio, time::Duration};
use temporalio_client::{Client, ClientOptions, ConnectionOptions, Url};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use testing::{TestEnv, events, root};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

/// Limit for the whole test, which starts a browser and a server while other tests keep the machine busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a development server with its Web UI, which the server of the other tests lacks. Returns the addresses of
/// both.
async fn server() -> anyhow::Result<(Child, String, String)> {
    let script = root().join("shared/scripts/temporal-cli");
    let cli = String::from_utf8(Command::new(script).output().await?.stdout)?;
    let mut ports = Vec::new();
    for _ in 0..2 {
        ports.push(TcpListener::bind("127.0.0.1:0").await?);
    }
    let [server, ui] = &ports[..] else {
        bail!("not two ports")
    };
    let server = server.local_addr()?;
    let ui = ui.local_addr()?;
    drop(ports);
    let mut child = Command::new(cli.trim())
        .args(["server", "start-dev", "--ui-disable-news-fetch"])
        .args(["--ip", "127.0.0.1", "--log-level", "error"])
        .args(["--port", &server.port().to_string()])
        .args(["--ui-port", &ui.port().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    // The server prints this line when it is ready.
    while !lines
        .next_line()
        .await?
        .context("the server ended")?
        .contains("UI:")
    {}
    // Keep reading, because the server would end if it could not write to its stdout.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, format!("http://{server}"), format!("http://{ui}")))
}

/// The page of a workflow shows only ciphertext. When the codec server is set in the UI's dialog, the page shows
/// `Hello, Temporal`.
#[tokio::test]
async fn the_web_ui_shows_plain_text() -> anyhow::Result<()> {
    timeout(PATIENCE, shows_plain_text()).await?
}

async fn shows_plain_text() -> anyhow::Result<()> {
    let (mut server, address, ui) = server().await?;
    let keys = KeyRing::new(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)?;
    let codec = EncryptionCodec::new(keys);
    let url = Url::parse(&address)?;
    // The server may print that line a moment before it accepts connections.
    let client = loop {
        let connection = ConnectionOptions::new(url.clone()).build();
        let options = ClientOptions::new("default").build();
        match Client::connect(connection, options).await {
            Ok(client) => break client,
            Err(error) => {
                ensure!(server.try_wait()?.is_none(), "the server ended: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let env = TestEnv {
        client: encrypted(client, codec.clone()),
        task_queue: "encryption-task-queue".to_owned(),
    };
    let mut options = env.start_options();
    options.workflow_id = "encryption-1d69c33e".to_owned();
    let client = &env.client;
    let handle = client
        .start_workflow(Workflow::run, "Temporal".into(), options)
        .await?;
    env.work(worker_options, async {
        handle.get_result(Default::default()).await?;
        Ok(())
    })
    .await?;
    let result = events(&handle)
        .await?
        .into_iter()
        .find_map(|event| match event.attributes {
            Some(Attributes::WorkflowExecutionCompletedEventAttributes(a)) => a.result,
            _ => None,
        });
    let stored = serde_json::to_value(result)?;
    let ciphertext = stored["payloads"][0]["data"].as_str();

    let access = Access {
        origins: vec![HeaderValue::from_str(&ui)?],
        namespaces: vec!["default".to_owned()],
        token: None,
        max_bytes: 1 << 20,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let codec_server = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, router(codec, access)).into_future());

    let ours = root().join(".temporal/browser/bin/python");
    let python = if ours.exists() {
        ours
    } else {
        "python3".into()
    };
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser.py"))
        .arg(format!(
            "{ui}/namespaces/default/workflows/encryption-1d69c33e"
        ))
        .args([
            &*codec_server,
            ciphertext.context("no result")?,
            "Hello, Temporal",
        ])
        .kill_on_drop(true)
        .output()
        .await;
    let reason = match output {
        Ok(output) if output.status.code() == Some(77) => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{errors}");
            return Ok(());
        }
        Err(error) => format!("there is no Python: {error}"),
    };
    // Cargo hides what a passing test prints with `eprintln`.
    writeln!(
        std::io::stderr(),
        "SKIPPED: no browser for the Web UI: {}",
        reason.trim_end()
    )?;
    Ok(())
}
