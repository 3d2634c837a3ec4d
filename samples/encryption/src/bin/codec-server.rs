//! Runs the codec server, which decrypts for the Web UI and the Temporal CLI.

use anyhow::{Context, anyhow, bail, ensure};
use axum::http::HeaderValue;
use clap::Parser;
use encryption::codec_server::{Access, router};
use payload_codec::{EncryptionArgs, trimmed};
use shared::{LogFormat, MainResult, ShutdownSignals, init_logs_as, is_loopback};
use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};
use temporalio_client::Url;
use tokio::{net::TcpListener, sync::oneshot, time::timeout};

/// Variable with the token. The token has no flag, because flags show in the process list.
const TOKEN: &str = "CODEC_SERVER_TOKEN";

/// How long running requests may take once the server has been told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Encrypts and decrypts payloads for the Web UI and the Temporal CLI, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// Address to listen at; port 0 means any free port. An address beyond this machine requires a token
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,

    /// Origin whose pages may read responses, instead of the default ones; may be repeated
    #[arg(
        long,
        value_name = "ORIGIN",
        value_parser = origin,
        default_values = [
            "http://localhost:8233",
            "http://127.0.0.1:8233",
            "http://localhost:8080",
            "http://127.0.0.1:8080",
        ]
    )]
    allow_origin: Vec<HeaderValue>,

    /// Namespace that the keys are for; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    namespace: Vec<String>,

    /// File with the token that requests must have [env: CODEC_SERVER_TOKEN, the token itself]
    #[arg(long, value_name = "FILE")]
    auth_token_file: Option<PathBuf>,

    /// Largest size of a request
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20)]
    max_bytes: usize,

    /// Log lines for people, or for machines
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,

    #[command(flatten)]
    encryption: EncryptionArgs,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let mut signals = ShutdownSignals::new()?;
    init_logs_as(args.log_format)?;
    let token = token(args.auth_token_file, std::env::var_os(TOKEN))?;
    if token.is_none() && !args.listen.ip().is_loopback() {
        Err(anyhow!(
            "at {} (--listen), everyone on the network could decrypt; set {TOKEN} or --auth-token-file",
            args.listen
        ))?;
    }
    let codec = args
        .encryption
        .codec(remote(args.listen, &args.allow_origin).as_deref())?;
    let access = Access {
        origins: args.allow_origin,
        namespaces: args.namespace,
        token,
        max_bytes: args.max_bytes,
    };
    let router = router(codec, access);
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {} (--listen)", args.listen))?;
    let (stop, stopped) = oneshot::channel::<()>();
    println!("http://{}", listener.local_addr()?);
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        // An error means that the sender was dropped, which is the signal to stop.
        let _ = stopped.await;
    });
    let mut serving = tokio::spawn(server.into_future());
    tokio::select! {
        ended = &mut serving => return Ok(ended??),
        _ = signals.next() => {}
    }
    drop(stop);
    match timeout(GRACE, serving).await {
        Ok(ended) => Ok(ended??),
        Err(_) => Err(anyhow!(
            "a request took longer than {GRACE:?} and was aborted"
        ))?,
    }
}

/// Returns the origin of a URL, as browsers write it. Refuses `*`: any page that the reader has open could
/// then decrypt payloads.
fn origin(text: &str) -> anyhow::Result<HeaderValue> {
    let origin = Url::parse(text).ok().map(|url| url.origin());
    let origin = origin.filter(|origin| origin.is_tuple());
    let origin = origin.context("the format of an origin is https://ui.example.com")?;
    Ok(origin.ascii_serialization().parse()?)
}

/// Returns the address or the origin that shows that clients beyond this machine use the codec server, or
/// `None` if only this machine does.
fn remote(listen: SocketAddr, origins: &[HeaderValue]) -> Option<String> {
    if !listen.ip().is_loopback() {
        return Some(format!("a client of {listen} (--listen)"));
    }
    let mut origins = origins.iter().filter_map(|origin| origin.to_str().ok());
    let local = |origin: &&str| Url::parse(origin).is_ok_and(|url| is_loopback(&url));
    let origin = origins.find(|origin| !local(origin))?;
    Some(format!("{origin} (--allow-origin)"))
}

fn token(file: Option<PathBuf>, variable: Option<OsString>) -> anyhow::Result<Option<String>> {
    // Compose files and CI pass empty variables.
    let variable = variable.filter(|value| !value.is_empty());
    let text = match (file, variable) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            bail!("both {TOKEN} and --auth-token-file are set; use only one of them")
        }
        (None, Some(value)) => value
            .into_string()
            .map_err(|_| anyhow!("{TOKEN} is not UTF-8"))?,
        (Some(file), None) => std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {} (--auth-token-file)", file.display()))?,
    };
    let token = trimmed(&text);
    // Otherwise `Bearer ` would be enough.
    ensure!(
        !token.is_empty(),
        "the token of {TOKEN} or --auth-token-file is empty"
    );
    // No request can have such a token, which may come from a file with two lines.
    ensure!(
        HeaderValue::from_str(token).is_ok(),
        "the token of {TOKEN} or --auth-token-file contains a control character"
    );
    Ok(Some(token.to_owned()))
}
