//! Tests `docker-compose.yml` and its files: old and new versions of Compose read it, it opens no port to the network,
//! and its servers have the same settings as those of `shared/scripts/server`. No test needs a Docker engine.

use crate::temporal_cli;
use anyhow::{Context, ensure};
use regex::Regex;
use std::{
    collections::BTreeSet,
    env, fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Output,
};
use testing::{outside, root};

fn read(file: &str) -> anyhow::Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| file.to_owned())
}

/// Returns everything that the only group of `pattern` captures in `text`.
fn captures(text: &str, pattern: &str) -> anyhow::Result<Vec<String>> {
    let pattern = Regex::new(pattern)?;
    let captures = pattern.captures_iter(text);
    Ok(captures.map(|found| found[1].to_owned()).collect())
}

fn compose(words: &[&str], arguments: &[&str]) -> std::io::Result<Output> {
    outside(words[0])
        .args(&words[1..])
        .args(arguments)
        .env_remove("COMPOSE_FILE")
        .env_remove("COMPOSE_PROFILES")
        .current_dir(root())
        .output()
}

/// Creates a directory for `PATH` that contains only these programs.
fn directory(name: &str, programs: &[(&str, &Path)]) -> anyhow::Result<String> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    for (name, program) in programs {
        symlink(program, directory.join(name))?;
    }
    Ok(directory.to_string_lossy().into_owned())
}

fn which(program: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("no {program}"))
}

/// Each Compose on this machine reads every profile, alone and with others in any order. No port is open to the network,
/// every image has a version, and every service that keeps running has a health check.
#[test]
fn compose_reads_every_profile() -> anyhow::Result<()> {
    let mut checked = 0;
    for words in [&["docker", "compose"][..], &["docker-compose"]] {
        if !compose(words, &["version"]).is_ok_and(|output| output.status.success()) {
            continue;
        }
        checked += 1;
        for arguments in [
            &["config"][..],
            &["--profile", "cluster", "config"],
            &["--profile", "mtls", "config"],
            &["--profile", "observability", "config"],
            &["--profile", "cluster", "--profile", "mtls", "config"],
            &["--profile", "mtls", "--profile", "cluster", "config"],
            &["--profile", "mtls", "--profile", "observability", "config"],
        ] {
            let output = compose(words, arguments)?;
            let said = String::from_utf8(output.stderr)?;
            ensure!(
                output.status.success() && said.is_empty(),
                "{words:?} {arguments:?}: {said}"
            );
            let config = String::from_utf8(output.stdout)?;
            let services = captures(&config, r"(?ms)^services:\n(.*?)^\S")?.concat();
            let services = captures(&services, r"(?m)^(  \S+:\n(?:    .*\n)+)")?;
            ensure!(!services.is_empty(), "no services in {config}");
            for service in services {
                check(&service)?;
            }
        }
    }
    if checked == 0 {
        // Cargo hides the `eprintln` output of a test that passes, but not this.
        writeln!(
            std::io::stderr(),
            "SKIPPED: there is no Compose to read docker-compose.yml"
        )?;
    }
    Ok(())
}

fn check(service: &str) -> anyhow::Result<()> {
    // The old Compose prints a port as one word, and the new one as a table.
    for port in captures(service, r"(?m)^    - (\S+)/tcp$")? {
        ensure!(port.starts_with("127.0.0.1:"), "open: {service}");
    }
    ensure!(
        service.matches("published:").count() == service.matches("host_ip: 127.0.0.1\n").count(),
        "open: {service}"
    );
    // A service on this machine's network publishes no port. It listens itself.
    let itself = r"(?m)^    (?:- --web\.listen-address=|  GF_SERVER_HTTP_ADDR: )(127\.0\.0\.1)\b";
    let itself = captures(service, itself)?.len();
    ensure!(
        service.matches("network_mode: host\n").count() == itself,
        "open: {service}"
    );
    ensure!(
        captures(service, r"(?m)^    image: \S+:v?(\d+\.\d[\d.]*)$")?.len() == 1,
        "of no version: {service}"
    );
    ensure!(
        service.contains("\n    restart: ") == service.contains("\n    healthcheck:\n"),
        "runs, and nobody knows how: {service}"
    );
    Ok(())
}

/// `make down` stops the services of every profile, because the script lists all profiles.
#[test]
fn the_script_knows_every_profile() -> anyhow::Result<()> {
    let lists = captures(&read("docker-compose.yml")?, r"profiles: \[(.*)\]")?;
    let profiles: BTreeSet<&str> = lists.iter().flat_map(|list| list.split(", ")).collect();
    let known = captures(&read("shared/scripts/compose")?, r"--profile (\w+)")?;
    ensure!(
        profiles == known.iter().map(String::as_str).collect(),
        "{profiles:?}"
    );
    Ok(())
}

/// Grafana has no admin with a well-known password. Its home page is an existing dashboard with an existing data source.
#[test]
fn grafana_needs_no_login() -> anyhow::Result<()> {
    let file = read("docker-compose.yml")?;
    for setting in [
        "GF_AUTH_ANONYMOUS_ENABLED: \"true\"",
        "GF_AUTH_BASIC_ENABLED: \"false\"",
        "GF_AUTH_DISABLE_LOGIN_FORM: \"true\"",
        "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION: \"true\"",
    ] {
        ensure!(file.contains(setting), "no {setting}");
    }
    ensure!(!file.contains("GF_SECURITY_ADMIN"), "an admin of our own");

    let sources = read("shared/compose/grafana/datasources/prometheus.yaml")?;
    let home = captures(&file, "_HOME_DASHBOARD_PATH: (.*)")?.concat();
    let home = captures(&file, &format!(r"- \./(\S+):{home}:ro\n"))?.concat();
    let dashboard = read(&home)?;
    let named = captures(&dashboard, r#""type": "prometheus", "uid": "([^"]*)""#)?;
    ensure!(!named.is_empty(), "no data source in {home}");
    let uid: BTreeSet<_> = captures(&sources, r"(?m)^    uid: (\S+)")?
        .into_iter()
        .collect();
    ensure!(
        uid == named.into_iter().collect(),
        "{uid:?} is not the dashboard's"
    );
    Ok(())
}

/// Prometheus scrapes the ports on which the servers, the sample and the collector serve metrics.
#[test]
fn prometheus_scrapes_what_is_served() -> anyhow::Result<()> {
    let config = "shared/compose/prometheus.yml";
    let targets = captures(&read(config)?, r#"targets: \["127\.0\.0\.1:(\d+)"\]"#)?;
    let worker = read("samples/custom-metrics/src/metrics.rs")?;
    let worker = captures(&worker, r#"ADDRESS: &str = "127\.0\.0\.1:(\d+)""#)?;
    let server = r"(?:--metrics-port=|PROMETHEUS_ENDPOINT: 0\.0\.0\.0:|_METRICS_PORT:-)(\d+)";
    let mut served = captures(&read("docker-compose.yml")?, server)?;
    served.dedup();
    served.insert(0, worker.concat());
    let collector = read("shared/compose/otel-collector.yaml")?;
    served.extend(captures(
        &collector,
        r#"prometheus: \{endpoint: "0\.0\.0\.0:(\d+)""#,
    )?);
    ensure!(targets == served, "{targets:?} are not {served:?}");
    // In the container, `../..` is the root folder.
    let rules = captures(&read(config)?, r"(?m)^  - \.\./\.\./(\S+)$")?;
    ensure!(rules.len() == 1, "{rules:?}");
    let mount = format!("- ./{0}:/{0}:ro\n", rules.concat());
    ensure!(read("docker-compose.yml")?.contains(&mount), "no {mount}");
    match outside("promtool")
        .args(["check", "config", config])
        .current_dir(root())
        .output()
    {
        Ok(output) => ensure!(output.status.success(), "{output:?}"),
        Err(_) => writeln!(
            std::io::stderr(),
            "SKIPPED: there is no promtool to check {config}"
        )?,
    }
    Ok(())
}

/// The CLI has one version everywhere, and so do the server and its schema. All servers have the same settings.
#[test]
fn the_servers_are_alike() -> anyhow::Result<()> {
    let file = read("docker-compose.yml")?;
    let image = |name| captures(&file, &format!("image: temporalio/{name}:(.*)"));
    let cli = captures(&read("shared/scripts/temporal-cli")?, "(?m)^version=(.*)")?;
    ensure!(image("temporal")? == cli, "not the CLI {cli:?}");
    let servers: BTreeSet<_> = [image("server")?, image("admin-tools")?]
        .concat()
        .into_iter()
        .collect();
    ensure!(servers.len() == 1, "{servers:?}");

    let flag = r"--dynamic-config-value[ =]'?([^'\s]+)";
    let settings = captures(&read("shared/scripts/server")?, flag)?;
    ensure!(!settings.is_empty(), "no settings in shared/scripts/server");
    ensure!(captures(&file, flag)? == settings, "not {settings:?}");
    let new = read("shared/new/template/docker-compose.yml")?;
    ensure!(captures(&new, flag)? == settings, "not {settings:?}: {new}");
    let dynamic = read("shared/compose/dynamicconfig.yaml")?.replace(":\n  - value: ", "=");
    ensure!(
        captures(&dynamic, r"(?m)^(\w+\.\S+)$")? == settings,
        "not {settings:?}: {dynamic}"
    );
    Ok(())
}

/// Without Docker, without an engine, or with the address of another machine, the script fails soon with one line.
#[test]
fn the_script_says_why_it_cannot_start() -> anyhow::Result<()> {
    let script = root().join("shared/scripts/compose");
    let fails = |arguments: &[&str], variable: (&str, &str), why: &str| -> anyhow::Result<()> {
        let output = outside(&script.to_string_lossy())
            .args(arguments)
            .env(variable.0, variable.1)
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(1) && said.lines().count() == 1 && said.contains(why),
            "not {why}, but {said}"
        );
        Ok(())
    };

    let (bash, dirname) = (which("bash")?, which("dirname")?);
    let bare = directory("no-docker", &[("bash", &bash), ("dirname", &dirname)])?;
    fails(&["up"], ("PATH", &bare), "Error: there is no docker; ")?;
    fails(&["down"], ("PATH", &bare), "Error: there is no docker; ")?;
    if which("docker").is_ok() {
        let nowhere = ("DOCKER_HOST", "unix:///nonexistent");
        fails(&["up"], nowhere, "Error: no Docker engine; ")?;
    }
    let away = ("TEMPORAL_ADDRESS", "temporal.example:7233");
    fails(
        &["up"],
        away,
        "is not on this machine: temporal.example:7233",
    )?;
    let ipv6 = ("TEMPORAL_ADDRESS", "[::1]:7240");
    let why = "cannot serve TEMPORAL_ADDRESS=[::1]:7240, only 127.0.0.1; set it to localhost:7240";
    fails(&["up"], ipv6, why)?;
    let mute = ("TEMPORAL_ADDRESS", "localhost");
    fails(&["up"], mute, "TEMPORAL_ADDRESS has no port: localhost")?;
    fails(&["up", "nope"], away, "Error: there is no profile nope; ")
}

/// The script creates the namespace, leaves an existing one as it is, and fails if no server answers.
#[test]
fn the_namespace_is_created_once() -> anyhow::Result<()> {
    let cli = temporal_cli()?;
    let path = format!(
        "{}:{}",
        directory("cli", &[("temporal", &cli)])?,
        env::var("PATH")?
    );
    let namespace = format!("compose-{}", uuid::Uuid::new_v4());
    let run = |program: &str, arguments: &[&str], address: &str| {
        outside(program)
            .args(arguments)
            .env("PATH", &path)
            .env("TEMPORAL_ADDRESS", address)
            .env("TEMPORAL_NAMESPACE", &namespace)
            .env("TRIES", "1")
            .current_dir(root())
            .output()
    };

    let address = testing::address()?;
    let describe = ["operator", "namespace", "describe", "--output", "json"];
    let make = ["shared/compose/namespace.sh"];
    ensure!(
        !run("temporal", &describe, address)?.status.success(),
        "there before"
    );
    let made = run("sh", &make, address)?;
    ensure!(made.status.success(), "{made:?}");
    let once = run("temporal", &describe, address)?;
    ensure!(once.status.success(), "{once:?}");
    let again = run("sh", &make, address)?;
    ensure!(
        again.status.success() && again.stderr.is_empty(),
        "{again:?}"
    );
    ensure!(
        run("temporal", &describe, address)?.stdout == once.stdout,
        "made anew"
    );

    let nowhere = run("sh", &make, "127.0.0.1:1")?;
    ensure!(
        !nowhere.status.success() && String::from_utf8(nowhere.stderr)?.contains("127.0.0.1:1"),
        "no error"
    );
    Ok(())
}
