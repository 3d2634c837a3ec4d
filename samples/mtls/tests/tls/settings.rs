//! Keys of all kinds: none may leave the machine without TLS, and none may be printed.

use crate::tls::{
    pki::{Folder, Gateway, STARTER, WORKER, command, error, pki, run},
    rejecting_server::RejectingServer,
};
use anyhow::ensure;
use std::{io::ErrorKind, net::TcpListener};
use temporalio_client::tonic::Code;

/// Value of every key in these tests. No output may contain it.
const SECRET: &str = "s3cret";

/// Runs both binaries with these variables. Each must fail with one line that contains all of `words` and not
/// the secret.
async fn refused(variables: &[(&str, &str)], words: &[&str]) -> anyhow::Result<()> {
    for binary in [STARTER, WORKER] {
        let mut command = command(binary);
        command.envs(variables.iter().copied());
        let error = error(command).await?;
        for words in words {
            ensure!(error.contains(words), "{error}\nlacks\n{words}");
        }
        ensure!(!error.contains(SECRET), "{error}");
    }
    Ok(())
}

/// Fails if a client has connected to `listener`.
fn nobody_connected(listener: &TcpListener) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    match listener.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => anyhow::bail!("a client has connected: {other:?}"),
    }
}

/// Every scheme except http and https is refused, even if other settings ask for TLS or contain a key. The error
/// names the scheme and where it comes from. Nothing is sent, not even a handshake.
#[tokio::test]
async fn unknown_schemes_send_nothing() -> anyhow::Result<()> {
    let (folder, _) = pki()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let host = listener.local_addr()?.to_string();
    let (certificate, key) = (folder.read("client.pem")?, folder.read("client.key")?);
    let ca = folder.file("ca.pem");
    let asks: [&[(&str, &str)]; 6] = [
        &[],
        &[("TEMPORAL_API_KEY", SECRET)],
        &[("TEMPORAL_API_KEY", SECRET), ("TEMPORAL_TLS", "true")],
        &[
            ("TEMPORAL_API_KEY", SECRET),
            ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &ca),
        ],
        &[
            ("TEMPORAL_API_KEY", SECRET),
            ("TEMPORAL_TLS_CLIENT_CERT_DATA", &certificate),
            ("TEMPORAL_TLS_CLIENT_KEY_DATA", &key),
        ],
        &[("TEMPORAL_GRPC_META_AUTHORIZATION", SECRET)],
    ];
    for asks in asks {
        for scheme in [
            "grpcs", "grpc", "tcp", "htps", "GRPCS", "dns", "ws", "wss", "ftp",
        ] {
            let address = format!("{scheme}://{host}");
            let mut variables = vec![("TEMPORAL_ADDRESS", &*address)];
            variables.extend(asks);
            let words = format!(
                "Error: the address from TEMPORAL_ADDRESS has the scheme `{}`",
                scheme.to_lowercase()
            );
            refused(&variables, &[&words, "https://host:port"]).await?;
        }
    }

    let mut starter = command(STARTER);
    starter.args(["--address", &format!("grpcs://{host}")]);
    let said = error(starter).await?;
    ensure!(
        said.contains("the address from --address has the scheme `grpcs`"),
        "{said}"
    );
    let profile = format!("[profile.default]\naddress = 'grpcs://{host}'\napi_key = '{SECRET}'\n");
    folder.write("temporal.toml", &profile)?;
    let file = folder.file("temporal.toml");
    let words =
        format!("the address from `address` in profile `default` of {file} has the scheme `grpcs`");
    refused(&[("TEMPORAL_CONFIG_FILE", &file)], &[&words]).await?;
    nobody_connected(&listener)
}

/// Addresses are refused that a URL parser would read as another host, as another scheme, or with a password,
/// which would be sent as part of the host.
#[tokio::test]
async fn ambiguous_addresses_send_nothing() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let host = listener.local_addr()?.to_string();
    let cases = [
        (format!("http:{host}"), "is neither host:port nor a URL"),
        (format!("grpcs:{host}"), "is neither host:port nor a URL"),
        (
            format!("https:/{host}"),
            "more in it than a host and a port",
        ),
        (
            format!("http:\\\\{host}"),
            "more in it than a host and a port",
        ),
        (
            format!("user:{SECRET}@{host}"),
            "has a user name before an @",
        ),
        (
            format!("http://{SECRET}@{host}"),
            "has a user name before an @",
        ),
        (
            format!("http://{host}/{SECRET}"),
            "more in it than a host and a port",
        ),
        (
            format!("http://{host}?key={SECRET}"),
            "more in it than a host and a port",
        ),
        (
            format!("http://{host}#{SECRET}"),
            "more in it than a host and a port",
        ),
        ("::1:7233".to_owned(), "write an IPv6 address in brackets"),
        ("127.0.0.1".to_owned(), "has no port: `127.0.0.1`"),
        ("[::1]".to_owned(), "has no port: `[::1]`"),
        ("127.0.0.1:70000".to_owned(), "has no valid port"),
        ("127.0.0.1:+1".to_owned(), "has no valid port"),
        ("[nope]:7233".to_owned(), "has no valid host"),
        (
            "127.0.0.1\n:7233".to_owned(),
            "has a line feed (U+000A) as character 10",
        ),
    ];
    for (address, words) in &cases {
        let variables = [
            ("TEMPORAL_ADDRESS", &**address),
            ("TEMPORAL_API_KEY", SECRET),
        ];
        refused(
            &variables,
            &["Error: the address from TEMPORAL_ADDRESS", words],
        )
        .await?;
    }
    nobody_connected(&listener)
}

/// An API key, or a header with credentials, is not sent to another machine without TLS, wherever the key comes
/// from and whatever turns TLS off. (`0.0.0.0` is this machine, but the client cannot know that.)
#[tokio::test]
async fn keys_are_not_sent_without_tls() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let host = format!("0.0.0.0:{}", listener.local_addr()?.port());
    let http = format!("http://{host}");
    let upper = format!("HTTP://{host}");
    let key = ("TEMPORAL_API_KEY", SECRET);
    let header = ("TEMPORAL_GRPC_META_AUTHORIZATION", "Bearer s3cret");
    let cases: [(&[(&str, &str)], &str); 6] = [
        (
            &[("TEMPORAL_ADDRESS", &http), key],
            "the API key from TEMPORAL_API_KEY",
        ),
        (
            &[("TEMPORAL_ADDRESS", &upper), key],
            "the API key from TEMPORAL_API_KEY",
        ),
        (
            &[("TEMPORAL_ADDRESS", &host), ("TEMPORAL_TLS", "false"), key],
            "the API key from TEMPORAL_API_KEY",
        ),
        (
            &[("TEMPORAL_ADDRESS", &http), header],
            "the header `authorization` from TEMPORAL_GRPC_META_AUTHORIZATION",
        ),
        (
            &[("TEMPORAL_ADDRESS", &host), header],
            "the header `authorization` from TEMPORAL_GRPC_META_AUTHORIZATION",
        ),
        (
            &[
                ("TEMPORAL_ADDRESS", &host),
                ("TEMPORAL_GRPC_META_COOKIE", SECRET),
            ],
            "the header `cookie` from TEMPORAL_GRPC_META_COOKIE",
        ),
    ];
    for (variables, words) in cases {
        let words = format!("{words} would cross the network to {host} without TLS");
        refused(variables, &[&words, &format!("write https://{host}")]).await?;
    }

    let file = folder.file("temporal.toml");
    for (profile, words) in [
        (
            format!("address = '{http}'\napi_key = '{SECRET}'"),
            "the API key from `api_key`",
        ),
        (
            format!("address = '{host}'\napi_key = '{SECRET}'\ntls = {{ disabled = true }}"),
            "the API key from `api_key`",
        ),
        (
            format!("address = '{host}'\ngrpc_meta = {{ Authorization = '{SECRET}' }}"),
            "the header `authorization` from `grpc_meta`",
        ),
    ] {
        folder.write("temporal.toml", &format!("[profile.default]\n{profile}\n"))?;
        let words = format!(
            "{words} in profile `default` of {file} would cross the network to {host} without TLS"
        );
        refused(&[("TEMPORAL_CONFIG_FILE", &file)], &[&words]).await?;
    }
    nobody_connected(&listener)
}

/// The error names a broken `temporal.toml` with line, column and setting. Neither it nor any log shows the line
/// itself, which may be a key.
#[tokio::test]
async fn broken_files_are_not_quoted() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let file = folder.file("temporal.toml");
    let path = |line: u32, column: u32| format!("{file}, line {line}, column {column}");
    let cases: [(&[u8], String); 30] = [
        // Not TOML.
        (b"api_key = s3cret", path(2, 11) + " (near `api_key`): "),
        (b"api_key = \"s3cret", path(2, 18) + " (near `api_key`): "),
        (b"api_key = 's3cret", path(2, 18) + " (near `api_key`): "),
        (
            b"api_key = \"s3cret\" s3cret",
            path(2, 20) + " (near `api_key`): ",
        ),
        (
            b"api_key = \"s3cret\\q\"",
            path(2, 19) + " (near `api_key`): ",
        ),
        (b"api_key: s3cret", path(2, 8) + " (near `api_key`): "),
        (b"api_key s3cret", path(2, 9) + " (near `api_key`): "),
        (b"api_key", path(2, 8) + " (near `api_key`): "),
        (b"api_key =", path(2, 10) + " (near `api_key`): "),
        (b"s3cret", path(2, 7) + " (after `profile`): "),
        (
            b"s3cret = 1\ns3cret = 1",
            path(3, 1) + " (after `profile`): ",
        ),
        (b"[s3cret", path(2, 8) + " (after `profile`): "),
        (
            b"api_key = \"s3cret\"\napi_key = \"s3cret\"",
            path(3, 1) + " (near `api_key`): ",
        ),
        (b"api_key = 12s3cret", path(2, 13) + " (near `api_key`): "),
        (
            b"api_key = [\"s3cret\",",
            path(2, 21) + " (near `api_key`): ",
        ),
        (
            b"tls = { client_key_data = s3cret }",
            path(2, 27) + " (near `client_key_data`): ",
        ),
        (
            b"tls.client_key_data = \"-----BEGIN PRIVATE KEY-----\ns3cret=\n-----END\"",
            path(2, 51) + " (near `client_key_data`): ",
        ),
        (
            b"tls.client_key_data = \"\"\"-----BEGIN PRIVATE KEY-----\ns3cret=\n-----END\"",
            path(4, 10) + " (after `client_key_data`): ",
        ),
        (
            b"tls.client_key_data = -----BEGIN PRIVATE KEY-----\ns3cret=\n-----END",
            path(2, 23) + " (near `client_key_data`): ",
        ),
        (
            b"api_key = \"s3cret\0\"",
            path(2, 18) + " (near `api_key`): ",
        ),
        (b"# \xff\napi_key = \"s3cret\"", path(2, 3) + ": not UTF-8"),
        (b"api_key = \"s3cret\xe9\"", path(2, 18) + ": not UTF-8"),
        // TOML, with a value of the wrong type.
        (
            b"api_key = [\"s3cret\"]",
            path(2, 11) + ": `api_key` must be a string in quotes, not this array",
        ),
        (
            b"api_key = { s3cret = 1 }",
            path(2, 11) + ": `api_key` must be a string in quotes, not this table",
        ),
        (
            b"tls = \"s3cret\"",
            path(2, 7) + ": `tls` must be a table, not this string",
        ),
        (
            b"tls.disabled = \"s3cret\"",
            path(2, 16) + ": `disabled` must be true or false, not this string",
        ),
        (
            b"tls.client_key_data = [\n\"s3cret\"]",
            path(2, 23) + ": `client_key_data` must be a string in quotes, not this array",
        ),
        (
            b"grpc_meta = { authorization = [\"s3cret\"] }",
            path(2, 31) + ": each value in `grpc_meta` must be a string in quotes, not this array",
        ),
        (
            b"[profile]\ns3cret = \"s3cret\"",
            path(3, 10) + ": each value in `profile` must be a table, not this string",
        ),
        // Valid TOML with valid types, but contradictory.
        (
            b"tls.client_key_data = \"s3cret\"\ntls.client_key_path = \"s3cret\"",
            "Cannot specify both client_key_path and client_key_data".to_owned(),
        ),
    ];
    for (lines, words) in cases {
        let header = if lines.starts_with(b"[profile]") {
            "#\n"
        } else {
            "[profile.default]\n"
        };
        std::fs::write(&file, [header.as_bytes(), lines].concat())?;
        let lines = String::from_utf8_lossy(lines);
        for binary in [STARTER, WORKER] {
            let mut command = command(binary);
            command
                .env("TEMPORAL_CONFIG_FILE", &file)
                .env("RUST_LOG", "trace");
            let output = run(command).await?;
            let said = String::from_utf8([output.stdout, output.stderr].concat())?;
            ensure!(output.status.code() == Some(1), "{lines}\n{said}");
            ensure!(said.contains(&words), "{lines}\n{said}\nlacks\n{words}");
            ensure!(!said.contains(SECRET), "{lines}\n{said}");
        }
    }
    Ok(())
}

/// Windows writes such files: a byte-order mark in front of TOML is ignored, and UTF-16 is refused by its name.
/// A warning names only the place of a setting that does not exist.
#[tokio::test]
async fn files_written_on_windows() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let server = RejectingServer::start(Code::PermissionDenied).await?;
    let file = folder.file("temporal.toml");
    let toml = format!(
        "[profile.default]\naddress = 'http://{}'\napi_key = 's3cret'\n  s3cret = 's3cret'\n",
        server.address
    );
    let run = async || {
        let mut starter = command(STARTER);
        starter.env("TEMPORAL_CONFIG_FILE", &file);
        anyhow::Ok(String::from_utf8(run(starter).await?.stderr)?)
    };
    std::fs::write(&file, format!("\u{feff}{toml}"))?;
    let said = run().await?;
    let warning = format!("{file}, line 4, column 3: no setting has this name, it is ignored");
    ensure!(said.contains(&warning), "{said}");
    ensure!(!said.contains(SECRET), "{said}");
    assert_eq!(server.take_authorization(), ["Bearer s3cret"]);

    let utf16 = toml.encode_utf16().flat_map(u16::to_le_bytes);
    std::fs::write(
        &file,
        [0xff, 0xfe].into_iter().chain(utf16).collect::<Vec<u8>>(),
    )?;
    let said = run().await?;
    ensure!(
        said.contains(&format!("{file} is UTF-16; save it as UTF-8")),
        "{said}"
    );
    Ok(())
}

/// A file that is read into a variable ends with a line feed, and so do many Kubernetes secrets. White space
/// around a key or another value is removed.
#[tokio::test]
async fn white_space_around_values_is_trimmed() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let server = RejectingServer::start(Code::Unauthenticated).await?;
    let address = format!(" http://{}\r\n", server.address);
    let file = folder.file("temporal.toml");
    let toml = format!("[profile.default]\napi_key = \"\\ts3cret\\r\\n\"\naddress = {address:?}");
    folder.write("temporal.toml", &toml)?;
    let cases: [&[(&str, &str)]; 4] = [
        &[
            ("TEMPORAL_ADDRESS", &address),
            ("TEMPORAL_API_KEY", "s3cret\n"),
        ],
        &[
            ("TEMPORAL_ADDRESS", &address),
            ("TEMPORAL_API_KEY", "\u{a0} s3cret\r\n"),
        ],
        &[
            ("TEMPORAL_ADDRESS", &address),
            ("TEMPORAL_GRPC_META_AUTHORIZATION", "Bearer s3cret\n"),
        ],
        // A variable that contains only white space counts as not set.
        &[
            ("TEMPORAL_CONFIG_FILE", &file),
            ("TEMPORAL_API_KEY", "\n"),
            ("TEMPORAL_PROFILE", "default\n"),
        ],
    ];
    for variables in cases {
        let mut starter = command(STARTER);
        starter.envs(variables.iter().copied());
        starter.args(["--namespace", "mine\n"]);
        let said = error(starter).await?;
        ensure!(said.contains("may use the namespace mine; "), "{said}");
        assert_eq!(
            server.take_authorization(),
            ["Bearer s3cret"],
            "{variables:?}"
        );
    }
    Ok(())
}

/// A control character inside a value is refused. The error names the character and its place, but does not show
/// the value.
#[tokio::test]
async fn control_characters_are_refused() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let (_, pem) = (pki()?, pki()?.0.read("client.key")?);
    let flat = pem.replace('\n', " ");
    let file = folder.file("temporal.toml");
    let cases = [
        (
            "TEMPORAL_API_KEY",
            "s3\ncret",
            "the API key from TEMPORAL_API_KEY has a line feed (U+000A) as character 3; remove it",
        ),
        (
            "TEMPORAL_API_KEY",
            "s3\rcret",
            "has a carriage return (U+000D)",
        ),
        ("TEMPORAL_API_KEY", "s3\tcret", "has a tab (U+0009)"),
        (
            "TEMPORAL_API_KEY",
            "s3\u{1b}cret",
            "has a control character (U+001B)",
        ),
        (
            "TEMPORAL_API_KEY",
            "\u{feff}s3cret",
            "has a byte-order mark (U+FEFF) as character 1",
        ),
        // The SDK would leave out the header without a word.
        (
            "TEMPORAL_API_KEY",
            "s3\u{2013}cret",
            "has a character outside ASCII (U+2013)",
        ),
        (
            "TEMPORAL_GRPC_META_X_TOKEN",
            "s3\ncret",
            "the header `x-token` from TEMPORAL_GRPC_META_X_TOKEN has a line feed",
        ),
        (
            "TEMPORAL_GRPC_META_X_TOKEN",
            "s3\u{e9}cret",
            "has a character outside ASCII (U+00E9)",
        ),
        (
            "TEMPORAL_GRPC_META_X_BIN",
            "s3cret",
            "a header from TEMPORAL_GRPC_META_X_BIN has a name that cannot be sent",
        ),
        (
            "TEMPORAL_NAMESPACE",
            "s3\ncret",
            "the namespace from TEMPORAL_NAMESPACE has a line feed",
        ),
        (
            "TEMPORAL_PROFILE",
            "s3\ncret",
            "TEMPORAL_PROFILE has a line feed",
        ),
        (
            "TEMPORAL_CONFIG_FILE",
            "s3\ncret",
            "TEMPORAL_CONFIG_FILE has a line feed",
        ),
        ("TEMPORAL_TLS", "s3\ncret", "TEMPORAL_TLS has a line feed"),
        (
            "TEMPORAL_TLS_SERVER_NAME",
            "s3\ncret",
            "the server name from TEMPORAL_TLS_SERVER_NAME has a line feed",
        ),
        (
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
            "s3\ncret",
            "the path from TEMPORAL_TLS_SERVER_CA_CERT_PATH has a line feed",
        ),
        (
            "TEMPORAL_TLS_CLIENT_KEY_PATH",
            &pem,
            "TEMPORAL_TLS_CLIENT_KEY_PATH takes the path of a file, but has the content of one",
        ),
        (
            "TEMPORAL_TLS_CLIENT_KEY_PATH",
            &flat,
            "TEMPORAL_TLS_CLIENT_KEY_PATH takes the path of a file",
        ),
    ];
    for (variable, value, words) in cases {
        refused(&[(variable, value)], &[words]).await?;
        ensure!(!words.contains(value), "{words}");
    }
    let refused_file = async |toml: &str, words: &str| {
        folder.write("temporal.toml", &format!("[profile.default]\n{toml}\n"))?;
        refused(&[("TEMPORAL_CONFIG_FILE", &file)], &[words]).await
    };
    let from = format!("profile `default` of {file}");
    refused_file(
        "api_key = \"s3\\ncret\"",
        &format!("the API key from `api_key` in {from} has a line feed"),
    )
    .await?;
    refused_file(
        "namespace = \"s3\\ncret\"",
        &format!("the namespace from `namespace` in {from} has a line feed"),
    )
    .await?;
    refused_file(
        "grpc_meta.\"s3 cret\" = \"1\"",
        &format!("a header from `grpc_meta` in {from} has a name"),
    )
    .await?;
    refused_file(
        "api_key = \"s3cret\"\ngrpc_meta.authorization = \"s3cret\"",
        &format!("the header `authorization` from `grpc_meta` in {from} would replace the API key from `api_key` in {from}"),
    )
    .await
}

/// If the server rejects a key, as the client connects or later, the error of worker and starter says so and
/// names where the key comes from.
#[tokio::test]
async fn rejected_keys_are_named() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let file = folder.file("temporal.toml");
    let toml = "[profile.default]\n[profile.cloud]\napi_key = 's3cret'\nnamespace = 'theirs'\n";
    folder.write("temporal.toml", toml)?;
    let cases: [(&[(&str, &str)], &str); 4] = [
        (
            &[("TEMPORAL_API_KEY", SECRET)],
            "the server rejected the API key from TEMPORAL_API_KEY: check that it is complete, has \
             not expired, and may use the namespace default",
        ),
        (
            &[
                ("TEMPORAL_CONFIG_FILE", &file),
                ("TEMPORAL_PROFILE", "cloud"),
            ],
            &format!(
                "the server rejected the API key from `api_key` in profile `cloud` of {file}: check \
                 that it is complete, has not expired, and may use the namespace theirs"
            ),
        ),
        (
            &[("TEMPORAL_GRPC_META_AUTHORIZATION", SECRET)],
            "the server rejected the header `authorization` from TEMPORAL_GRPC_META_AUTHORIZATION:",
        ),
        (
            &[],
            "the server asks for credentials, and none are set: set TEMPORAL_API_KEY",
        ),
    ];
    for code in [Code::Unauthenticated, Code::PermissionDenied] {
        for lets_connect in [false, true] {
            let server = match lets_connect {
                true => RejectingServer::start_after_connect(code).await?,
                false => RejectingServer::start(code).await?,
            };
            for (variables, words) in cases {
                for binary in [STARTER, WORKER] {
                    let mut command = command(binary);
                    command
                        .args(["--address", &format!("http://{}", server.address)])
                        .envs(variables.iter().copied());
                    let output = run(command).await?;
                    let said = String::from_utf8(output.stderr)?;
                    let last = said.lines().last().unwrap_or_default();
                    ensure!(output.status.code() == Some(1), "{said}");
                    ensure!(last.contains(words), "{said}\nlacks\n{words}");
                    ensure!(last.contains("access denied"), "{said}");
                    ensure!(!said.contains(SECRET), "{said}");
                }
            }
        }
    }

    // Without a key, the server can only reject the client certificate.
    let (folder, _) = pki()?;
    let server = RejectingServer::start(Code::PermissionDenied).await?;
    let gateway = Gateway::start_for(&server.address, &folder, "ca.pem", "127.0.0.1:0").await?;
    let mut starter = command(STARTER);
    starter
        .args(["--address", &gateway.address])
        .args(folder.flags("ca.pem", Some("client")));
    let said = error(starter).await?;
    let words = "access denied; the server rejected the client certificate: check that";
    ensure!(said.contains(words), "{said}");
    Ok(())
}
