//! Settings that worker and starter refuse, with a clear message and within ten seconds.

use crate::tls::pki::{Ca, Folder, Gateway, STARTER, WORKER, command, error, pki, run};
use anyhow::{Context, ensure};
use std::process::Stdio;
use testing::address;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Runs both binaries with these flags. The error of each must contain all of `words`, in which `{}` stands for
/// the folder.
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

/// The errors explain a missing client certificate, unusable ones, and a server certificate that does not fit.
#[tokio::test]
async fn unusable_certificates_are_explained() -> anyhow::Result<()> {
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
        // The gateway sends the reason, but sometimes the connection is closed before the client has read it.
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

/// The error names the kind of a key that the TLS library cannot use. OpenSSL created these keys.
#[tokio::test]
async fn unsupported_keys_are_named() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    folder.write("odd.pem", &folder.read("client.pem")?)?;
    for (label, base64, words) in [
        (
            "PRIVATE KEY",
            "MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIAYcCWeUuS/xV2VmYJ48HOwIyMgWRl\
                 He627lbkQrWekS1+NLUcQiQ0zQbrDQXY5buuu91gafeYsLM5qwGbK1cIA5KhgYkDgYYABAGSWTCc\
                 w1d7WDIA4D6262XBIZ2Y6EvhnEu3wvXCOKLaGh5NAheiN/5QLcs+iLvP3lxVYz1poutlFOWJJoN4\
                 KXMZCwF0AquLbuRjHsYVoZo/aKNTWnQByuoTBR2PPQWk3qbY9EsMM2eFAHIdciCKVzioysXe/Fzc\
                 UibQ1UIS9pSyClAfDg==",
            "is an ECDSA key on the curve P-521, and cannot be used for TLS here; give an RSA key",
        ),
        (
            "EC PRIVATE KEY",
            "MIHcAgEBBEIAYcCWeUuS/xV2VmYJ48HOwIyMgWRlHe627lbkQrWekS1+NLUcQiQ0zQbrDQXY5buu\
                 u91gafeYsLM5qwGbK1cIA5KgBwYFK4EEACOhgYkDgYYABAGSWTCcw1d7WDIA4D6262XBIZ2Y6Evh\
                 nEu3wvXCOKLaGh5NAheiN/5QLcs+iLvP3lxVYz1poutlFOWJJoN4KXMZCwF0AquLbuRjHsYVoZo/\
                 aKNTWnQByuoTBR2PPQWk3qbY9EsMM2eFAHIdciCKVzioysXe/FzcUibQ1UIS9pSyClAfDg==",
            "is an ECDSA key on the curve P-521",
        ),
        (
            "PRIVATE KEY",
            "MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgNWtrSCNvcSY29WW+un6+bQjYnF0ESw3D\
                 aPSdOCBrreOhRANCAARc4qkN/sFjIjn5eHKl7JsdlyKza2RiV9e+li+cw0rNW1qBLCgpfkd2y7d0\
                 54Bb3Mqi3puVQGUXVZuTrwps5EAv",
            "is an ECDSA key on the curve secp256k1",
        ),
        (
            "PRIVATE KEY",
            "MIGIAgEAMBQGByqGSM49AgEGCSskAwMCCAEBBwRtMGsCAQEEIHkdQ6VZ5L1j3qq6SgVb90S/lFWv\
                 O94Tc2+BSLBVsHLuoUQDQgAEEK2dwwS1EZzQWAQ+Uiauo+UDoTPRfIIwAetan7E5XFU8dHTM8C4g\
                 ZFnd4PUmgJoeUvG1M14huMahdKJL5tiStw==",
            "is an ECDSA key on an unusual curve",
        ),
        (
            "PRIVATE KEY",
            "MEcCAQAwBQYDK2VxBDsEObBD6RwK/C3Cp+3e/zOdHYvmj4bLZUVVvwszhqwLJqPzTHPIfXCvxI60\
                 4OSxRXP/saKWx+mV0TFb3A==",
            "is an Ed448 key",
        ),
        (
            "PRIVATE KEY",
            "MIIBVgIBADANBgkqhkiG9w0BAQEFAASCAUAwggE8AgEAAkEA1h+9Asum6EhSo/8O9VvkzJXFsNwb\
                 foO8QEkdkMgLKjIgQXAl6URIxqWk4Of2s8G0deYo66Bn+SZ929kjqdt5uQIDAQABAkEAh5ilu0V4\
                 NxTFsLDuqhY9eAlInc1lY+LMrfEfVfY4i8j18UTPtW6em9OisbLqI+qZp0qlR07fhziKEdT1u6GY\
                 4QIhAO1EwH4MsLK9XKvKIbcRCTCNe6WPGZHwEMlLxmT/+zVFAiEA5wc6u/gSt1Fty4Vmh1gULhTs\
                 3BmZT7ZapcGizcKXN+UCIEDdw/ZyB7jF9ljs6OzAlo+UjpJDngz84cn2kmW4afg1AiEAgZseqiDr\
                 bwgxjkGSWU9iUs/OaVO7HGryw5az3LbT2rkCIQCPoir3MivPNR1eMIyuCyiyXAt1a1phDztq8I9+\
                 xoR/Qg==",
            "is an RSA key of less than 2048 or more than 4096 bits, or damaged",
        ),
    ] {
        let key = format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n");
        folder.write("odd.key", &key)?;
        let words = format!("the client key {{}}odd.key {words}");
        let flags = folder.flags("ca.pem", Some("odd"));
        refused(&folder, "localhost:1", &flags, &[&words]).await?;
    }
    Ok(())
}

/// A file whose first PEM section follows a byte-order mark or an indent is refused, because PEM parsers would
/// skip that section. The second certificate of a chain would count as the first, and a bundle of CAs would
/// lack one.
#[tokio::test]
async fn hidden_pem_sections_are_refused() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let (ca, client, key) = (
        folder.read("ca.pem")?,
        folder.read("client.pem")?,
        folder.read("client.key")?,
    );
    let mark = "begins with a byte-order mark (U+FEFF), which PEM does not allow; save it as UTF-8 without one";
    let indent = "has something before -----BEGIN on the same line; begin a line with it";
    for (name, content, words) in [
        (
            "chain.pem",
            format!("\u{feff}{client}{ca}"),
            format!("the client certificate {{}}chain.pem {mark}"),
        ),
        (
            "chain.key",
            format!("\u{feff}{key}"),
            format!("the client key {{}}chain.key {mark}"),
        ),
        (
            "cas.pem",
            format!("\u{feff}{ca}{client}"),
            format!("the server CA certificate {{}}cas.pem {mark}"),
        ),
        (
            "chain.pem",
            format!("  {client}{ca}"),
            format!("the client certificate {{}}chain.pem {indent}"),
        ),
        (
            "cas.pem",
            format!("{client}\r  {ca}"),
            format!("the server CA certificate {{}}cas.pem {indent}"),
        ),
    ] {
        folder.write("cas.pem", &ca)?;
        folder.write("chain.pem", &(client.clone() + &ca))?;
        folder.write("chain.key", &key)?;
        folder.write(name, &content)?;
        let flags = folder.flags("cas.pem", Some("chain"));
        refused(&folder, "localhost:1", &flags, &[&words]).await?;
    }
    let utf16 = client.encode_utf16().flat_map(u16::to_le_bytes);
    let utf16 = [0xff, 0xfe].into_iter().chain(utf16).collect::<Vec<u8>>();
    std::fs::write(folder.file("chain.pem"), utf16)?;
    let flags = folder.flags("ca.pem", Some("chain"));
    let words = "the client certificate {}chain.pem is UTF-16; save it as UTF-8";
    refused(&folder, "localhost:1", &flags, &[words]).await?;

    let mut starter = command(STARTER);
    starter
        .env(
            "TEMPORAL_TLS_CLIENT_CERT_DATA",
            format!("\u{feff}{client}{ca}"),
        )
        .env("TEMPORAL_TLS_CLIENT_KEY_DATA", key);
    let said = error(starter).await?;
    let words = format!("the client certificate in TEMPORAL_TLS_CLIENT_CERT_DATA {mark}");
    ensure!(said.contains(&words), "{said}");

    folder.write("cas.pem", &format!("\u{feff}{ca}{client}"))?;
    let gateway = Gateway::start(&folder, "cas.pem", "127.0.0.1:0").await;
    let said = gateway.err().context("a CA is missing")?.to_string();
    ensure!(
        said.contains("cas.pem begins with a byte-order mark"),
        "{said}"
    );
    Ok(())
}

/// The error says that the server's certificate has expired, or is not valid yet.
#[tokio::test]
async fn server_certificates_out_of_date() -> anyhow::Result<()> {
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

/// A server whose keys this client does not support can only report that the handshake failed. A server that
/// asks for a client certificate in TLS 1.2 reports the same. The error names both reasons.
#[tokio::test]
async fn a_failed_handshake_has_two_reasons() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.read(&mut [0; 4096]).await;
            // An alert (21) of TLS 1.2 (3, 3), two bytes long: fatal (2), handshake failure (40).
            let _ = client.write_all(&[21, 3, 3, 0, 2, 2, 40]).await;
        }
    });
    let own = "its own certificate has a key that this client does not support, such as P-521";
    let both = format!("it asks for a client certificate, and none is set, or {own}");
    refused(&folder, &address, &folder.flags("ca.pem", None), &[&both]).await?;
    let flags = folder.flags("ca.pem", Some("client"));
    refused(
        &folder,
        &address,
        &flags,
        &[&format!("most likely because {own}")],
    )
    .await
}

/// The errors explain a port without TLS, a port with TLS, and a port on which nothing listens.
#[tokio::test]
async fn wrong_ports_are_explained() -> anyhow::Result<()> {
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

/// The error names a variable that holds a broken PEM, but does not show its value.
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

/// Even the most detailed log contains no client key, API key or header.
#[tokio::test]
async fn no_secret_in_a_log() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let gateway = Gateway::start(&folder, "ca.pem", "127.0.0.1:0").await?;
    let mut starter = command(STARTER);
    starter
        .args(["--address", &gateway.address, "--namespace", "nope"])
        .args(folder.flags("ca.pem", Some("client")))
        .env("RUST_LOG", "trace")
        .env("TEMPORAL_API_KEY", "an-api-key")
        .env("TEMPORAL_GRPC_META_COOKIE", "a-cookie");
    let log = String::from_utf8(run(starter).await?.stderr)?;
    ensure!(
        log.contains("TRACE") && log.contains("Namespace nope is not found."),
        "{log}"
    );
    ensure!(!log.contains("an-api-key"), "the API key in the log");
    ensure!(!log.contains("a-cookie"), "a header in the log");
    for line in folder.read("client.key")?.lines() {
        ensure!(!log.contains(line), "the key in the log");
    }
    Ok(())
}

/// The gateway reports missing certificates and a port that is in use, and logs why it refuses a client.
#[tokio::test]
async fn the_gateway_explains_its_errors() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let mut gateway = command(env!("CARGO_BIN_EXE_mtls-gateway"));
    gateway
        .args(["--cert", &folder.file("none.pem")])
        .current_dir(folder.file(""));
    let words = ".temporal/certs/ca.pem (`make certs` creates it): No such file or directory";
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
