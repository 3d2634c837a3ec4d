//! Tests the codec server: its responses in this process, and its start and its log as a binary.

use anyhow::{Context, ensure};
use axum::http::{HeaderMap, HeaderValue, Method};
use encryption::{
    codec_server::{Access, router},
    encrypted, worker_options,
    workflows::Workflow,
};
use http_client::http_client;
use payload_codec::{DEVELOPMENT_KEY_ID, EncryptionCodec, KeyRing, PUBLISHED_DEVELOPMENT_KEY};
use serde_json::{Value, json};
use std::{
    process::{Output, Stdio},
    time::Duration,
};
use temporalio_client::Url;
use temporalio_common::protos::temporal::api::{
    common::v1::Payloads, history::v1::history_event::Attributes,
};
use testing::{TestEnv, address, events, root};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
};

const UI: &str = "http://localhost:8233";

fn codec() -> anyhow::Result<EncryptionCodec> {
    let keys = KeyRing::new(DEVELOPMENT_KEY_ID, PUBLISHED_DEVELOPMENT_KEY)?;
    Ok(EncryptionCodec::new(keys))
}

fn access() -> Access {
    Access {
        origins: vec![HeaderValue::from_static(UI)],
        namespaces: Vec::new(),
        token: None,
        max_bytes: 1000,
    }
}

/// Runs the codec server on a free port until the test ends.
async fn serve(access: Access) -> anyhow::Result<Url> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = Url::parse(&format!("http://{}", listener.local_addr()?))?;
    tokio::spawn(axum::serve(listener, router(codec()?, access)).into_future());
    Ok(url)
}

/// A response of the codec server.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str());
        value.and_then(Result::ok).unwrap_or_default()
    }

    fn json(&self) -> anyhow::Result<Value> {
        ensure!(self.status == 200, "{self:?}");
        ensure!(self.header("content-type") == "application/json");
        Ok(serde_json::from_str(&self.body)?)
    }
}

async fn ask(
    method: Method,
    url: &Url,
    path: &str,
    headers: &[(&str, &str)],
    body: impl ToString,
) -> anyhow::Result<Answer> {
    let client = http_client(url, Duration::from_secs(5))?;
    let mut request = client
        .request(method, url.join(path)?)
        .body(body.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await?,
    })
}

async fn post(url: &Url, path: &str, body: impl ToString) -> anyhow::Result<Answer> {
    ask(Method::POST, url, path, &[], body).await
}

/// Returns `"Ada"` as a client sends it that does not encrypt.
fn plain() -> Value {
    json!({ "payloads": [{ "metadata": { "encoding": "anNvbi9wbGFpbg==" }, "data": "IkFkYSI=" }] })
}

/// Decoding an encoded payload returns the original, with any path before `/encode` and `/decode`. The ciphertext
/// names the key.
#[tokio::test]
async fn encodes_and_decodes() -> anyhow::Result<()> {
    let url = serve(access()).await?;
    for prefix in ["", "/default", "/codec/v1/my%20namespace"] {
        let encoded = post(&url, &format!("{prefix}/encode"), plain()).await?;
        let encoded = encoded.json()?;
        let metadata = &encoded["payloads"][0]["metadata"];
        assert_eq!(metadata["encoding"], "YmluYXJ5L2VuY3J5cHRlZA==");
        assert_eq!(metadata["encryption-key-id"], "dGVzdC1rZXktaWQ=");
        let decoded = post(&url, &format!("{prefix}/decode"), encoded).await?;
        assert_eq!(decoded.json()?, plain());
    }
    Ok(())
}

/// All forms of Proto3 JSON are accepted: both base64 alphabets, with and without padding; empty fields, left out
/// or null; and fields of a later version. Payloads that are not encrypted are returned unchanged.
#[tokio::test]
async fn accepts_all_forms_of_proto_json() -> anyhow::Result<()> {
    let url = serve(access()).await?;
    for (data, expected) in [("-_-_", "+/+/"), ("YQ", "YQ=="), ("", "")] {
        let body = json!({ "payloads": [{ "metadata": { "encoding": "YQ" }, "data": data }] });
        let decoded = post(&url, "/decode", body).await?.json()?;
        let payload = &decoded["payloads"][0];
        assert_eq!(payload["metadata"]["encoding"], "YQ==");
        assert_eq!(payload["data"].as_str().unwrap_or_default(), expected);
    }
    for body in [
        json!({}),
        json!({ "payloads": [] }),
        json!({ "payloads": [{}] }),
        json!({ "payloads": null, "new": 1 }),
        json!({ "payloads": [{ "metadata": null, "data": null, "externalPayloads": [], "new": 1 }] }),
    ] {
        let decoded = post(&url, "/decode", &body).await?.json()?;
        let count = |value: &Value| value["payloads"].as_array().map_or(0, Vec::len);
        assert_eq!(count(&decoded), count(&body));
    }
    Ok(())
}

/// A bad request gets a status, and one line that says why and quotes no contents.
#[tokio::test]
async fn refuses_bad_requests() -> anyhow::Result<()> {
    let url = serve(access()).await?;
    let encrypted = |key: &str, data: &str| {
        let metadata = json!({ "encoding": "YmluYXJ5L2VuY3J5cHRlZA==", "encryption-key-id": key });
        json!({ "payloads": [{ "metadata": metadata, "data": data }] }).to_string()
    };
    let (ours, other, long) = ("dGVzdC1rZXktaWQ=", "a2V5LTI=", "A".repeat(44));
    let no_payloads = "the body is not `Payloads` in JSON";
    let cases = [
        ("hush", 400, no_payloads),
        ("", 400, no_payloads),
        ("{\"payloads\": [\"hush\"]}", 400, no_payloads),
        ("{\"payloads\": [{\"data\": \"*\"}]}", 400, no_payloads),
        (
            &encrypted(other, &long),
            400,
            "no key `key-2` in the key ring, which holds `test-key-id`; add it to the key file",
        ),
        (
            &encrypted(ours, &long),
            400,
            "key `test-key-id` does not decrypt a payload: another key has that id, or the data was changed",
        ),
        (
            &encrypted(ours, ""),
            400,
            "an encrypted payload has 0 bytes, fewer than nonce and tag",
        ),
        (&"A".repeat(1001), 413, "too large, see --max-bytes"),
    ];
    for (body, status, reason) in cases {
        let answer = post(&url, "/decode", body).await?;
        assert_eq!((answer.status, &*answer.body), (status, reason), "{body}");
    }
    for (method, path, status) in [
        (Method::POST, "/decoded", 404),
        (Method::POST, "/", 404),
        (Method::GET, "/decode", 405),
    ] {
        let answer = ask(method, &url, path, &[], plain()).await?;
        assert_eq!(answer.status, status, "{path}");
    }
    Ok(())
}

/// With a token, only requests that have it are answered. A page whose request is refused can read why.
#[tokio::test]
async fn requires_the_token() -> anyhow::Result<()> {
    let token = Some("hush".to_owned());
    let url = serve(Access { token, ..access() }).await?;
    let cases = [
        ("Bearer hush", 200),
        ("bearer hush", 200),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer hus", 401),
        ("Bearer hush!", 401),
        ("Basic hush", 401),
        ("hush", 401),
    ];
    for (given, status) in cases {
        let headers = [("authorization", given), ("origin", UI)];
        let answer = ask(Method::POST, &url, "/encode", &headers, plain()).await?;
        assert_eq!(answer.status, status, "{given}");
        assert_eq!(answer.header("access-control-allow-origin"), UI);
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge == "Bearer", status == 401);
        assert!(!answer.body.contains("hush"));
    }
    // The token is checked first, so that without it a client cannot send megabytes or learn namespaces.
    let answer = post(&url, "/decode", "A".repeat(1001)).await?;
    assert_eq!(answer.status, 401);
    Ok(())
}

/// A request for a namespace without a key is refused, and so is a request without a namespace.
#[tokio::test]
async fn refuses_other_namespaces() -> anyhow::Result<()> {
    let namespaces = vec!["orders".to_owned(), "billing".to_owned()];
    let url = serve(Access {
        namespaces,
        ..access()
    })
    .await?;
    let cases = [("orders", 200), ("billing", 200), ("order", 403), ("", 403)];
    for (namespace, status) in cases {
        let headers = [("x-namespace", namespace)];
        let answer = ask(Method::POST, &url, "/encode", &headers, plain()).await?;
        assert_eq!(answer.status, status, "{namespace}");
        if status == 403 {
            assert_eq!(
                answer.body,
                format!("no key for the namespace `{namespace}`")
            );
        }
    }
    assert_eq!(post(&url, "/encode", plain()).await?.status, 403);
    Ok(())
}

/// Pages of allowed origins may send requests and read responses. Other pages may not.
#[tokio::test]
async fn cors() -> anyhow::Result<()> {
    // Browsers send no token with a preflight request.
    let token = Some("hush".to_owned());
    let url = serve(Access { token, ..access() }).await?;
    for (origin, allowed) in [(UI, UI), ("http://localhost:8234", ""), ("null", "")] {
        for path in ["/encode", "/default/decode"] {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                (
                    "access-control-request-headers",
                    "authorization,content-type,x-namespace",
                ),
                ("access-control-request-private-network", "true"),
            ];
            let answer = ask(Method::OPTIONS, &url, path, &headers, "").await?;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("access-control-allow-origin"), allowed);
            let header = |name| answer.header(&format!("access-control-allow-{name}"));
            assert_eq!(header("methods"), "POST,OPTIONS");
            assert_eq!(header("headers"), "content-type,x-namespace,authorization");
            assert_eq!(header("private-network"), "true");
            assert!(answer.header("vary").contains("origin"));
        }
    }
    Ok(())
}

/// Decodes the input and the result of a workflow as the server stores them.
#[tokio::test]
async fn decodes_a_history() -> anyhow::Result<()> {
    let mut env = TestEnv::new().await?;
    env.client = encrypted(env.client, codec()?);
    let url = serve(access()).await?;
    env.work(worker_options, async {
        let handle = env
            .start_json::<Workflow>("Workflow", &[json!("Ada")])
            .await?;
        handle.get_result(Default::default()).await?;
        let mut payloads = Vec::new();
        for event in events(&handle).await? {
            match event.attributes {
                Some(Attributes::WorkflowExecutionStartedEventAttributes(a)) => {
                    payloads.extend(a.input.unwrap_or_default().payloads);
                }
                Some(Attributes::WorkflowExecutionCompletedEventAttributes(a)) => {
                    payloads.extend(a.result.unwrap_or_default().payloads);
                }
                _ => {}
            }
        }
        let stored = serde_json::to_value(Payloads { payloads })?;
        let decoded = post(&url, "/decode", stored).await?.json()?;
        let decoded: Payloads = serde_json::from_value(decoded)?;
        let data: Vec<_> = decoded.payloads.into_iter().map(|it| it.data).collect();
        assert_eq!(data, [&b"\"Ada\""[..], b"\"Hello, Ada\""]);
        Ok(())
    })
    .await
}

/// Runs the Temporal CLI against the test server.
async fn cli(arguments: &[&str]) -> anyhow::Result<String> {
    let script = root().join("shared/scripts/temporal-cli");
    let path = Command::new(script).output().await?.stdout;
    let output = Command::new(String::from_utf8(path)?.trim())
        .args(arguments)
        .args(["--address", address()?, "--disable-config-file"])
        .output()
        .await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// `temporal workflow show` prints plain text only with `--codec-endpoint …`, also for the message of a failure.
#[tokio::test]
async fn the_cli_shows_plain_text() -> anyhow::Result<()> {
    let mut env = TestEnv::new().await?;
    env.client = encrypted(env.client, codec()?);
    let url = serve(Access {
        token: Some("hush".to_owned()),
        ..access()
    })
    .await?;
    let with_codec = [
        "--codec-endpoint",
        url.as_str(),
        "--codec-auth",
        "Bearer hush",
    ];
    env.work(worker_options, async {
        for (input, secret) in [
            (json!("Temporal"), "Hello, Temporal"),
            (
                json!(41111111),
                "bad input: invalid type: integer `41111111`",
            ),
        ] {
            let handle = env.start_json::<Workflow>("Workflow", &[input]).await?;
            // The history shows whether it completed or failed.
            let _ = handle.get_result(Default::default()).await;
            let id = &*handle.info().workflow_id;
            let show = ["workflow", "show", "--workflow-id", id, "--detailed"];
            let stored = cli(&show).await?;
            assert!(!stored.contains(secret), "{stored}");
            let shown = cli(&[&show[..], &with_codec].concat()).await?;
            assert!(shown.contains(secret), "{shown}");
        }
        Ok(())
    })
    .await
}

/// Returns the command for the binary, without the keys and tokens of the caller's environment.
fn binary(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encryption-codec-server"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The codec server prints its address, logs a line for each request without its contents, and exits with status 0
/// after SIGTERM.
#[cfg(unix)]
#[tokio::test]
async fn starts_logs_and_ends() -> anyhow::Result<()> {
    let mut server = binary(&["--listen", "127.0.0.1:0", "--log-format", "json"])
        .env("CODEC_SERVER_TOKEN", "hush")
        .spawn()?;
    let stdout = server.stdout.take().context("no stdout")?;
    let line = BufReader::new(stdout).lines().next_line().await?;
    let url = Url::parse(&line.context("it ended")?)?;

    let headers = [("authorization", "Bearer hush"), ("x-namespace", "default")];
    let encoded = ask(Method::POST, &url, "/encode?hush", &headers, plain()).await?;
    assert_eq!(encoded.status, 200);
    assert_eq!(post(&url, "/decode", plain()).await?.status, 401);

    let pid = server.id().context("it ended")?.to_string();
    Command::new("kill").arg(pid).status().await?;
    let output = server.wait_with_output().await?;
    let logged = stderr(&output);
    assert!(output.status.success(), "{logged}");
    let lines: Vec<Value> = logged
        .lines()
        .filter(|line| line.contains("\"answered\""))
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let statuses: Vec<_> = lines.iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [200, 401]);
    let request = &lines[0]["spans"][0];
    let bytes = plain().to_string().len();
    for (name, value) in [
        ("method", json!("POST")),
        ("path", json!("/encode")),
        ("namespace", json!("default")),
        ("bytes", json!(bytes)),
        ("payloads", json!(1)),
    ] {
        assert_eq!(request[name], value);
    }
    for secret in ["hush", "IkFkYSI=", "Ada"] {
        assert!(!logged.contains(secret), "{logged}");
    }
    Ok(())
}

/// With a bad flag the codec server does not start. It prints one line that names the flag.
#[tokio::test]
async fn refuses_to_start() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0").await?;
    let taken = taken.local_addr()?.to_string();
    let cases = [
        (
            ["--listen", &*taken],
            format!("Error: cannot listen on {taken} (--listen): Address already in use"),
        ),
        (
            ["--listen", "0.0.0.0:0"],
            "Error: at 0.0.0.0:0 (--listen), everyone on the network could decrypt; set CODEC_SERVER_TOKEN or --auth-token-file".to_owned(),
        ),
        (
            ["--auth-token-file", "/nowhere"],
            "Error: cannot read /nowhere (--auth-token-file): No such file".to_owned(),
        ),
        (
            ["--auth-token-file", "/dev/null"],
            "Error: the token of CODEC_SERVER_TOKEN or --auth-token-file is empty".to_owned(),
        ),
        (
            ["--allow-origin", "*"],
            "error: invalid value '*' for '--allow-origin <ORIGIN>': the format of an origin is https://ui.example.com".to_owned(),
        ),
        (
            ["--allow-origin", "null"],
            "error: invalid value 'null' for '--allow-origin <ORIGIN>': the format of an origin is".to_owned(),
        ),
    ];
    for (arguments, reason) in cases {
        let output = binary(&arguments).output().await?;
        let said = stderr(&output);
        assert!(!output.status.success());
        assert!(said.lines().any(|line| line.starts_with(&reason)), "{said}");
    }
    Ok(())
}
