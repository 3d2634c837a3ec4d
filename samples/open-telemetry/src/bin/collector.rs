//! Receives traces and prints each one as a tree, for readers who have no other collector.

use anyhow::Context;
use clap::Parser;
use open_telemetry::receiver::{Received, Receiver, tree};
use shared::{MainResult, ShutdownSignals, init_logs};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, sync::watch, time::timeout};

/// How long nothing must arrive before the traces are printed. It is longer than the five seconds after which a
/// process sends its spans. A trace has no end that a collector could wait for.
const QUIET: Duration = Duration::from_secs(6);

/// Receives OTLP over gRPC and prints each trace as a tree, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// Address on which to listen; port 0 stands for any free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4317")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let mut signals = ShutdownSignals::new()?;
    init_logs()?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {} (--listen)", args.listen))?;
    println!("http://{}", listener.local_addr()?);
    let receiver = Receiver::default();
    let mut received = receiver.subscribe();
    let mut serving = tokio::spawn(receiver.clone().serve(listener));
    loop {
        tokio::select! {
            ended = &mut serving => return Ok(ended??),
            () = quiet(&mut received) => print(receiver.take()),
            _ = signals.next() => break,
        }
    }
    print(receiver.take());
    Ok(())
}

async fn quiet(received: &mut watch::Receiver<Received>) {
    // An error would mean that the receiver is gone, but it lives as long as this program.
    let _ = received.changed().await;
    while timeout(QUIET, received.changed()).await.is_ok() {}
}

fn print(received: Received) {
    for spans in received.traces.values() {
        print!("{}", tree(spans));
    }
    if !received.metrics.is_empty() {
        let names: Vec<_> = received.metrics.into_iter().collect();
        println!("metrics  {}", names.join(", "));
    }
}
