//! Ctrl-C and SIGTERM, the signals that ask a process to end.
//!
//! A dedicated thread listens to them. A signal therefore takes effect before anything else in the
//! process is ready, and even while a workflow or an activity blocks every other thread.

use anyhow::anyhow;
use std::{
    fmt,
    io::{self, Write},
    sync::{OnceLock, mpsc},
    thread,
};
use tokio::{
    runtime::{Builder, Handle},
    sync::broadcast::{self, error::RecvError},
};

/// A signal that asks this process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, or Ctrl-C in a terminal.
    Interrupt,
    /// SIGTERM; never sent where the operating system has none.
    Terminate,
}

impl Signal {
    /// The exit status of a process that this signal ended: 128 plus the signal's number.
    pub fn exit_status(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    /// Ends this process at once, with one line on stderr and [`Signal::exit_status`].
    pub fn end_process(self) -> ! {
        // Locked until the end, so that no other thread logs a line after this one.
        let mut stderr = io::stderr().lock();
        // Not `eprintln!`, which panics when nobody reads stderr any more.
        let _ = writeln!(stderr, "Error: stopped by {self}");
        std::process::exit(self.exit_status())
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// Lets Ctrl-C and SIGTERM end this process from now on, unless [`ShutdownSignals`] exist to take
/// them: see [`Signal::end_process`].
///
/// The kernel would end most processes anyway, but not process 1 of a container. That one never
/// receives a signal that it has no handler for, so it runs on until it is killed.
///
/// # Errors
/// If the operating system refuses.
pub fn end_on_signals() -> anyhow::Result<()> {
    listener().map(drop)
}

/// Receives each Ctrl-C and SIGTERM since [`ShutdownSignals::new`]. While one of these exists,
/// signals no longer end the process by themselves.
#[derive(Debug)]
pub struct ShutdownSignals(broadcast::Receiver<Signal>);

impl ShutdownSignals {
    /// Begins to receive signals.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(listener()?.signals.subscribe()))
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        loop {
            match self.0.recv().await {
                Ok(signal) => return signal,
                // Only the oldest signals of many are lost: more follow.
                Err(RecvError::Lagged(_)) => {}
                // The sender is in a static, so it is never dropped.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// Runs `task` in the thread that listens to signals, where no other code can hold it up.
///
/// # Errors
/// If the operating system refuses to report signals.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    listener()?.runtime.spawn(task);
    Ok(())
}

struct Listener {
    signals: broadcast::Sender<Signal>,
    runtime: Handle,
}

fn listener() -> anyhow::Result<&'static Listener> {
    static LISTENER: OnceLock<io::Result<Listener>> = OnceLock::new();
    LISTENER
        .get_or_init(Listener::start)
        .as_ref()
        .map_err(|error| anyhow!("cannot listen for Ctrl-C and SIGTERM: {error}"))
}

impl Listener {
    fn start() -> io::Result<Self> {
        let (started, has_started) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || match Sources::listen() {
            Ok((runtime, mut sources)) => {
                let (signals, _) = broadcast::channel(16);
                let _ = started.send(Ok(Self {
                    signals: signals.clone(),
                    runtime: runtime.handle().clone(),
                }));
                runtime.block_on(async move {
                    loop {
                        let signal = sources.next().await;
                        // An error means that nobody has asked for signals.
                        if signals.send(signal).is_err() {
                            signal.end_process();
                        }
                    }
                });
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        })?;
        // Not before the handlers are there: no signal is lost from here on.
        has_started.recv().map_err(io::Error::other)?
    }
}

/// What the operating system reports.
struct Sources {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Sources {
    /// Installs the handlers, and returns the runtime that they need.
    fn listen() -> io::Result<(tokio::runtime::Runtime, Self)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let sources = Self::new()?;
        drop(entered);
        Ok((runtime, sources))
    }

    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            // Nothing is left to listen to.
            Err(_) => std::future::pending().await,
        }
    }
}
