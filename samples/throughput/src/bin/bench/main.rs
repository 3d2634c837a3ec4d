//! Compares the worker with workers in other languages, and with itself under each of its flags. Writes the figures and
//! charts in the READMEs. `make bench` runs it with a server of its own.

mod charts;
mod peers;
mod readme;
mod results;

use anyhow::Context;
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use peers::{Peer, Running};
use results::{Figures, Open, Payload, Results, Setting};
use shared::{ConnectionArgs, MainResult};
use std::{num::NonZeroUsize, path::Path, time::Duration};
use temporalio_client::Client;
use throughput::{
    encryption::Encryption,
    load::{Load, Outcome, Pace, payload, rounded},
    workflows::{Plan, Shape},
};
use tokio::time::sleep;

/// Flags of the Rust worker. The first entry has none, and the others are compared with it.
const SWITCHES: [&[&str]; 7] = [
    &[],
    &["--encrypt"],
    &["--compression", "gzip"],
    &["--threads", "1"],
    &["--pollers", "2"],
    &["--pollers", "auto"],
    &["--max-cached-workflows", "0"],
];

/// Measures workers on the server at TEMPORAL_TEST_ADDRESS.
#[derive(Parser)]
struct Args {
    /// Part to measure; the other figures come from the results of earlier calls
    #[arg(value_enum)]
    part: Part,

    /// Number of measurements of each figure, of which the median counts
    #[arg(long, default_value = "3", value_name = "COUNT")]
    rounds: NonZeroUsize,

    /// Measure less, leave the READMEs unchanged, and write results and charts to .temporal/bench
    #[arg(long)]
    quick: bool,

    /// Address of the server
    #[arg(long, env = "TEMPORAL_TEST_ADDRESS", value_name = "HOST:PORT")]
    address: String,
}

/// Each part gets a server of its own, because a server that holds many workflows is slow and may end.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    /// All workers, at a fixed rate and as fast as they can
    Workers,
    /// The Rust worker with each of its switches
    Switches,
    /// All workers with larger and larger payloads
    Payloads,
    /// All workers with more and more open workflows
    Open,
    /// Measure nothing; write READMEs and charts from the results of earlier calls
    Readme,
}

/// How much to measure.
struct Sizes {
    /// Number of workflows at a fixed rate.
    rated: u32,
    /// Number of workflows that run as fast as possible.
    fast: u32,
    /// Number of workflows of each payload size.
    payload: u32,
    payloads: &'static [u32],
    /// Numbers of workflows that are open at the same time.
    open: &'static [u32],
}

const FULL: Sizes = Sizes {
    rated: 100,
    fast: 300,
    payload: 60,
    payloads: &[64, 1 << 10, 16 << 10, 128 << 10, 1 << 20],
    open: &[100, 1_000, 10_000],
};

const QUICK: Sizes = Sizes {
    rated: 30,
    fast: 60,
    payload: 20,
    payloads: &[64, 16 << 10, 1 << 20],
    open: &[100, 300],
};

/// Starts per second at the fixed rate, far below what any worker can handle.
const RATE: f64 = 10.0;

/// Limit for the payloads of all workflows of one size together. The development server keeps everything in memory, and
/// ran out of it with three times as much.
const MAX_PAYLOAD_BYTES: u32 = 20 << 20;

/// Number of workflows before a measurement, to warm up connections, caches and just-in-time compilers.
const WARM_UP: u32 = 20;

#[tokio::main]
async fn main() -> MainResult {
    let args = Args::parse();
    let bench = Bench {
        rounds: args.rounds.get(),
        sizes: if args.quick { QUICK } else { FULL },
        address: args.address,
    };
    let sample = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = if args.quick {
        peers::folder()
    } else {
        sample.join("bench")
    };
    let file = folder.join("results.json");
    let mut results = Results::read(&file)?;
    bench.measure(args.part, &mut results).await?;
    println!("{}", readme::tables(&results));
    std::fs::create_dir_all(&folder)?;
    results.write(&file)?;
    charts::draw(&results, &folder)?;
    if !args.quick {
        readme::update(&results, &sample.join("../.."))?;
    }
    Ok(())
}

struct Bench {
    rounds: usize,
    sizes: Sizes,
    address: String,
}

impl Bench {
    async fn measure(&self, part: Part, results: &mut Results) -> anyhow::Result<()> {
        match part {
            Part::Workers => results.workers = self.workers(&Peer::installed()?).await?,
            Part::Switches => results.switches = self.switches().await?,
            Part::Payloads => results.payloads = self.payloads(&Peer::installed()?).await?,
            Part::Open => results.open = self.open(&Peer::installed()?).await?,
            Part::Readme => return Ok(()),
        }
        results.rounds = self.rounds;
        results.cores = std::thread::available_parallelism()?.get();
        Ok(())
    }

    /// Measures every worker: the latency at a fixed rate, then the cost as fast as it can. The workers take turns (A B C
    /// A B C), because machine and server change from minute to minute.
    async fn workers(&self, peers: &[Peer]) -> anyhow::Result<Vec<Setting>> {
        let more = [Peer::rust_on_one_thread()?];
        let peers: Vec<_> = peers.iter().chain(&more).collect();
        let mut measured = vec![Vec::new(); peers.len()];
        for round in 1..=self.rounds {
            for (peer, figures) in peers.iter().zip(&mut measured) {
                eprintln!("round {round}  {}", peer.name());
                let mut worker = self.start(peer, &[], None).await?;
                let rated = self.load(Shape::Sequence, self.sizes.rated, Pace::Rate(RATE), 64);
                let rated = worker.run(&rated).await?.0;
                figures.push(self.figures(&mut worker, Some(rated)).await?);
            }
        }
        Ok(settings(peers.into_iter().map(Peer::name), measured))
    }

    /// Measures the Rust worker with each of its flags.
    async fn switches(&self) -> anyhow::Result<Vec<Setting>> {
        let (peer, mut measured) = (Peer::rust()?, vec![Vec::new(); SWITCHES.len()]);
        for round in 1..=self.rounds {
            for (switches, figures) in SWITCHES.iter().zip(&mut measured) {
                eprintln!("round {round}  rust {}", switches.join(" "));
                let mut worker = self.start(&peer, switches, None).await?;
                figures.push(self.figures(&mut worker, None).await?);
            }
        }
        let names = SWITCHES.iter().map(|switches| switches.join(" "));
        Ok(settings(names, measured))
    }

    async fn figures(
        &self,
        worker: &mut Running,
        rated: Option<Outcome>,
    ) -> anyhow::Result<Figures> {
        let load = self.load(Shape::Sequence, self.sizes.fast, Pace::Concurrency(20), 64);
        let (outcome, usage) = worker.run(&load).await?;
        Ok(Figures {
            cpu_ms: rounded(usage.cpu_ms(outcome.workflows)),
            rss_mib: rounded(usage.mib()),
            workflows_per_second: outcome.workflows_per_second,
            p50_ms: rated.map(|outcome| outcome.latency_ms.p50),
            p99_ms: rated.map(|outcome| outcome.latency_ms.p99),
        })
    }

    /// Measures the CPU time by payload size.
    async fn payloads(&self, peers: &[Peer]) -> anyhow::Result<Vec<Payload>> {
        let mut measured = vec![vec![Vec::new(); self.sizes.payloads.len()]; peers.len()];
        for round in 1..=self.rounds {
            for (peer, by_size) in peers.iter().zip(&mut measured) {
                eprintln!("round {round}  {}, payloads", peer.name());
                let mut worker = self.start(peer, &[], None).await?;
                for (bytes, cpu) in self.sizes.payloads.iter().zip(by_size) {
                    let load = self.load(
                        Shape::Sequence,
                        self.sizes.payload.min(MAX_PAYLOAD_BYTES / bytes),
                        Pace::Concurrency(5),
                        *bytes,
                    );
                    let (outcome, usage) = worker.run(&load).await?;
                    cpu.push(rounded(usage.cpu_ms(outcome.workflows)));
                }
            }
        }
        Ok(peers
            .iter()
            .zip(measured)
            .map(|(peer, by_size)| Payload {
                worker: peer.name().to_owned(),
                bytes: self.sizes.payloads.to_vec(),
                cpu_ms: by_size.into_iter().map(results::median).collect(),
            })
            .collect())
    }

    /// Measures the memory by the number of open workflows, which only wait for a signal. Measures it once, because it
    /// takes long, and memory varies less than time.
    async fn open(&self, peers: &[Peer]) -> anyhow::Result<Vec<Open>> {
        let most = self.sizes.open.iter().copied().max().unwrap_or_default();
        let mut measured = Vec::new();
        for peer in peers {
            eprintln!("open     {}, up to {most}", peer.name());
            // The workflows of the warm-up need room too.
            let mut worker = self.start(peer, &[], Some(most + WARM_UP + 100)).await?;
            let before = worker.meter.read().resident;
            let (mut open, mut kib) = (0, Vec::new());
            for workflows in self.sizes.open {
                worker.leave_open(open..*workflows).await?;
                open = *workflows;
                let grown = worker.meter.read().resident.saturating_sub(before);
                kib.push(rounded(grown as f64 / 1024.0 / f64::from(*workflows)));
            }
            measured.push(Open {
                worker: peer.name().to_owned(),
                workflows: self.sizes.open.to_vec(),
                kib_each: kib,
            });
        }
        Ok(measured)
    }

    /// Starts a worker and warms it up.
    async fn start(
        &self,
        peer: &Peer,
        switches: &[&str],
        cached: Option<u32>,
    ) -> anyhow::Result<Running> {
        let encryption = Encryption {
            encrypt: switches.contains(&"--encrypt"),
            ..Default::default()
        };
        let client = connect(&self.address, &encryption).await?;
        let mut worker = peer.start(&self.address, client, switches, cached)?;
        let load = self.load(Shape::Sequence, WARM_UP, Pace::Concurrency(5), 64);
        worker
            .run(&load)
            .await
            .with_context(|| format!("{} does not work; its log: {}", peer.name(), peer.log()))?;
        Ok(worker)
    }

    fn load(&self, shape: Shape, workflows: u32, pace: Pace, bytes: u32) -> Load {
        Load {
            workflows,
            pace,
            plan: Plan {
                shape,
                activities: 1,
                payload: payload(bytes as usize),
            },
        }
    }
}

fn settings<S: ToString>(
    names: impl Iterator<Item = S>,
    measured: Vec<Vec<Figures>>,
) -> Vec<Setting> {
    let medians = measured.into_iter().map(Figures::median);
    names
        .zip(medians)
        .map(|(name, figures)| Setting {
            name: name.to_string(),
            figures,
        })
        .collect()
}

async fn connect(address: &str, encryption: &Encryption) -> anyhow::Result<Client> {
    let connection = ConnectionArgs {
        address: Some(address.to_owned()),
        ..Default::default()
    };
    let remote = connection.remote_address()?;
    let mut client = connection.connect().await?;
    client.options_mut().data_converter = encryption.data_converter(remote.as_deref())?;
    Ok(client)
}

impl Running {
    /// Starts the workflows with these numbers, and waits until the worker has all of them in its cache.
    async fn leave_open(&mut self, numbers: std::ops::Range<u32>) -> anyhow::Result<()> {
        let load = Load {
            workflows: 1,
            pace: Pace::Concurrency(1),
            plan: Plan {
                shape: Shape::Signal,
                activities: 1,
                payload: payload(64),
            },
        };
        let one = async |number: u32| -> anyhow::Result<()> {
            let id = format!("{}-open-{number}", self.task_queue);
            let handle = load.start(&self.client, &self.task_queue, id).await?;
            // When the first workflow task is done, the workflow waits.
            loop {
                let description = handle.describe(Default::default()).await?;
                if description.raw().pending_workflow_task.is_none() {
                    return Ok(());
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        stream::iter(numbers)
            .map(one)
            .buffer_unordered(50)
            .try_collect()
            .await
    }
}

#[cfg(test)]
mod testing {
    use super::*;
    use std::path::PathBuf;

    /// A new, empty folder, which is deleted when it is dropped.
    pub struct Folder(PathBuf);

    impl Folder {
        pub fn new() -> anyhow::Result<Self> {
            let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
            std::fs::create_dir(&folder)?;
            Ok(Self(folder))
        }

        pub fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap_or_else(|error| eprintln!("{error}"));
        }
    }

    /// Returns results for the named workers: every figure of the first worker is 1, of the second 2, and so on.
    pub fn results(workers: &[&str]) -> Results {
        let numbered = || (1..).map(f64::from).zip(workers);
        let languages = || numbered().filter(|(_, name)| !name.contains("--"));
        Results {
            rounds: 3,
            cores: 2,
            workers: numbered()
                .map(|(number, name)| Setting {
                    name: (*name).to_owned(),
                    figures: Figures {
                        cpu_ms: number,
                        rss_mib: number,
                        workflows_per_second: number,
                        p50_ms: Some(number),
                        p99_ms: Some(number),
                    },
                })
                .collect(),
            switches: Vec::new(),
            payloads: languages()
                .map(|(number, name)| Payload {
                    worker: (*name).to_owned(),
                    bytes: vec![64, 1 << 20],
                    cpu_ms: vec![number, 2.0 * number],
                })
                .collect(),
            open: languages()
                .map(|(number, name)| Open {
                    worker: (*name).to_owned(),
                    workflows: vec![100],
                    kib_each: vec![number],
                })
                .collect(),
        }
    }
}
