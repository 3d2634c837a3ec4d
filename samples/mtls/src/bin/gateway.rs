//! A gateway in front of a server without TLS. It asks its clients for a certificate, terminates TLS, and
//! forwards the plaintext.
//!
//! The gateway exists because the development server does not support TLS. The frontend of a Temporal
//! cluster does all this itself. Do not use the gateway in production.

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

/// Time limit for a handshake. It disconnects clients that send nothing.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a refused client may take to read the reason.
const LINGER: Duration = Duration::from_secs(1);

/// Terminates TLS in front of a Temporal server without TLS, for clients with a certificate.
#[derive(Clone, Parser)]
struct Args {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7243")]
    listen: SocketAddr,

    /// Server to forward to, which does not use TLS
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:7233")]
    target: String,

    /// Certificate of the gateway, PEM
    #[arg(
        long,
        value_name = "FILE",
        default_value = ".temporal/certs/server.pem"
    )]
    cert: PathBuf,

    /// Private key of the gateway, PEM
    #[arg(
        long,
        value_name = "FILE",
        default_value = ".temporal/certs/server.key"
    )]
    key: PathBuf,

    /// CAs whose clients may connect, PEM
    #[arg(long, value_name = "FILE", default_value = ".temporal/certs/ca.pem")]
    client_ca: PathBuf,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let mut signals = ShutdownSignals::new()?;
    init_logs()?;
    // Every connection reads the files again. Reading them here reports mistakes at the start.
    config(&args)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {} (--listen)", args.listen))?;
    println!(
        "{} (TLS), forwards to {}",
        listener.local_addr()?,
        args.target
    );
    loop {
        let (client, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            // This cuts the open connections. Temporal's clients keep theirs open, and reconnect.
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
    let handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(client).into_fallible());
    let handshake = handshake.await.with_context(|| {
        let seconds = HANDSHAKE_TIMEOUT.as_secs();
        format!("refused: no TLS handshake within {seconds} s")
    });
    let mut client = match handshake? {
        Ok(client) => client,
        Err((error, mut client)) => {
            // The client has been sent the reason. If this end closed the connection without reading what
            // the client has sent, the connection would be reset, and the client would not see the reason.
            client.shutdown().await?;
            let _ = timeout(LINGER, copy(&mut client, &mut sink())).await;
            return Err(error).context("refused");
        }
    };
    let mut server = TcpStream::connect(&args.target)
        .await
        .with_context(|| format!("cannot reach {} (--target)", args.target))?;
    server.set_nodelay(true)?;
    // An error means that one end has disconnected, which is how connections end.
    let _ = copy_bidirectional(&mut client, &mut server).await;
    Ok(())
}

/// Returns the TLS configuration of one connection.
///
/// Each connection reads the files again. So to admit the clients of another CA, or to refuse those of a
/// CA, it is enough to replace a file.
fn config(args: &Args) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(default_provider());
    let mut cas = RootCertStore::empty();
    for ca in certificates(&args.client_ca)? {
        let added = cas.add(ca);
        added.with_context(|| {
            format!(
                "{} holds a CA certificate that cannot be used",
                args.client_ca.display()
            )
        })?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(cas.into(), provider.clone());
    let key = PrivateKeyDer::from_pem_slice(&read(&args.key)?)
        // Without the cause, because it could quote the key.
        .map_err(|_| anyhow!("{} holds no private key in PEM form", args.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients.build()?)
        .with_single_cert(certificates(&args.cert)?, key)
        .with_context(|| {
            format!(
                "{} cannot be used with the key {}",
                args.cert.display(),
                args.key.display()
            )
        })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would not be asked for its certificate again.
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
        .with_context(|| format!("cannot read {} (`make certs` creates it)", file.display()))?;
    // A byte-order mark hides the first certificate, or the first CA, from the PEM parser.
    ensure!(
        !pem.starts_with(&[0xef, 0xbb, 0xbf]),
        "{} begins with a byte-order mark, which PEM does not allow; save it as UTF-8 without one",
        file.display()
    );
    Ok(pem)
}
