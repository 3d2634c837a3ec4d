//! The service that decides about expenses and composes greetings, in a process of its own. It stores task tokens, and
//! completes the activities that wait.

mod expenses;
mod greetings;
mod key;
mod store;

pub use expenses::DecisionLinks;
pub use key::Key;

use anyhow::{Context, bail};
use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use expenses::Expense;
use greetings::Greeting;
use reqwest::Url;
use serde::{Deserialize, de::DeserializeOwned};
use shared::ShutdownSignals;
use std::{
    future::pending,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use store::Store;
use temporalio_client::{
    ActivityIdentifier, AsyncActivityHandle, Client, errors::AsyncActivityError, tonic::Code,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::oneshot,
};

/// Pause before the service calls Temporal again after an error.
const AGAIN: Duration = Duration::from_secs(1);

/// An answer in plain text, as the published expense server gives it.
type Answer = (StatusCode, String);

/// Why the service refuses a request: the status and the text of the answer.
type Refused = (StatusCode, &'static str);

const NOT_SIGNED: Refused = (StatusCode::FORBIDDEN, "ERROR:NOT_SIGNED");
const INVALID_ID: Refused = (StatusCode::NOT_FOUND, "ERROR:INVALID_ID");
const INVALID_TYPE: Refused = (StatusCode::BAD_REQUEST, "ERROR:INVALID_TYPE");
const INVALID_FORM: Refused = (StatusCode::BAD_REQUEST, "ERROR:INVALID_FORM_DATA");
const ID_ALREADY_EXISTS: Refused = (StatusCode::CONFLICT, "ERROR:ID_ALREADY_EXISTS");
const INVALID_STATE: Refused = (StatusCode::CONFLICT, "ERROR:INVALID_STATE");
const NOBODY_WAITS: Refused = (StatusCode::CONFLICT, "ERROR:NOBODY_WAITS");
const UNAVAILABLE: Refused = (StatusCode::SERVICE_UNAVAILABLE, "ERROR:UNAVAILABLE");

/// Flags of the service. The worker needs the same key.
#[derive(Clone, Debug, clap::Args)]
pub struct ServiceArgs {
    /// Key that worker and service share; it is created if the file does not exist
    #[arg(
        long,
        value_name = "FILE",
        default_value = ".temporal/async-activity-completion/key"
    )]
    pub key_file: PathBuf,

    /// Directory in which the service stores expenses and task tokens
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = ".temporal/async-activity-completion/store"
    )]
    pub store: PathBuf,

    /// Seconds that it takes the service to compose a greeting
    #[arg(long, value_name = "SECONDS", default_value = "3")]
    pub work_seconds: u32,
}

/// What the handlers share.
struct Service {
    client: Client,
    key: Key,
    url: Url,
    expenses: Store<Expense>,
    greetings: Store<Greeting>,
    /// Held while an activity is completed.
    telling: tokio::sync::Mutex<()>,
    work_seconds: u32,
}

impl Service {
    /// Returns the handle by which an activity is completed. No worker is involved.
    fn activity(&self, token: &str) -> Result<AsyncActivityHandle<Client>, Refused> {
        let token = BASE64_URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| INVALID_FORM)?;
        let token = ActivityIdentifier::from_task_token(token.into());
        Ok(self.client.get_async_activity_handle(token))
    }

    fn verify(&self, parts: &[&str], signature: &str) -> Result<(), Refused> {
        match self.key.verify(parts, signature) {
            true => Ok(()),
            false => Err(NOT_SIGNED),
        }
    }
}

/// Reports an error that the caller cannot do anything about.
fn unavailable(error: impl Into<anyhow::Error>) -> Refused {
    tracing::error!(
        error = shared::describe(error.into().as_ref()),
        "the service cannot do what it was asked for"
    );
    UNAVAILABLE
}

/// Says why an activity cannot be completed.
fn not_completed(error: AsyncActivityError) -> Refused {
    match error {
        // The attempt has timed out, or the workflow has ended. If there is another attempt, it has another token.
        AsyncActivityError::NotFound(_) => NOBODY_WAITS,
        // It is the token of another server or namespace.
        AsyncActivityError::Rpc(status) if status.code() == Code::InvalidArgument => NOBODY_WAITS,
        error => unavailable(error),
    }
}

fn answer(result: Result<String, Refused>) -> Answer {
    match result {
        Ok(text) => (StatusCode::OK, text),
        Err((status, text)) => (status, text.to_owned()),
    }
}

/// Reads a form, which has the format of a query.
fn form<T: DeserializeOwned>(body: &str) -> Result<T, Refused> {
    let uri = format!("/?{body}").parse().map_err(|_| INVALID_FORM)?;
    let form = axum::extract::Query::try_from_uri(&uri).map_err(|_| INVALID_FORM)?;
    Ok(form.0)
}

/// Fields of a query that most requests have.
#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    id: String,
    #[serde(default)]
    signature: String,
    #[serde(default)]
    key: String,
    #[serde(default, rename = "type")]
    action: String,
    #[serde(default)]
    is_api_call: bool,
}

/// Runs the service until Ctrl-C or SIGTERM, and prints its URL.
///
/// If `with_parent`, also ends when the process that has started it ends, however that ends.
///
/// # Errors
/// If it cannot listen on that address, or cannot use the args.
pub async fn run(
    client: Client,
    args: &ServiceArgs,
    listen: SocketAddr,
    with_parent: bool,
) -> anyhow::Result<()> {
    let mut signals = ShutdownSignals::new()?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("the service cannot listen on {listen}"))?;
    let service = Arc::new(Service {
        client,
        key: Key::read_or_create(&args.key_file)?,
        url: Url::parse(&format!("http://{}/", listener.local_addr()?))?,
        expenses: Store::open(args.store.join("expenses"))?,
        greetings: Store::open(args.store.join("greetings"))?,
        telling: Default::default(),
        work_seconds: args.work_seconds,
    });
    // The activities of the last run still wait.
    expenses::resume(&service).await?;
    greetings::resume(&service).await?;
    let routes = Router::new()
        .route("/create", get(expenses::create))
        .route("/registerCallback", post(expenses::register_callback))
        .route("/action", get(expenses::action))
        .route("/status", get(expenses::status))
        .route("/list", get(expenses::list))
        .route("/greetings", post(greetings::compose))
        .with_state(service.clone());
    writeln!(io::stdout(), "{}", service.url)?;
    let stopped = async move {
        tokio::select! {
            _ = signals.next() => {}
            () = parent_ends(with_parent) => {}
        }
    };
    let server = axum::serve(listener, routes).with_graceful_shutdown(stopped);
    server.await.context("the service failed")
}

/// Waits until the process that has started this one has ended, and with it the pipe to this one.
async fn parent_ends(with_parent: bool) {
    if !with_parent {
        return pending().await;
    }
    let (ended, end) = oneshot::channel::<()>();
    // A thread that nobody waits for when the process ends.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(ended);
    });
    let _ = end.await;
}

/// Starts this program again with the flag `--serve`, as the service, and returns its URL. The service ends when the
/// returned process is dropped or this one ends.
///
/// # Errors
/// If it cannot be started.
pub async fn start_process() -> anyhow::Result<(Url, Child)> {
    let mut service = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the service")?;
    let stdout = service.stdout.take().context("the service has no stdout")?;
    let Some(url) = BufReader::new(stdout).lines().next_line().await? else {
        bail!("the service did not start: the lines above say why");
    };
    Ok((url.parse()?, service))
}
