//! Where the server is and how to talk to it: flags on top of the SDK's environment configuration.

use crate::tls::{Tls, causes};
use anyhow::{Context, anyhow, bail};
use futures::future::BoxFuture;
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};
use temporalio_client::{
    Client, ClientOptions, ConnectionOptions, GrpcCompression, TlsOptions,
    envconfig::{ClientConfigProfile, LoadClientConfigProfileOptions},
    errors::ClientConnectError,
    tonic::Status,
};
use temporalio_common::{data_converters::DataConverter, envconfig::load_client_config_profile};

/// The longest that [`ConnectionArgs::connect`] takes. The SDK has no limit of its own: a host
/// that drops packets, or a peer that accepts and says nothing, would hold it for ever.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

const DEFAULT_ADDRESS: &str = "localhost:7233";

/// Variables that other SDKs or the CLI obey and the Rust client reads without effect, or not at
/// all; each with what to do instead. Going on would mean less security than was asked for.
const DROPPED: [(&str, &str); 6] = [
    (
        "TEMPORAL_CODEC_ENDPOINT",
        "the Rust client has no remote codec; give it a payload codec in code",
    ),
    (
        "TEMPORAL_CODEC_AUTH",
        "the Rust client has no remote codec; give it a payload codec in code",
    ),
    (
        "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION",
        "the Rust client always verifies; set TEMPORAL_TLS_SERVER_CA_CERT_PATH and TEMPORAL_TLS_SERVER_NAME",
    ),
    (
        "TEMPORAL_TLS_CERT",
        "its name is TEMPORAL_TLS_CLIENT_CERT_PATH",
    ),
    (
        "TEMPORAL_TLS_KEY",
        "its name is TEMPORAL_TLS_CLIENT_KEY_PATH",
    ),
    (
        "TEMPORAL_TLS_CA",
        "its name is TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    ),
];

/// Flags for the connection. Each stands for the variable that it names and wins over it; what
/// neither sets comes from the profile in `temporal.toml`. An API key has no flag, because flags
/// show in the process list: set `TEMPORAL_API_KEY`. A client certificate that comes from files is
/// read again for every new connection.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Server, as host:port or URL [env: TEMPORAL_ADDRESS] [default: localhost:7233]
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,

    /// Namespace [env: TEMPORAL_NAMESPACE] [default: default]
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Profile in temporal.toml [env: TEMPORAL_PROFILE] [default: default]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Client certificate, PEM [env: TEMPORAL_TLS_CLIENT_CERT_PATH]
    #[arg(long, value_name = "FILE")]
    pub tls_cert_path: Option<String>,

    /// Key of the client certificate, PEM [env: TEMPORAL_TLS_CLIENT_KEY_PATH]
    #[arg(long, value_name = "FILE")]
    pub tls_key_path: Option<String>,

    /// CA of the server's certificate, PEM [env: TEMPORAL_TLS_SERVER_CA_CERT_PATH]
    #[arg(long, value_name = "FILE")]
    pub tls_ca_path: Option<String>,

    /// Name in the server's certificate [env: TEMPORAL_TLS_SERVER_NAME]
    #[arg(long, value_name = "NAME")]
    pub tls_server_name: Option<String>,
}

impl ConnectionArgs {
    /// Connects, or says within [`CONNECT_TIMEOUT`] why not.
    ///
    /// # Errors
    /// As [`ConnectionArgs::connect_as`]; and when no Temporal server answers, in which case the
    /// error names the address, whether TLS was on, the variables that are set, and what to do.
    pub fn connect(&self) -> BoxFuture<'static, anyhow::Result<Client>> {
        self.connect_as(|_, _| {})
    }

    /// As [`ConnectionArgs::connect`], with a data converter of the sample's own. A worker takes
    /// it from its client; starter and worker must have the same one.
    ///
    /// # Errors
    /// As [`ConnectionArgs::connect`].
    pub fn connect_with(
        &self,
        data_converter: DataConverter,
    ) -> BoxFuture<'static, anyhow::Result<Client>> {
        self.connect_as(|_, client| client.data_converter = data_converter)
    }

    /// As [`ConnectionArgs::connect`], once `change` has had the SDK's options as flags, environment
    /// and profile give them.
    ///
    /// # Errors
    /// On a setting that cannot be read, that contradicts another, or that the Rust client would
    /// drop in silence: the error names the variable or the file, never a value that is secret.
    pub fn connect_as(
        &self,
        change: impl FnOnce(&mut ConnectionOptions, &mut ClientOptions),
    ) -> BoxFuture<'static, anyhow::Result<Client>> {
        let loaded = environment().and_then(|env| self.load_from(env));
        let loaded = loaded.map(|(mut connection, mut client, tls)| {
            change(&mut connection, &mut client);
            (connection, client, tls)
        });
        // Boxed, so that the transport is compiled here, once: the body of an `async fn` is compiled
        // into every binary that awaits it, half a minute for each.
        Box::pin(connect(loaded))
    }

    pub(crate) fn load_from(
        &self,
        mut env: HashMap<String, String>,
    ) -> anyhow::Result<(ConnectionOptions, ClientOptions, Tls)> {
        self.apply_to(&mut env);
        refuse_dropped(&env)?;
        let options = LoadClientConfigProfileOptions::default();
        // The SDK's error is neither Send nor Sync, so `?` cannot carry it.
        let mut profile = load_client_config_profile(options, Some(&env))
            .map_err(|error| anyhow!("{error}"))
            .context("cannot load the connection settings from TEMPORAL_* and temporal.toml")?;
        // The SDK's own default begins with http://, which would turn TLS and an API key's
        // protection off where only they are set.
        profile
            .address
            .get_or_insert_with(|| DEFAULT_ADDRESS.to_owned());
        check(&profile)?;
        let namespace = profile
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let tls = Tls::read(profile.tls.as_mut())?;
        let has_tls_settings = profile.tls.is_some();
        let mut connection = ConnectionOptions::try_from(profile)
            .map_err(|error| anyhow!("{error}"))
            .context("the connection settings do not fit together")?;
        refuse_plaintext(&connection, has_tls_settings)?;
        if connection.target.scheme() == "https" && connection.tls_options.is_none() {
            connection.tls_options = Some(TlsOptions::default());
        }
        tls.apply(&mut connection)?;
        // For connecting again later; the first time the limit is in `connect`, and is shorter.
        connection.connect_timeout = Some(CONNECT_TIMEOUT + Duration::from_secs(2));
        if is_loopback(&connection) {
            // Compressing what never leaves the machine costs a quarter of a worker's CPU time.
            connection.grpc_compression = GrpcCompression::None;
        }
        Ok((connection, ClientOptions::new(namespace).build(), tls))
    }

    /// A flag is the same as its variable, and wins.
    fn apply_to(&self, env: &mut HashMap<String, String>) {
        let flags = [
            ("TEMPORAL_ADDRESS", &self.address),
            ("TEMPORAL_NAMESPACE", &self.namespace),
            ("TEMPORAL_PROFILE", &self.profile),
            ("TEMPORAL_TLS_CLIENT_CERT_PATH", &self.tls_cert_path),
            ("TEMPORAL_TLS_CLIENT_KEY_PATH", &self.tls_key_path),
            ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &self.tls_ca_path),
            ("TEMPORAL_TLS_SERVER_NAME", &self.tls_server_name),
        ];
        for (name, value) in flags {
            let Some(value) = value else { continue };
            env.insert(name.to_owned(), value.clone());
            // A file wins over its contents: the SDK takes both for a contradiction.
            if let Some(file) = name.strip_suffix("_PATH") {
                env.remove(&format!("{file}_DATA"));
            }
        }
    }
}

async fn connect(
    loaded: anyhow::Result<(ConnectionOptions, ClientOptions, Tls)>,
) -> anyhow::Result<Client> {
    let (connection, client, tls) = loaded?;
    let (host, has_tls) = (address(&connection), connection.tls_options.is_some());
    let local = is_loopback(&connection);
    // The SDK's own connect timeout covers neither a TLS handshake nor a peer that is mute.
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, Client::connect(connection, client));
    let (reason, advice) = match connecting.await {
        Ok(Ok(client)) => return Ok(client),
        Ok(Err(error)) => {
            let error = source(&error);
            match tls.explain(error, has_tls) {
                Some((reason, advice)) => (reason, Some(advice)),
                None => (root_cause(error, &host), None),
            }
        }
        Err(_) => (
            format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            None,
        ),
    };
    let advice = advice.unwrap_or(match (has_tls, local) {
        (true, _) => {
            "check TEMPORAL_ADDRESS, and the TEMPORAL_TLS_* settings against the server's certificate"
        }
        (false, true) => {
            "start a server with `make server`, or say where one is with TEMPORAL_ADDRESS"
        }
        (false, false) => {
            "check TEMPORAL_ADDRESS, and that the server does without TLS (TEMPORAL_TLS=true turns it on)"
        }
    });
    let on = if has_tls { "on" } else { "off" };
    bail!(
        "cannot connect to Temporal at {host} (TLS {on}): {reason}; {advice}; set now: {}",
        names_set()
    )
}

/// The `TEMPORAL_*` variables that are not empty: compose files and CI pass empty ones, which the
/// SDK takes for an address or a key.
fn environment() -> anyhow::Result<HashMap<String, String>> {
    let mut env = HashMap::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("TEMPORAL_")) else {
            continue;
        };
        let value = value
            .into_string()
            .map_err(|_| anyhow!("{name} is not UTF-8"))?;
        if !value.is_empty() {
            env.insert(name.to_owned(), value);
        }
    }
    Ok(env)
}

fn refuse_dropped(env: &HashMap<String, String>) -> anyhow::Result<()> {
    let off = |value: &str| ["0", "false"].contains(&value.to_lowercase().as_str());
    for (name, instead) in DROPPED {
        if env.get(name).is_some_and(|value| !off(value)) {
            bail!("{name} is set, but would be ignored: {instead}; unset it");
        }
    }
    if let Some(value) = env.get("TEMPORAL_TLS")
        && !["0", "1", "false", "true"].contains(&value.to_lowercase().as_str())
    {
        bail!("TEMPORAL_TLS is neither true nor false: `{value}`");
    }
    if let Some(file) = env.get("TEMPORAL_CONFIG_FILE")
        && !std::path::Path::new(file).is_file()
    {
        bail!("TEMPORAL_CONFIG_FILE names no file: {file}");
    }
    Ok(())
}

fn check(profile: &ClientConfigProfile) -> anyhow::Result<()> {
    if profile.codec.is_some() {
        bail!(
            "the profile in temporal.toml has a codec, which the Rust client would ignore; remove it and give the client a payload codec in code"
        );
    }
    let has_port = |address: &str| match address.rsplit_once(':') {
        Some((_, port)) => port.parse::<u16>().is_ok(),
        None => false,
    };
    if let Some(address) = &profile.address
        && !(address.contains("://") || has_port(address))
    {
        bail!(
            "the address has no port: `{address}` (TEMPORAL_ADDRESS, --address or temporal.toml); \
             Temporal's is usually 7233"
        );
    }
    let Some(tls) = &profile.tls else {
        return Ok(());
    };
    if tls.disable_host_verification {
        bail!(
            "the profile in temporal.toml disables host verification, but the Rust client always verifies; remove that and set server_ca_cert_path and server_name"
        );
    }
    match (&tls.client_cert, &tls.client_key) {
        (Some(_), None) => bail!(
            "a client certificate is set without its key: set TEMPORAL_TLS_CLIENT_KEY_PATH, --tls-key-path or client_key_path"
        ),
        (None, Some(_)) => bail!(
            "a client key is set without its certificate: set TEMPORAL_TLS_CLIENT_CERT_PATH, --tls-cert-path or client_cert_path"
        ),
        _ => Ok(()),
    }
}

/// `http://` wins over everything in the transport: certificates are not used, and an API key
/// crosses the network for all to read.
fn refuse_plaintext(connection: &ConnectionOptions, has_tls_settings: bool) -> anyhow::Result<()> {
    if connection.target.scheme() != "http" {
        return Ok(());
    }
    let host = address(connection);
    if has_tls_settings && connection.tls_options.is_some() {
        bail!(
            "TLS is configured, but the address of {host} begins with http://, which turns it off; write https:// or {host} alone"
        );
    }
    if connection.api_key.is_some() && !is_loopback(connection) {
        bail!(
            "an API key is set, but {host} would be spoken to without TLS; write https:// or {host} alone, and unset TEMPORAL_TLS"
        );
    }
    Ok(())
}

fn is_loopback(connection: &ConnectionOptions) -> bool {
    let host = connection.target.host_str().unwrap_or_default();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// `host:port`; never the URL, which may hold a password.
fn address(connection: &ConnectionOptions) -> String {
    match (
        connection.target.host_str(),
        connection.target.port_or_known_default(),
    ) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        _ => DEFAULT_ADDRESS.to_owned(),
    }
}

/// A status is not the source of the error that it is in.
fn source(error: &ClientConnectError) -> &(dyn std::error::Error + 'static) {
    match error {
        ClientConnectError::SystemInfoCallError(status) => status,
        other => other,
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static), host: &str) -> String {
    let cause = causes(error).last().unwrap_or(error);
    let text = match cause.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => cause.to_string(),
    };
    match text.strip_prefix(&format!("TCP connect to {host} failed: ")) {
        Some(reason) => reason.to_owned(),
        None => text,
    }
}

fn names_set() -> String {
    // The one is for the scripts, the other for the `history` line.
    let others = ["TEMPORAL_CLI", "TEMPORAL_UI_URL"];
    let names: BTreeSet<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("TEMPORAL_") && !others.contains(&&**name))
        .collect();
    match names.len() {
        0 => "no TEMPORAL_* variable".to_owned(),
        _ => names.into_iter().collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &ConnectionArgs, env: &[(&str, &str)]) -> anyhow::Result<(String, String)> {
        let env = env
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let (connection, client, _) = args.load_from(env)?;
        Ok((connection.target.to_string(), client.namespace))
    }

    /// A flag wins over its variable; with neither, the defaults.
    #[test]
    fn flags_win() -> anyhow::Result<()> {
        let env = [
            ("TEMPORAL_ADDRESS", "a.example:1"),
            ("TEMPORAL_NAMESPACE", "theirs"),
        ];
        let none = ConnectionArgs::default();
        assert_eq!(
            load(&none, &[])?,
            ("http://localhost:7233/".into(), "default".into())
        );
        assert_eq!(
            load(&none, &env)?,
            ("http://a.example:1/".into(), "theirs".into())
        );
        let args = ConnectionArgs {
            address: Some("b.example:2".into()),
            namespace: Some("ours".into()),
            ..none
        };
        assert_eq!(
            load(&args, &env)?,
            ("http://b.example:2/".into(), "ours".into())
        );
        Ok(())
    }

    /// A certificate by flag replaces one given as the contents of a variable.
    #[test]
    fn a_file_replaces_its_contents() -> anyhow::Result<()> {
        let file = std::env::temp_dir().join(format!("{}.pem", uuid::Uuid::new_v4()));
        let pem = rcgen::generate_simple_self_signed([])?.cert.pem();
        std::fs::write(&file, &pem)?;
        let args = ConnectionArgs {
            tls_ca_path: Some(file.display().to_string()),
            ..ConnectionArgs::default()
        };
        let env = HashMap::from([("TEMPORAL_TLS_SERVER_CA_CERT_DATA".into(), "other".into())]);
        let loaded = args.load_from(env);
        std::fs::remove_file(file)?;
        let ca = loaded?
            .0
            .tls_options
            .and_then(|tls| tls.server_root_ca_cert);
        assert_eq!(ca, Some(pem.into_bytes()));
        Ok(())
    }

    /// TLS and an API key each choose https; compression is off where nothing leaves the machine.
    #[test]
    fn schemes_and_compression() -> anyhow::Result<()> {
        let none = ConnectionArgs::default();
        let env = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect()
        };
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, GrpcCompression);
        let cases: [Case<'_>; 5] = [
            (&[], "http", GrpcCompression::None),
            (
                &[("TEMPORAL_ADDRESS", "[::1]:7233")],
                "http",
                GrpcCompression::None,
            ),
            (
                &[("TEMPORAL_ADDRESS", "a.example:1")],
                "http",
                GrpcCompression::Gzip,
            ),
            (
                &[("TEMPORAL_ADDRESS", "https://a.example")],
                "https",
                GrpcCompression::Gzip,
            ),
            (&[("TEMPORAL_API_KEY", "k")], "https", GrpcCompression::None),
        ];
        for (variables, scheme, compression) in cases {
            let (connection, ..) = none.load_from(env(variables))?;
            assert_eq!(connection.target.scheme(), scheme, "{variables:?}");
            assert_eq!(
                connection.tls_options.is_some(),
                scheme == "https",
                "{variables:?}"
            );
            assert_eq!(connection.grpc_compression, compression, "{variables:?}");
        }
        Ok(())
    }
}
