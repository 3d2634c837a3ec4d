//! A gateway in front of a server that speaks no TLS: it asks its clients for a certificate, ends TLS,
//! and forwards what is inside.
//!
//! It stands in for the frontend of a Temporal cluster, which does all this by itself, and is here
//! because the development server cannot. It is no proxy for production.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "no workflow code in here"
)]

use anyhow::{Context, anyhow, ensure};
use clap::Parser;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use shared::{MainResult, ShutdownSignals, init_logs};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, copy, copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// The longest that a handshake may take: a client that says nothing is not to stay.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client that is refused may take to read that.
const LINGER: Duration = Duration::from_secs(1);

/// Ends TLS in front of a plaintext Temporal server, for clients that have a certificate.
#[derive(Clone, Parser)]
struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7243")]
    listen: SocketAddr,

    /// The server behind, which speaks no TLS
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:7233")]
    target: String,

    /// The gateway's own certificate, PEM
    #[arg(
        long,
        value_name = "FILE",
        default_value = ".temporal/certs/server.pem"
    )]
    cert: PathBuf,

    /// Its key, PEM
    #[arg(
        long,
        value_name = "FILE",
        default_value = ".temporal/certs/server.key"
    )]
    key: PathBuf,

    /// CAs of the clients to let in, PEM
    #[arg(long, value_name = "FILE", default_value = ".temporal/certs/ca.pem")]
    client_ca: PathBuf,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let mut signals = ShutdownSignals::new()?;
    init_logs()?;
    // For each connection again, but what is wrong from the start is to end it.
    config(&args)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {} (--listen)", args.listen))?;
    println!("{} (TLS), for {}", listener.local_addr()?, args.target);
    loop {
        let (client, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            // Connections are cut: those of Temporal's clients last, and they make new ones.
            _ = signals.next() => return Ok(()),
        };
        let args = args.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(client, &args).await {
                tracing::warn!(%peer, "{error:#}");
            }
        });
    }
}

async fn serve(client: TcpStream, args: &Args) -> anyhow::Result<()> {
    client.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from(Arc::new(config(args)?));
    let handshake = timeout(HANDSHAKE, acceptor.accept(client).into_fallible());
    let mut client = match handshake.await.context("refused: no handshake")? {
        Ok(client) => client,
        Err((error, mut client)) => {
            // The client has been told why, and would not read it if the connection were reset, as it
            // is when what the client has sent is not read.
            client.shutdown().await?;
            let _ = timeout(LINGER, copy(&mut client, &mut sink())).await;
            return Err(error).context("refused");
        }
    };
    let mut server = TcpStream::connect(&args.target)
        .await
        .with_context(|| format!("cannot reach {}", args.target))?;
    server.set_nodelay(true)?;
    // An error means that one of the two is gone, which is how connections end.
    let _ = copy_bidirectional(&mut client, &mut server).await;
    Ok(())
}

/// Made for each connection: to let in the clients of another CA, or no longer those of one, is to
/// replace a file.
fn config(args: &Args) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(default_provider());
    let mut cas = RootCertStore::empty();
    for ca in certificates(&args.client_ca)? {
        let added = cas.add(ca);
        added.with_context(|| format!("{} is no good", args.client_ca.display()))?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(cas.into(), provider.clone());
    let key = PrivateKeyDer::from_pem_slice(&read(&args.key)?)
        // Not with the reason, which could quote the key.
        .map_err(|_| anyhow!("{} holds no key in PEM form", args.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients.build()?)
        .with_single_cert(certificates(&args.cert)?, key)
        .with_context(|| format!("{} is no good with its key", args.cert.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A session that is resumed is not asked for its certificate again.
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    let all = all.ok().filter(|all| !all.is_empty());
    all.with_context(|| format!("{} holds no certificate in PEM form", file.display()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let pem = std::fs::read(file)
        .with_context(|| format!("cannot read {}, which `make certs` makes", file.display()))?;
    // It would hide the first certificate, or the first CA, from the reader of PEM.
    ensure!(
        !pem.starts_with(&[0xef, 0xbb, 0xbf]),
        "{} begins with a byte-order mark, which PEM does not allow; save it as UTF-8 without one",
        file.display()
    );
    Ok(pem)
}
