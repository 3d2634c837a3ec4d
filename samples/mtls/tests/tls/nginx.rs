//! Connects through nginx, if it is installed.

use crate::tls::pki::{Ca, STARTER, WORKER, command, error, pki, run};
use anyhow::{Context, ensure};
use std::{io::Write, process::Stdio, time::Duration};
use testing::{TestEnv, address};
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
    time::{sleep, timeout},
};

/// Without nginx, the test below says so, in the form that the last lines of `make test` count.
#[tokio::test]
async fn says_that_it_skips() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", "tls::nginx::through_nginx"])
        .env("PATH", folder.file(""))
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(20), output).await??;
    ensure!(output.status.success(), "{output:?}");
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!(stderr, "SKIPPED: nginx is not installed\n");
    Ok(())
}

/// The sample works through nginx with client verification. Clients without a certificate that nginx trusts, and
/// clients that do not trust nginx's certificate, get an error that says so.
#[tokio::test]
async fn through_nginx() -> anyhow::Result<()> {
    let installed = Command::new("nginx")
        .arg("-v")
        .stderr(Stdio::null())
        .status()
        .await;
    if installed.is_err() {
        // Not with `eprintln!`, because the test harness hides what a passing test prints with it.
        writeln!(std::io::stderr(), "SKIPPED: nginx is not installed")?;
        return Ok(());
    }
    let env = TestEnv::new().await?;
    let (folder, _) = pki()?;
    Ca::new(&folder, "other-ca")?.issue(&folder, "rogue", &[], -1..1)?;
    let listen = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path \"{}\";", folder.file(name)))
        .concat();
    // nginx runs as one process. If a master process were killed, its workers would keep running.
    let config = format!(
        "daemon off; master_process off; error_log \"{log}\"; pid \"{pid}\"; events {{}}
         http {{ access_log off; {scratch}
           server {{ listen {listen} ssl http2;
             ssl_certificate server.pem; ssl_certificate_key server.key;
             ssl_client_certificate ca.pem; ssl_verify_client on;
             client_body_timeout 120s; client_max_body_size 0;
             location / {{ grpc_pass grpc://{target}; grpc_read_timeout 120s; }} }} }}",
        log = folder.file("nginx.log"),
        pid = folder.file("nginx.pid"),
        target = address()?,
    );
    folder.write("nginx.conf", &config)?;
    let _nginx = Command::new("nginx")
        .args(["-p", &folder.file(""), "-c", &folder.file("nginx.conf")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let ready = async {
        while TcpStream::connect(listen).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), ready)
        .await
        .context("nginx does not listen")?;

    let with = |binary, ca, client| {
        let mut command = command(binary);
        command
            .args([
                "--address",
                &listen.to_string(),
                "--task-queue",
                &env.task_queue,
            ])
            .args(folder.flags(ca, client));
        command
    };
    let _worker = with(WORKER, "ca.pem", Some("client"))
        .stderr(Stdio::null())
        .spawn()?;
    let output = run(with(STARTER, "ca.pem", Some("client"))).await?;
    assert_eq!(output.stdout, b"result: \"Securely processed: data\"\n");

    let page =
        "the peer answered with an HTTP error page (400 Bad Request), most likely because it";
    for binary in [STARTER, WORKER] {
        let said = error(with(binary, "ca.pem", Some("rogue"))).await?;
        let words = format!(
            "{page} refuses the client certificate {}",
            folder.file("rogue.pem")
        );
        ensure!(said.contains(&words), "{said}");
        let said = error(with(binary, "ca.pem", None)).await?;
        ensure!(
            said.contains(&format!("{page} asks for a client certificate")),
            "{said}"
        );
        let said = error(with(binary, "other-ca.pem", Some("client"))).await?;
        ensure!(
            said.contains("the server's certificate is not signed by"),
            "{said}"
        );
    }
    Ok(())
}
