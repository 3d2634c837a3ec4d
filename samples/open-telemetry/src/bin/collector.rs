//! Receives traces and prints each as a tree: for a reader who has no collector at hand.

use anyhow::Context;
use clap::Parser;
use open_telemetry::receiver::{Received, Receiver, tree};
use shared::{MainResult, ShutdownSignals, init_logs};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, sync::watch, time::timeout};

/// A trace has no end. It is printed when nothing has come for longer than the five seconds after
/// which a process sends what it has, and when the collector ends.
const QUIET: Duration = Duration::from_secs(6);

/// Receives OTLP over gRPC and prints each trace as a tree, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 is any free one
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
    // The sender is the receiver of spans, which is there as long as we are.
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
