//! The test harness: tests run with a real development server and a worker on a task queue of their own.
//!
//! `make test` starts one server for all test binaries and names it in `TEMPORAL_TEST_ADDRESS`.
//! Without that variable, each test binary starts its own server, which stops with the binary. So a
//! plain `cargo test` works too. Tests never connect to `TEMPORAL_ADDRESS`.

#![warn(missing_docs)]

pub mod faults;
mod history;
mod init;
mod load;
pub mod operate;
#[cfg(unix)]
mod outside;
mod replay;
mod server;
mod skipping;
mod wait;

pub use history::{
    activity_types, event_types, events, forget_cache, history, until, until_pending,
};
pub use load::{Case, End, Load};
#[cfg(unix)]
pub use outside::{binaries, binaries_of, outside};
pub use replay::{replay, replay_all};
pub use server::{address, root};
pub use skipping::{elapsed, skip_time, with_time_skipping};
pub use wait::{eventually, within};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use shared::{BAD_INPUT, ID_TOO_LONG, MAX_ID_BYTES, describe};
use std::{collections::HashMap, pin::Pin, time::Duration};
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_client::{
    Client, ClientOptions, ConnectionOptions, GrpcCompression, UntypedWorkflow, Url,
    WorkflowHandle, WorkflowStartOptions,
};
use temporalio_common::{
    HasWorkflowDefinition,
    data_converters::{DataConverter, RawValue},
    protos::temporal::api::{common::v1::Payload, enums::v1::EventType},
};
use temporalio_sdk::{Runtime, Worker, WorkerOptions};
use tokio::time::timeout;
use uuid::Uuid;

/// Longest time that the body of a test may take. A test that hangs fails with a message that says so.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to the test server and a task queue that nobody else uses.
#[derive(Clone)]
pub struct TestEnv {
    /// Client for the test server, namespace `default`.
    pub client: Client,
    /// Task queue of this test.
    pub task_queue: String,
}

impl TestEnv {
    /// Connects to the test server, and starts it if necessary.
    ///
    /// # Errors
    /// If there is no server and none can be started.
    pub async fn new() -> anyhow::Result<Self> {
        Self::with_data_converter(shared::data_converter()).await
    }

    /// As [`TestEnv::new`], but client and worker use this data converter.
    ///
    /// # Errors
    /// As [`TestEnv::new`].
    pub async fn with_data_converter(data_converter: DataConverter) -> anyhow::Result<Self> {
        let client = connect_to(address()?, data_converter).await;
        Ok(Self {
            client: client.context("cannot connect to the test server")?,
            task_queue: format!("test-{}", Uuid::new_v4()),
        })
    }

    /// Runs a worker with the sample's own `worker_options` on this test's task queue while `body` runs, then
    /// stops the worker.
    ///
    /// A workflow may have an `#[init]` only if it does nothing but move values: a struct whose fields are
    /// parts of the argument, constants or defaults. A panic in `#[init]` would end the whole worker.
    ///
    /// # Errors
    /// Those of `body`. Also if a workflow's `#[init]` does more than move values, if the worker ends before
    /// `body`, or if `body` takes longer than [`TEST_TIMEOUT`].
    pub async fn work<E: Into<anyhow::Error>>(
        &self,
        worker_options: impl FnOnce(&str) -> Result<WorkerOptions, E>,
        body: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        // Fails if another test of this binary has already installed the subscriber.
        let _ = shared::init_logs();
        let runtime = Runtime::from_current_tokio(Default::default())?;
        let options = worker_options(&self.task_queue).map_err(Into::into)?;
        init::check(&options.workflows())?;
        let worker = Worker::new(&runtime, self.client.clone(), options)?;
        let running: Boxed<'_, _> = Box::pin(run_beside(worker, Box::pin(body)));
        running.await
    }

    /// Cancels a workflow that no worker has seen yet, runs a worker, and checks that the workflow ends as
    /// CANCELED, not as FAILED or COMPLETED.
    ///
    /// # Errors
    /// If the workflow ends in another way, and those of [`TestEnv::work`].
    pub async fn ends_cancelled<W, E>(
        &self,
        handle: &WorkflowHandle<Client, W>,
        worker_options: impl FnOnce(&str) -> Result<WorkerOptions, E>,
    ) -> anyhow::Result<()>
    where
        W: HasWorkflowDefinition,
        E: Into<anyhow::Error>,
    {
        handle.cancel(Default::default()).await?;
        self.work(worker_options, async {
            match handle.get_result(Default::default()).await {
                Err(WorkflowGetResultError::Cancelled { .. }) => Ok(()),
                Err(other) => Err(other.into()),
                Ok(_) => bail!("the workflow completed"),
            }
        })
        .await
    }

    /// Returns options for a workflow with a new id on this test's task queue.
    pub fn start_options(&self) -> WorkflowStartOptions {
        WorkflowStartOptions::new(self.task_queue.clone(), format!("test-{}", Uuid::new_v4()))
            .build()
    }

    /// Starts a workflow like a client in another language: by the name of its type, and with any JSON
    /// values as arguments.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn start_json<W: HasWorkflowDefinition>(
        &self,
        workflow_type: &str,
        arguments: &[Value],
    ) -> anyhow::Result<WorkflowHandle<Client, W>> {
        let id = self.start_options().workflow_id;
        self.start_json_as(id, workflow_type, arguments).await
    }

    /// As [`TestEnv::start_json`], but with this workflow id.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn start_json_as<W: HasWorkflowDefinition>(
        &self,
        id: String,
        workflow_type: &str,
        arguments: &[Value],
    ) -> anyhow::Result<WorkflowHandle<Client, W>> {
        let options = WorkflowStartOptions::new(self.task_queue.clone(), id.clone()).build();
        self.client
            .start_workflow(
                UntypedWorkflow::new(workflow_type),
                raw_json(arguments),
                options,
            )
            .await?;
        Ok(self.client.get_workflow_handle::<W>(id))
    }

    /// Checks a parent whose child has the parent's id plus `suffix`. If the child's id would be too long, the
    /// parent must fail before it does anything else. With one byte less, it must start the child.
    ///
    /// # Errors
    /// If the parent does something else.
    pub async fn checks_child_id<W: HasWorkflowDefinition>(
        &self,
        workflow_type: &str,
        arguments: &[Value],
        suffix: &str,
    ) -> anyhow::Result<()> {
        let longest = MAX_ID_BYTES - suffix.len();
        // The server accepts parents with ids of up to 1,000 bytes.
        for bytes in [longest + 1, 996, 1000] {
            let id = id_of(bytes, "x");
            let handle = self
                .start_json_as::<W>(id, workflow_type, arguments)
                .await?;
            let ended = handle.get_result(Default::default());
            let Err(error) = timeout(TEST_TIMEOUT / 2, ended).await.context("hangs")? else {
                bail!("{workflow_type} completed with an id of {bytes} bytes");
            };
            let expected = format!(
                "workflow failed: the child's workflow id would have {} bytes, and at most \
                 {MAX_ID_BYTES} fit: start the parent with an id of at most {longest} bytes, \
                 this one has {bytes} ({ID_TOO_LONG})",
                bytes + suffix.len()
            );
            ensure!(describe(&error) == expected, "{}", describe(&error));
            let events = event_types(&handle).await?;
            ensure!(
                events.len() == 5 && events.last() == Some(&EventType::WorkflowExecutionFailed),
                "{workflow_type} did something before it failed: {events:?}"
            );
        }
        for character in ["x", "ä"] {
            let id = id_of(longest, character);
            let handle = self
                .start_json_as::<W>(id, workflow_type, arguments)
                .await?;
            until(&handle, EventType::ChildWorkflowExecutionStarted).await?;
        }
        Ok(())
    }
}

/// Returns a new id of this many bytes, which consists mostly of this character.
pub fn id_of(bytes: usize, character: &str) -> String {
    let mut id = format!("test-{}-", Uuid::new_v4());
    while id.len() + character.len() <= bytes {
        id.push_str(character);
    }
    while id.len() < bytes {
        id.push('x');
    }
    id
}

/// Returns why a workflow refused its input: the text after `bad input: ` in its failure.
///
/// # Errors
/// If the workflow did not fail, or failed for another reason.
pub async fn bad_input<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
) -> anyhow::Result<String> {
    let Err(error) = handle.get_result(Default::default()).await else {
        bail!("the workflow completed");
    };
    let failure = describe(&error);
    let reason = failure
        .strip_prefix("workflow failed: bad input: ")
        .and_then(|failure| failure.strip_suffix(&format!(" ({BAD_INPUT})")));
    Ok(reason
        .context("failed for another reason")
        .context(failure.clone())?
        .to_owned())
}

/// Lengthens the strings in the list `names` until the JSON of the input has this many bytes.
pub fn lengthen_names(mut input: Value, bytes: usize) -> Value {
    let missing = bytes.saturating_sub(input.to_string().len());
    if let Some(names) = input["names"].as_array_mut() {
        let count = names.len().max(1);
        for (index, name) in names.iter_mut().enumerate() {
            // The first names get the bytes that do not divide evenly.
            let more = missing / count + usize::from(index < missing % count);
            let longer = "x".repeat(more) + name.as_str().unwrap_or_default();
            *name = longer.into();
        }
    }
    input
}

/// Returns arguments as a client in another language sends them.
pub fn raw_json(arguments: &[Value]) -> RawValue {
    let payload = |value: &Value| Payload {
        metadata: HashMap::from([("encoding".to_owned(), b"json/plain".to_vec())]),
        data: value.to_string().into_bytes(),
        ..Default::default()
    };
    RawValue::new(arguments.iter().map(payload).collect())
}

/// Connects to the server at `address`, `host:port`, and ignores the `TEMPORAL_*` variables.
///
/// # Errors
/// If no server answers there.
pub async fn connect_to(address: &str, data_converter: DataConverter) -> anyhow::Result<Client> {
    // Compression would only cost time within a machine, most of all in unoptimized code.
    let connection = ConnectionOptions::new(Url::parse(&format!("http://{address}"))?)
        .grpc_compression(GrpcCompression::None);
    let options = ClientOptions::new("default").data_converter(data_converter);
    Ok(Client::connect(connection.build(), options.build()).await?)
}

/// Connects, then runs `body` with a worker. See [`TestEnv::work`].
///
/// # Errors
/// As [`TestEnv::new`] and [`TestEnv::work`].
pub async fn with_worker<E: Into<anyhow::Error>, F>(
    worker_options: impl FnOnce(&str) -> Result<WorkerOptions, E>,
    body: impl FnOnce(TestEnv) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let env = TestEnv::new().await?;
    env.work(worker_options, body(env.clone())).await
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

// Not generic, so that the code that runs a worker is compiled only once.
async fn run_beside(mut worker: Worker, body: Boxed<'_, anyhow::Result<()>>) -> anyhow::Result<()> {
    let shutdown = worker.shutdown_handle();
    let mut working: Boxed<'_, _> = Box::pin(worker.run());
    let result = tokio::select! {
        ended = &mut working => bail!("the worker ended before the test: {ended:?}"),
        result = tokio::time::timeout(TEST_TIMEOUT, body) => result,
    };
    shutdown();
    working
        .await
        .context("the worker did not shut down cleanly")?;
    result.with_context(|| format!("the test took longer than {} s", TEST_TIMEOUT.as_secs()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use shared::Input;
    use std::panic::AssertUnwindSafe;
    use temporalio_macros::{workflow, workflow_methods};
    use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult};

    #[workflow]
    struct Panics;

    #[workflow_methods]
    impl Panics {
        #[init]
        fn new(_ctx: &WorkflowContextView, _input: Input<()>) -> Self {
            panic!("in init")
        }

        #[run]
        async fn run(_ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
            Ok(())
        }
    }

    fn options(task_queue: &str) -> anyhow::Result<WorkerOptions> {
        let options = WorkerOptions::new(task_queue).register_workflow::<Panics>()?;
        Ok(options
            .workflow_interceptor(shared::LogFields::in_workflows())
            .build())
    }

    /// A panic in an `#[init]` ends the worker, so the harness refuses an `#[init]` that could panic. If a later
    /// SDK catches the panic, this test fails, and the check can be removed.
    #[tokio::test]
    async fn a_panic_in_init_ends_the_worker() -> anyhow::Result<()> {
        let env = TestEnv::new().await?;
        let refused = env.work(options, async { Ok(()) }).await;
        let refused = refused.expect_err("`#[init]` is refused").to_string();
        let expected = "src/lib.rs: the `#[init]` of Panics does more than move values";
        assert!(refused.starts_with(expected), "{refused}");

        let handle = env.start_json::<UntypedWorkflow>("Panics", &[]).await?;
        let runtime = Runtime::from_current_tokio(Default::default())?;
        let mut worker = Worker::new(&runtime, env.client.clone(), options(&env.task_queue)?)?;
        let running = AssertUnwindSafe(worker.run()).catch_unwind();
        let ended = tokio::time::timeout(TEST_TIMEOUT, running).await?;
        let panic = ended.err().context("no panic")?;
        assert_eq!(panic.downcast_ref(), Some(&"in init"));
        let types = event_types(&handle).await?;
        assert_eq!(types.len(), 3, "{types:?}");
        handle.terminate(Default::default()).await?;
        Ok(())
    }
}
