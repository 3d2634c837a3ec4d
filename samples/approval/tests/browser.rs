//! The web page, in a real browser and as a program of another site uses it.
//!
//! The browser is Chromium, driven by Playwright for Python, in `.temporal/browser` or the system's. Where one of
//! them is missing, the test prints a line that `make test` counts as a skip, and passes.

use anyhow::{Context, ensure};
use approval::{
    web::{Page, router},
    worker_options,
    workflows::{ApprovalWorkflow, EscalatingApprovalWorkflow},
};
use serde_json::json;
use std::io::Write;
use temporalio_client::{Client, WorkflowHandle};
use testing::{TestEnv, eventually, root, with_worker};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
};

/// Serves the page for this test's task queue, and returns its address.
async fn serve(env: &TestEnv) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let page = Page {
        client: env.client.clone(),
        task_queue: env.task_queue.clone(),
    };
    tokio::spawn(axum::serve(listener, router(page)).into_future());
    Ok(address)
}

/// A person approves one request and rejects another. Both have ended when a second person decides, who reads that it
/// is too late. A workflow id does not become part of the page's code.
#[tokio::test]
async fn a_person_decides() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let address = serve(&env).await?;
        let id = env.start_options().workflow_id;
        let arguments = [json!("R"), json!(600)];
        let approve = format!("{id}-<img src=x onerror=alert(1)>\"'");
        let one: WorkflowHandle<Client, ApprovalWorkflow> = env
            .start_json_as(approve.clone(), "ApprovalWorkflow", &arguments)
            .await?;
        let reject = format!("{id}-2");
        let two: WorkflowHandle<Client, EscalatingApprovalWorkflow> = env
            .start_json_as(reject.clone(), "EscalatingApprovalWorkflow", &arguments)
            .await?;
        eventually("both requests on the page", async || {
            let page = request(
                &address,
                &format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
            )
            .await?;
            Ok((page.matches("<form").count() == 2).then_some(()))
        })
        .await?;
        let ours = root().join(".temporal/browser/bin/python");
        let python = if ours.exists() {
            ours
        } else {
            "python3".into()
        };
        let output = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser.py"))
            .args([&format!("http://{address}/"), &approve, &reject])
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
                let result = one.get_result(Default::default()).await?;
                assert_eq!(result, "Request R APPROVED by ann");
                let result = two.get_result(Default::default()).await?;
                assert_eq!(result, "REJECTED by bob");
                return Ok(());
            }
            Err(error) => format!("there is no Python: {error}"),
        };
        // Cargo shows of a test that passes only what does not go through `eprintln`.
        writeln!(
            std::io::stderr(),
            "SKIPPED: no browser for the approval page: {}",
            reason.trim_end()
        )?;
        Ok(())
    })
    .await
}

/// Sends a request, and returns the response.
async fn request(address: &str, request: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

/// Another web site, open in the same browser, can neither decide nor read the page. A form that does not fit the
/// workflow is refused, and so is one for a workflow that has ended or never was.
#[tokio::test]
async fn other_sites_cannot_decide() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let address = serve(&env).await?;
    let port = address.rsplit_once(':').context("no port")?.1;
    let foreign = [
        format!("Host: {address}\r\nOrigin: https://evil.example"),
        format!("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}"),
        format!("Host: {address}\r\nOrigin: null"),
    ];
    let form = |of_type: &str| {
        format!("workflow_id=none&workflow_type={of_type}&approver=ann&decision=APPROVED")
    };
    let post = async |headers: &str, form: &str| {
        let length = form.len();
        let post = format!(
            "POST /decide HTTP/1.1\r\n{headers}\r\nConnection: close\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
        );
        request(&address, &post).await
    };
    for headers in foreign {
        let refused = post(&headers, &form("ApprovalWorkflow")).await?;
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    }
    let headers = format!("Host: {address}\r\nOrigin: http://{address}");
    for (of_type, status) in [
        ("ApprovalWorkflow", "409"),
        ("EscalatingApprovalWorkflow", "409"),
        ("MultiLevelApprovalWorkflow&level=L1", "409"),
        ("MultiLevelApprovalWorkflow", "400"),
        ("Other", "400"),
    ] {
        let answer = post(&headers, &form(of_type)).await?;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    Ok(())
}
