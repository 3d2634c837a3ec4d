//! Runs the real binaries, with a collector and without one.

#![cfg(unix)]

use crate::outline::outline;
use anyhow::{Context, ensure};
use open_telemetry::receiver::{Received, Receiver};
use std::{collections::BTreeSet, process::Stdio, time::Duration};
use testing::{TestEnv, address};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

/// Time limit for a program.
const PATIENCE: Duration = Duration::from_secs(20);

fn command(binary: &str, env: &TestEnv, endpoint: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(binary);
    command
        .args(["--address", address()?, "--task-queue", &env.task_queue])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("RUST_LOG", "")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

fn worker(env: &TestEnv, endpoint: &str) -> anyhow::Result<Command> {
    command(env!("CARGO_BIN_EXE_open-telemetry-worker"), env, endpoint)
}

fn starter(env: &TestEnv, endpoint: &str) -> anyhow::Result<Command> {
    command(env!("CARGO_BIN_EXE_open-telemetry-starter"), env, endpoint)
}

/// Stops the worker as `make` does, and returns its log.
async fn stop(worker: Child) -> anyhow::Result<String> {
    let pid = worker
        .id()
        .context("the worker has already ended")?
        .to_string();
    Command::new("kill").arg(pid).status().await?;
    let ended = timeout(Duration::from_secs(10), worker.wait_with_output()).await??;
    ensure!(ended.status.success());
    Ok(String::from_utf8(ended.stderr)?)
}

/// The spans of both processes arrive as one trace, and the SDK's metrics arrive too.
#[tokio::test]
async fn traces_and_metrics_arrive() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let receiver = Receiver::default();
    let mut received = receiver.subscribe();
    tokio::spawn(receiver.serve(listener));

    let worker = worker(&env, &endpoint)?
        .args(["--otlp-metrics", "1"])
        .spawn()?;
    let started = starter(&env, &endpoint)?
        .args(["pears", "--tenant", "jane"])
        .output()
        .await?;
    ensure!(started.status.success(), "{started:?}");
    let result = "result: \"jane pays; pears by bicycle\"\n";
    assert_eq!(String::from_utf8(started.stdout)?, result);
    let completed = "temporal_workflow_completed";
    let metrics = received.wait_for(|received| received.metrics.contains(completed));
    timeout(Duration::from_secs(10), metrics).await??;
    let log = stop(worker).await?;

    let received = received.borrow_and_update().clone();
    let (id, spans) = received.traces.first_key_value().context("no trace")?;
    assert_eq!(received.traces.len(), 1);
    let expected = [
        "checkout",
        "  StartWorkflow:CheckoutWorkflow",
        "    RunWorkflow:CheckoutWorkflow",
        "      StartActivity:check_stock",
        "        RunActivity:check_stock",
        "      StartActivity:charge",
        "        RunActivity:charge",
        "      StartChildWorkflow:ShipmentWorkflow",
        "        RunWorkflow:ShipmentWorkflow",
        "          StartActivity:book_courier",
        "            RunActivity:book_courier",
    ];
    assert_eq!(outline(spans), expected);
    let services: BTreeSet<_> = spans.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(
        services,
        BTreeSet::from(["open-telemetry-starter", "open-telemetry-worker"])
    );
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(log.contains(&format!("trace_id={id}")), "{log}");
    let stderr = String::from_utf8(started.stderr)?;
    assert!(stderr.contains(&format!("trace    {id}\n")), "{stderr}");
    Ok(())
}

/// Without a collector the workflow completes as usual, and worker and starter each log one warning.
#[tokio::test]
async fn works_without_a_collector() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    // Nothing listens on a port that has just been released.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let endpoint = format!("http://{address}");
    let worker = worker(&env, &endpoint)?
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .spawn()?;
    let started = starter(&env, &endpoint)?.output().await?;
    ensure!(started.status.success(), "{started:?}");
    let said = format!("the collector at {endpoint}/ does not accept spans, so they are lost: ");
    for log in [String::from_utf8(started.stderr)?, stop(worker).await?] {
        assert_eq!(log.matches(&said).count(), 1, "{log}");
        assert_eq!(log.matches("WARN").count(), 1, "{log}");
        assert!(log.contains("Connection refused"), "{log}");
    }
    Ok(())
}

/// If every export of the metrics fails, the worker logs only one warning.
#[tokio::test]
async fn warns_once_about_lost_metrics() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let hangs_up = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", hangs_up.local_addr()?);
    let worker = worker(&env, &endpoint)?
        .args(["--otlp-metrics", "1"])
        .spawn()?;
    for _ in 0..3 {
        timeout(Duration::from_secs(10), hangs_up.accept()).await??;
    }
    let log = stop(worker).await?;
    assert_eq!(log.matches("metric export failed").count(), 1, "{log}");
    Ok(())
}

/// A collector that accepts connections but never answers does not block the programs for long.
#[tokio::test]
async fn a_collector_that_hangs_does_not_block() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let mute = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", mute.local_addr()?);
    let _worker = worker(&env, &endpoint)?.spawn()?;
    let mut starter = starter(&env, &endpoint)?;
    let started = timeout(Duration::from_secs(10), starter.output()).await??;
    ensure!(started.status.success(), "{started:?}");
    let log = String::from_utf8(started.stderr)?;
    assert_eq!(log.matches("does not accept spans").count(), 1, "{log}");
    Ok(())
}

/// An invalid address, or one with a password, ends the worker with one line that does not repeat the address.
#[tokio::test]
async fn refuses_bad_endpoints() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let from = "(OTEL_EXPORTER_OTLP_ENDPOINT)";
    let no_url =
        format!("the collector's address {from} is not a URL such as http://127.0.0.1:4317");
    let password = format!(
        "the collector's address {from} contains credentials; put them into \
         OTEL_EXPORTER_OTLP_HEADERS instead"
    );
    let cases = [
        ("localhost:4317", &no_url),
        ("ftp://localhost", &no_url),
        ("http://me:s3cret@localhost:4317", &password),
    ];
    for (endpoint, reason) in cases {
        let ended = worker(&env, endpoint)?.output().await?;
        assert_eq!(ended.status.code(), Some(1));
        assert_eq!(
            String::from_utf8(ended.stderr)?,
            format!("Error: {reason}\n")
        );
    }
    Ok(())
}

/// If the name of the buyer does not fit into the baggage, the starter ends before it starts a workflow, with one
/// line that does not contain the name.
#[tokio::test]
async fn refuses_a_long_tenant() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let mut starter = starter(&env, "http://127.0.0.1:1")?;
    let tenant = "%".repeat(4_000);
    let ended = starter.args(["--tenant", &tenant]).output();
    let ended = timeout(PATIENCE, ended).await??;
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(ended.stderr)?,
        "Error: --tenant is too long: `tenant` takes 12007 bytes as baggage, more than the limit of 8192; \
         choose a shorter value\n"
    );
    Ok(())
}

/// A standard variable whose value would have no effect ends worker and starter at once, with one line that names
/// the variable. The unit tests of `variables` cover all variables.
#[tokio::test]
async fn refuses_variables_without_effect() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let local = "http://127.0.0.1:4317";
    let cases = [
        ("OTEL_TRACES_SAMPLER", "sometimes", local),
        ("OTEL_TRACES_EXPORTER", "zipkin", local),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", local),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", local),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", local),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "key=s3cret",
            "http://192.0.2.1:4317",
        ),
    ];
    for (name, value, endpoint) in cases {
        for mut program in [worker(&env, endpoint)?, starter(&env, endpoint)?] {
            let ended = timeout(PATIENCE, program.env(name, value).output()).await??;
            let said = String::from_utf8(ended.stderr)?;
            assert_eq!(ended.status.code(), Some(1), "{name}: {said}");
            assert!(said.starts_with(&format!("Error: {name} ")), "{said}");
            assert!(
                said.lines().count() == 1 && !said.contains("s3cret"),
                "{said}"
            );
        }
    }
    Ok(())
}

/// Runs a worker and a starter with these variables and a collector. Returns the stderr of the starter, the log of
/// the worker, and everything that the collector received. Checks that the baggage arrives in any case.
async fn with_variables(
    variables: &[(&str, &str)],
    flags: &[&str],
) -> anyhow::Result<(String, String, Received)> {
    let env = TestEnv::new().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let receiver = Receiver::default();
    let received = receiver.subscribe();
    tokio::spawn(receiver.serve(listener));
    // Nothing listens there, because the variable for traces must take precedence.
    let generic = "http://127.0.0.1:1";
    let prepared = |mut program: Command| {
        program.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint);
        program.envs(variables.iter().copied());
        program
    };
    let worker = prepared(worker(&env, generic)?).args(flags).spawn()?;
    let mut starter = prepared(starter(&env, generic)?);
    let started = timeout(
        PATIENCE,
        starter.args(["pears", "--tenant", "jane"]).output(),
    )
    .await??;
    ensure!(started.status.success(), "{started:?}");
    let result = "result: \"jane pays; pears by bicycle\"\n";
    assert_eq!(String::from_utf8(started.stdout)?, result);
    let log = stop(worker).await?;
    let received = received.borrow().clone();
    Ok((String::from_utf8(started.stderr)?, log, received))
}

/// If OpenTelemetry is disabled, there are no spans and no metrics, and the workflow still completes.
#[tokio::test]
async fn can_be_disabled() -> anyhow::Result<()> {
    let off = [("OTEL_SDK_DISABLED", "true")];
    let (stderr, log, received) = with_variables(&off, &["--otlp-metrics", "1"]).await?;
    assert!(
        stderr.contains("trace    none (OTEL_SDK_DISABLED)\n"),
        "{stderr}"
    );
    assert!(!log.contains("WARN"), "{log}");
    assert!(received.traces.is_empty() && received.metrics.is_empty());
    Ok(())
}

/// Without an exporter there are trace ids, but nothing is sent.
#[tokio::test]
async fn sends_nothing_without_an_exporter() -> anyhow::Result<()> {
    let none = [("OTEL_TRACES_EXPORTER", "none")];
    let (stderr, log, received) = with_variables(&none, &[]).await?;
    let id = stderr.split_once("trace    ").context("no trace")?.1;
    let id = id.lines().next().context("no id")?;
    assert_eq!(id.len(), 32, "{stderr}");
    assert!(log.contains(&format!("trace_id={id}")), "{log}");
    assert!(!log.contains("WARN") && received.traces.is_empty(), "{log}");
    Ok(())
}

/// The address for traces takes precedence over the general one, a variable sets the name of the service, and a
/// warning names a misspelt variable.
#[tokio::test]
async fn variables_set_address_and_service() -> anyhow::Result<()> {
    let variables = [
        ("OTEL_SERVICE_NAME", "till"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,team=green"),
        ("OTEL_TRACE_SAMPLER", "always_off"),
    ];
    let (_, log, received) = with_variables(&variables, &[]).await?;
    assert!(
        log.contains("these variables have no effect here: OTEL_TRACE_SAMPLER"),
        "{log}"
    );
    let spans: Vec<_> = received.traces.values().flatten().collect();
    assert!(
        spans.len() > 5 && spans.iter().all(|span| span.service == "till"),
        "{spans:?}"
    );
    Ok(())
}
