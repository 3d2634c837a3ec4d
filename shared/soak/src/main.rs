//! `soak --minutes N`: puts the workers of all samples under a mixed load, kills and replaces them, kills their
//! server, and cuts their network. `shared/docs/SOAK.md` has the results.

use anyhow::{Context, anyhow, ensure};
use clap::Parser;
use fastrand::Rng;
use shared::{MainResult, ShutdownSignals, describe};
use soak::Sample;
use std::{
    fmt,
    io::Write,
    ops::AddAssign,
    sync::Arc,
    time::{Duration, Instant},
};
use testing::{
    End,
    faults::{Network, ServerProcess, WorkerProcess},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};

/// Pause between the starts of two workflows.
const PACE: Duration = Duration::from_millis(400);

/// Maximum number of running workflows. At this number, the next workflow starts when another one has ended.
const OPEN: usize = 50;

/// Maximum duration of a workflow. A workflow that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(300);

/// Pause between two kills of the server.
const SERVER_LIVES: Duration = Duration::from_secs(60);

/// Starts random workflows of all samples, and injects faults: kills, updates, a dead server, a cut network.
#[derive(Parser)]
struct Args {
    /// How long to run
    #[arg(long, value_name = "N", default_value_t = 5)]
    minutes: u64,

    /// Seed of the random choices, for example that of an earlier run [default: a random seed]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// Counts of how workflows ended.
#[derive(Clone, Copy, Default)]
struct Tally {
    started: usize,
    completed: usize,
    failed: usize,
    cancelled: usize,
    lost: usize,
    duplicates: usize,
    kills: usize,
}

impl Tally {
    fn count(&mut self, ended: anyhow::Result<End>) -> std::io::Result<()> {
        match ended {
            Ok(End::Result(_)) => self.completed += 1,
            Ok(End::Failure(_)) => self.failed += 1,
            Ok(End::Cancelled) => self.cancelled += 1,
            Err(error) => {
                self.lost += 1;
                say("lost", describe(error.as_ref()))?;
            }
        }
        Ok(())
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.started += other.started;
        self.completed += other.completed;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.kills += other.kills;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            started,
            completed,
            failed,
            cancelled,
            lost,
            duplicates,
            kills,
        } = self;
        write!(
            f,
            "{started:>7} {completed:>9} {failed:>6} {cancelled:>9} {lost:>4} {duplicates:>10} {kills:>5}"
        )
    }
}

fn say(word: &str, text: impl fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "{word:<8} {text}")
}

/// Starts workflows until the time is over, then waits until they have ended.
async fn load(
    samples: &[Arc<Sample>],
    mut random: Rng,
    end: Instant,
) -> anyhow::Result<Vec<Tally>> {
    let under_way = Arc::new(Semaphore::new(OPEN));
    let mut workflows = JoinSet::new();
    let mut tallies = vec![Tally::default(); samples.len()];
    let mut next = tokio::time::Instant::now();
    for number in 0.. {
        let permit = under_way.clone().acquire_owned().await?;
        next = tokio::time::Instant::now().max(next + PACE);
        sleep_until(next).await;
        if Instant::now() >= end {
            break;
        }
        let index = random.usize(..samples.len());
        let sample = samples[index].clone();
        let case = random.usize(..sample.load_test.load.cases.len());
        tallies[index].started += 1;
        workflows.spawn(async move {
            let id = format!("soak-{number}");
            let load_test = &sample.load_test;
            let case = &load_test.load.cases[case];
            let ended = case.run(&load_test.client, &load_test.task_queue, &id);
            let ended = timeout(PATIENCE, ended).await;
            let ended = ended.context("has not ended").and_then(|ended| ended);
            drop(permit);
            (
                index,
                ended.with_context(|| format!("{} {}", sample.name, case.workflow)),
            )
        });
        while let Some(ended) = workflows.try_join_next() {
            let (index, ended) = ended?;
            tallies[index].count(ended)?;
        }
        if number % 100 == 0 {
            say(
                "started",
                format_args!("{number}, {} open", workflows.len()),
            )?;
        }
    }
    say("waiting", format_args!("for {} to end", workflows.len()))?;
    while let Some(ended) = workflows.join_next().await {
        let (index, ended) = ended?;
        tallies[index].count(ended)?;
    }
    Ok(tallies)
}

/// Counts of faults, other than kills of workers.
#[derive(Default)]
struct Disasters {
    replaced: usize,
    server_kills: usize,
    network_cuts: usize,
    /// Workers that ended by themselves, or that ended with a status other than 0 after SIGTERM.
    gone: usize,
}

/// Injects one fault after the other until the time is over, then stops the workers.
async fn disasters(
    samples: &[Arc<Sample>],
    mut random: Rng,
    end: Instant,
    server: &mut ServerProcess,
    network: &Network,
    mut workers: Vec<WorkerProcess>,
) -> anyhow::Result<(Disasters, Vec<WorkerProcess>, Vec<usize>)> {
    let mut done = Disasters::default();
    let mut kills = vec![0; samples.len()];
    let mut server_dies = Instant::now() + SERVER_LIVES;
    loop {
        sleep(Duration::from_millis(random.u64(1000..4000))).await;
        if Instant::now() >= end {
            return Ok((done, workers, kills));
        }
        let index = random.usize(..samples.len());
        let (sample, worker) = (&samples[index], &mut workers[index]);
        if Instant::now() >= server_dies {
            let pause = Duration::from_millis(random.u64(500..5000));
            server.kill_and_restart(pause).await?;
            server_dies = Instant::now() + SERVER_LIVES;
            done.server_kills += 1;
        } else if random.u8(..25) == 0 {
            network.cut();
            sleep(Duration::from_millis(random.u64(1000..20_000))).await;
            network.mend();
            done.network_cuts += 1;
        } else if random.u8(..5) == 0 {
            // A rolling update starts the new worker first.
            let old = std::mem::replace(worker, sample.load_test.worker().await?);
            done.gone += usize::from(!ends(sample, old).await?);
            done.replaced += 1;
        } else {
            if let Err(error) = worker.kill().await {
                say("gone", describe(error.as_ref()))?;
                done.gone += 1;
            }
            *worker = sample.load_test.worker().await?;
            kills[index] += 1;
        }
    }
}

/// Whether a worker ends with status 0 after SIGTERM.
async fn ends(sample: &Sample, mut worker: WorkerProcess) -> anyhow::Result<bool> {
    let ended = worker.terminate().await;
    if let Ok(status) = &ended
        && status.success()
    {
        return Ok(true);
    }
    say(
        "gone",
        format_args!("{} {ended:?}: {}", sample.name, worker.log()?),
    )?;
    Ok(false)
}

#[tokio::main]
async fn main() -> MainResult {
    let mut signals = ShutdownSignals::new()?;
    // In both cases the processes that it has started end with it.
    tokio::select! {
        ended = run(Args::parse()) => Ok(ended?),
        signal = signals.next() => Err(anyhow!("ended by {signal}").into()),
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    say("seed", seed)?;
    let mut random = Rng::with_seed(seed);
    let mut server = ServerProcess::start().await?;
    let network = Network::to(&server.address()).await?;
    let binaries = std::env::current_exe()?;
    let binaries = binaries.parent().context("a program in no folder")?;
    let samples = Sample::all(binaries, &server.address(), &network.address()).await?;
    let samples: Vec<_> = samples.into_iter().map(Arc::new).collect();
    let mut workers = Vec::new();
    for sample in &samples {
        workers.push(sample.load_test.worker().await?);
    }
    say(
        "server",
        format_args!("{}, {} workers", server.address(), workers.len()),
    )?;

    let end = Instant::now() + Duration::from_secs(60 * args.minutes);
    let (tallies, (done, workers, kills)) = tokio::try_join!(
        load(&samples, random.fork(), end),
        disasters(&samples, random.fork(), end, &mut server, &network, workers),
    )?;

    let mut gone = done.gone;
    for (sample, worker) in samples.iter().zip(workers) {
        gone += usize::from(!ends(sample, worker).await?);
    }
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{:<20} started completed failed cancelled lost duplicates kills",
        "sample"
    )?;
    let mut total = Tally::default();
    for ((sample, mut tally), kills) in samples.iter().zip(tallies).zip(kills) {
        tally.kills = kills;
        tally.duplicates = sample.duplicates().await?;
        total += tally;
        writeln!(out, "{:<20} {tally}", sample.name)?;
    }
    writeln!(out, "{:<20} {total}", "total")?;
    let Disasters {
        replaced,
        server_kills,
        network_cuts,
        ..
    } = done;
    writeln!(
        out,
        "and {replaced} workers replaced, {server_kills} kills of the server, {network_cuts} cuts of the network; {gone} workers gone"
    )?;
    ensure!(
        total.lost + total.duplicates + gone == 0,
        "not all ended as designed, once, with their workers alive; seed {seed}"
    );
    Ok(())
}
