//! What is refused: in words, by worker and starter alike, within ten seconds.

use crate::pki::{Ca, Folder, Gateway, STARTER, WORKER, command, error, pki, run};
use anyhow::{Context, ensure};
use shared::testing::address;
use std::process::Stdio;
use tokio::net::TcpListener;

/// Runs both binaries with these flags; each must say all these words, in which `{}` is the folder.
async fn refused(
    folder: &Folder,
    address: &str,
    flags: &[String],
    words: &[&str],
) -> anyhow::Result<()> {
    for binary in [STARTER, WORKER] {
        let mut command = command(binary);
        command.args(["--address", address]).args(flags);
        let error = error(command).await?;
        for words in words {
            let words = words.replace("{}", &folder.file(""));
            ensure!(error.contains(&words), "{error}\nlacks\n{words}");
        }
    }
    Ok(())
}

/// A client without a certificate, or with one that is no good; a server that is another.
#[tokio::test]
async fn certificates() -> anyhow::Result<()> {
    let (folder, ca) = pki()?;
    Ca::new(&folder, "other-ca")?.issue(&folder, "rogue", &[], -1..1)?;
    ca.issue(&folder, "expired", &[], -2..-1)?;
    ca.issue(&folder, "early", &[], 1..2)?;
    for (copy, original) in [
        ("mixed.pem", "client.pem"),
        ("mixed.key", "rogue.key"),
        ("swapped.pem", "client.key"),
        ("swapped.key", "client.pem"),
        ("keyless.pem", "client.pem"),
        ("keyless.key", "client.pem"),
    ] {
        folder.write(copy, &folder.read(original)?)?;
    }
    let again = Folder::new()?;
    Ca::new(&again, "ca")?;
    folder.write("same-name.pem", &again.read("ca.pem")?)?;
    let gateway = Gateway::start(&folder, "ca.pem", "127.0.0.1:0").await?;
    let cases: [(&str, Option<&str>, &[&str]); 12] = [
        // The gateway says why, but sometimes the connection is gone before that is read.
        (
            "ca.pem",
            None,
            &[
                "asks for a client certificate",
                ", and none is set; set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH",
            ],
        ),
        (
            "ca.pem",
            Some("rogue"),
            &[
                "refuses the client certificate {}rogue.pem",
                "give one of a CA that the server trusts",
            ],
        ),
        (
            "other-ca.pem",
            Some("client"),
            &[
                "the server's certificate is not signed by the server CA certificate {}other-ca.pem; \
                 set TEMPORAL_TLS_SERVER_CA_CERT_PATH or --tls-ca-path",
            ],
        ),
        (
            "same-name.pem",
            Some("client"),
            &[
                "the server's certificate is not signed by the server CA certificate {}same-name.pem",
            ],
        ),
        (
            "ca.pem",
            Some("expired"),
            &[
                "the client certificate {}expired.pem expired at 20",
                "Z; renew it",
            ],
        ),
        (
            "ca.pem",
            Some("early"),
            &[
                "the client certificate {}early.pem is not valid before 20",
                "clock right",
            ],
        ),
        (
            "ca.pem",
            Some("mixed"),
            &[
                "the client key {}mixed.key does not belong to the client certificate {}mixed.pem; \
                 give the two that were made together",
            ],
        ),
        (
            "ca.pem",
            Some("swapped"),
            &["the client certificate {}swapped.pem holds no certificate in PEM form"],
        ),
        (
            "ca.pem",
            Some("keyless"),
            &["the client key {}keyless.key holds no private key in PEM form"],
        ),
        (
            "ca.pem",
            Some("missing"),
            &["cannot read the client certificate {}missing.pem: No such file or directory"],
        ),
        (
            "client.key",
            None,
            &["the server CA certificate {}client.key holds no certificate in PEM form"],
        ),
        (
            "",
            None,
            &["cannot read the server CA certificate {}: Is a directory"],
        ),
    ];
    for (ca, client, words) in cases {
        refused(&folder, &gateway.address, &folder.flags(ca, client), words).await?;
    }
    let mut flags = folder.flags("ca.pem", Some("client"));
    flags.extend(["--tls-server-name".to_owned(), "wrong.name".to_owned()]);
    let words = "the server's certificate is not for wrong.name but for localhost, 127.0.0.1; \
                 set TEMPORAL_TLS_SERVER_NAME or --tls-server-name";
    refused(&folder, &gateway.address, &flags, &[words]).await
}

/// The server's own certificate, out of date.
#[tokio::test]
async fn server_certificates() -> anyhow::Result<()> {
    let (folder, ca) = pki()?;
    for (days, words) in [
        (-2..-1, "the server's certificate expired at 20"),
        (1..2, "the server's certificate is not valid before 20"),
    ] {
        ca.issue(&folder, "server", &["localhost", "127.0.0.1"], days)?;
        let gateway = Gateway::start(&folder, "ca.pem", "127.0.0.1:0").await?;
        let flags = folder.flags("ca.pem", Some("client"));
        refused(&folder, &gateway.address, &flags, &[words, "Z; renew it"]).await?;
    }
    Ok(())
}

/// TLS where there is none, none where there is, and nobody at all.
#[tokio::test]
async fn wrong_ports() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let gateway = Gateway::start(&folder, "ca.pem", "127.0.0.1:0").await?;
    let words = "(TLS off): what listens there does not speak gRPC without TLS; check the port";
    refused(&folder, &gateway.address, &[], &[words]).await?;
    let flags = folder.flags("ca.pem", Some("client"));
    let words = "(TLS on): what listens there does not speak TLS; check the port";
    refused(&folder, address()?, &flags, &[words]).await?;
    let free = TcpListener::bind("127.0.0.1:0")
        .await?
        .local_addr()?
        .to_string();
    refused(
        &folder,
        &free,
        &flags,
        &["(TLS on): Connection refused", "check TEMPORAL_ADDRESS"],
    )
    .await
}

/// Variables that hold the PEM itself are named, and what they hold is not shown.
#[tokio::test]
async fn no_secret_in_an_error() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let key = folder.read("client.key")?;
    let secret = key.lines().nth(1).context("a key of three lines")?;
    for broken in [
        secret.to_owned(),
        key.replace("-----END", "END"),
        key.replace("PRIVATE", "SECRET"),
    ] {
        let mut starter = command(STARTER);
        starter
            .env("TEMPORAL_TLS_CLIENT_CERT_DATA", folder.read("client.pem")?)
            .env("TEMPORAL_TLS_CLIENT_KEY_DATA", broken);
        let error = error(starter).await?;
        let words =
            "the client key in TEMPORAL_TLS_CLIENT_KEY_DATA holds no private key in PEM form";
        ensure!(error.contains(words), "{error}");
        ensure!(
            !error.contains(&secret[..20]),
            "a part of the key in {error}"
        );
    }
    Ok(())
}

/// With everything logged that can be, neither the key nor an API key is in it.
#[tokio::test]
async fn no_secret_in_a_log() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let gateway = Gateway::start(&folder, "ca.pem", "127.0.0.1:0").await?;
    let mut starter = command(STARTER);
    starter
        .args(["--address", &gateway.address, "--namespace", "nope"])
        .args(folder.flags("ca.pem", Some("client")))
        .env("RUST_LOG", "trace")
        .env("TEMPORAL_API_KEY", "an-api-key");
    let log = String::from_utf8(run(starter).await?.stderr)?;
    ensure!(
        log.contains("TRACE") && log.contains("Namespace nope is not found."),
        "{log}"
    );
    ensure!(!log.contains("an-api-key"), "the API key in the log");
    for line in folder.read("client.key")?.lines() {
        ensure!(!log.contains(line), "the key in the log");
    }
    Ok(())
}

/// The gateway: without certificates, with a port that is taken; and what it logs of a refusal.
#[tokio::test]
async fn the_gateway_says_why() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let mut gateway = command(env!("CARGO_BIN_EXE_mtls-gateway"));
    gateway
        .args(["--cert", &folder.file("none.pem")])
        .current_dir(folder.file(""));
    let words = ".temporal/certs/ca.pem, which `make certs` makes: No such file or directory";
    let said = error(gateway).await?;
    ensure!(said.contains(words), "{said}");

    let mut first = Gateway::start(&folder, "ca.pem", "127.0.0.1:0").await?;
    let second = Gateway::start(&folder, "ca.pem", &first.address).await;
    let said = second.err().context("two on one port")?.to_string();
    let words = format!(
        "Error: cannot listen on {} (--listen): Address already in use",
        first.address
    );
    ensure!(said.contains(&words), "{said}");

    let mut starter = command(STARTER);
    starter
        .args(["--address", &first.address])
        .args(folder.flags("ca.pem", None));
    starter.stderr(Stdio::null()).status().await?;
    let log = first.log.next_line().await?.context("no log")?;
    ensure!(log.contains("refused: peer sent no certificates"), "{log}");
    first.stop().await
}
