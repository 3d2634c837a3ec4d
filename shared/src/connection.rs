//! Connects to the server: flags in addition to the SDK's environment configuration.

use crate::{
    foreign::data_converter,
    settings::{self, Origins},
    tls::{Tls, causes},
};
use anyhow::{Context, anyhow, bail};
use futures::future::BoxFuture;
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::OnceLock,
    time::Duration,
};
use temporalio_client::{
    Client, ClientOptions, ConnectionOptions, GrpcCompression, Url,
    envconfig::ClientConfigProfile,
    errors::ClientConnectError,
    tonic::{Code, Status},
};

/// Longest time that [`ConnectionArgs::connect`] takes. The SDK's own `connect_timeout` is off by default, so it
/// would wait forever for a host that drops packets. And even with that timeout, it waits forever for a peer that
/// accepts the connection and sends nothing.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

const DEFAULT_ADDRESS: &str = "localhost:7233";

/// Headers that carry credentials. They must not cross a network without TLS.
const SECRET_HEADERS: [&str; 5] = [
    AUTHORIZATION,
    "api-key",
    "cookie",
    "proxy-authorization",
    "x-api-key",
];

const AUTHORIZATION: &str = "authorization";

/// The credentials of this process's first connection, for errors that come after connecting.
static CREDENTIALS: OnceLock<Credentials> = OnceLock::new();

/// Flags for the connection. Each flag overrides the variable that it names. A setting with neither flag nor
/// variable comes from the profile in `temporal.toml`. There is no flag for an API key, because flags are visible in
/// the process list. Set `TEMPORAL_API_KEY` instead. Files with a client certificate are read again for every new
/// connection, unless the address is an IPv6 literal.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Server, as host:port, https://host:port or http://host:port [env: TEMPORAL_ADDRESS] [default: localhost:7233]
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
    /// Connects to the server, or fails within [`CONNECT_TIMEOUT`].
    ///
    /// The client has the [`data_converter`](crate::data_converter) of this crate. To use another one, set
    /// `client.options_mut().data_converter` before you use the client. A worker takes it from its client,
    /// and starter and worker must have the same one.
    ///
    /// # Errors
    /// As [`ConnectionArgs::connect_as`]. Also if no Temporal server answers: the error then names the address,
    /// whether TLS was on, the variables that are set, and what to do.
    pub fn connect(&self) -> BoxFuture<'static, anyhow::Result<Client>> {
        self.connect_as(|_, _| {})
    }

    /// As [`ConnectionArgs::connect`], but calls `change` before, which can modify the SDK's options from flags,
    /// environment and profile.
    ///
    /// # Errors
    /// If a setting cannot be read, contradicts another one, or would be silently ignored by the Rust client. The
    /// error names the variable or the file, and never shows a secret value.
    pub fn connect_as(
        &self,
        change: impl FnOnce(&mut ConnectionOptions, &mut ClientOptions),
    ) -> BoxFuture<'static, anyhow::Result<Client>> {
        let loaded = settings::environment().and_then(|env| self.load_from(env));
        let loaded = loaded.map(|mut loaded| {
            change(&mut loaded.connection, &mut loaded.client);
            loaded
        });
        // Boxed, so that the transport is compiled only once, here. The body of an `async fn` is compiled into
        // every binary that awaits it, which takes half a minute each.
        Box::pin(connect(loaded))
    }

    /// Returns the server's `host:port`, or `None` if the server is on this machine. For checks of data that must
    /// not leave this machine, such as data that is encrypted with a public key.
    ///
    /// # Errors
    /// As [`ConnectionArgs::connect_as`].
    pub fn remote_address(&self) -> anyhow::Result<Option<String>> {
        let connection = self.load_from(settings::environment()?)?.connection;
        Ok((!is_loopback(&connection.target)).then(|| address(&connection)))
    }

    pub(crate) fn load_from(&self, mut env: HashMap<String, String>) -> anyhow::Result<Loaded> {
        let flags = self.apply_to(&mut env);
        let (mut profile, origins) = settings::load(env, flags)?;
        let namespace = profile.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let credentials = Credentials::new(&profile, &namespace, &origins)?;

        // The SDK's default address begins with http://. It would turn off TLS, and send an API key unprotected,
        // if only these are set.
        let address = profile.address.as_deref().unwrap_or(DEFAULT_ADDRESS);
        let wants_tls = match &profile.tls {
            Some(tls) => tls.disabled != Some(true),
            None => profile.api_key.is_some(),
        };
        let target = settings::target(address, &origins.address(), wants_tls)?;
        let tls = Tls::read(profile.tls.as_mut(), &target)?;
        let has_tls_settings = profile.tls.is_some();
        profile.address = Some(target.into());
        let mut connection = ConnectionOptions::try_from(profile)
            .map_err(|error| anyhow!("{error}"))
            .context("the connection settings do not fit together")?;
        refuse_plaintext(&connection, &credentials, has_tls_settings)?;
        // The scheme decides, also in the transport. The SDK's options do not always match it.
        connection.tls_options = match connection.target.scheme() {
            "https" => Some(connection.tls_options.unwrap_or_default()),
            _ => None,
        };
        tls.apply(&mut connection)?;
        // For later connections. The first one has a shorter limit, in `connect`.
        connection.connect_timeout = Some(CONNECT_TIMEOUT + Duration::from_secs(2));
        if is_loopback(&connection.target) {
            // Compression costs a quarter of a worker's CPU time, and is useless within a machine.
            connection.grpc_compression = GrpcCompression::None;
        }
        Ok(Loaded {
            connection,
            client: ClientOptions::new(namespace)
                .data_converter(data_converter())
                .build(),
            tls,
            credentials,
        })
    }

    /// Overwrites the variable of every given flag. Returns these variables, each with its flag.
    fn apply_to(&self, env: &mut HashMap<String, String>) -> HashMap<&'static str, &'static str> {
        let flags = [
            ("--address", "TEMPORAL_ADDRESS", &self.address),
            ("--namespace", "TEMPORAL_NAMESPACE", &self.namespace),
            ("--profile", "TEMPORAL_PROFILE", &self.profile),
            (
                "--tls-cert-path",
                "TEMPORAL_TLS_CLIENT_CERT_PATH",
                &self.tls_cert_path,
            ),
            (
                "--tls-key-path",
                "TEMPORAL_TLS_CLIENT_KEY_PATH",
                &self.tls_key_path,
            ),
            (
                "--tls-ca-path",
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
                &self.tls_ca_path,
            ),
            (
                "--tls-server-name",
                "TEMPORAL_TLS_SERVER_NAME",
                &self.tls_server_name,
            ),
        ];
        let mut given = HashMap::new();
        for (flag, variable, value) in flags {
            let Some(value) = value.as_ref().filter(|value| !value.trim().is_empty()) else {
                continue;
            };
            given.insert(variable, flag);
            env.insert(variable.to_owned(), value.clone());
            // The file overrides a variable with the contents, because the SDK refuses both together.
            if let Some(file) = variable.strip_suffix("_PATH") {
                env.remove(&format!("{file}_DATA"));
            }
        }
        given
    }
}

/// A connection as [`ConnectionArgs`] configures it.
pub(crate) struct Loaded {
    pub(crate) connection: ConnectionOptions,
    client: ClientOptions,
    tls: Tls,
    credentials: Credentials,
}

/// Names of the credentials that the server may reject, for errors.
struct Credentials {
    /// An API key, or a header with a secret. It must not cross a network without TLS.
    secret: Option<String>,
    has_certificate: bool,
    namespace: String,
}

impl Credentials {
    fn new(
        profile: &ClientConfigProfile,
        namespace: &str,
        origins: &Origins,
    ) -> anyhow::Result<Self> {
        let key = profile.api_key.as_ref().map(|_| origins.api_key());
        let mut headers = SECRET_HEADERS.iter();
        let header = headers.find(|header| profile.grpc_meta.contains_key(**header));
        if let (Some(key), Some(&AUTHORIZATION)) = (&key, header) {
            bail!(
                "{} would replace {key}, which is sent in the same header; unset one of them",
                origins.header(AUTHORIZATION)
            );
        }
        let tls = profile.tls.as_ref();
        let tls = tls.filter(|tls| tls.disabled != Some(true));
        Ok(Self {
            secret: key.or(header.map(|header| origins.header(header))),
            has_certificate: tls.is_some_and(|tls| tls.client_cert.is_some()),
            namespace: namespace.to_owned(),
        })
    }

    /// Returns what to do about an error, if it means that the server rejects the credentials.
    fn rejected(&self, status: &Status) -> Option<String> {
        let (Code::Unauthenticated | Code::PermissionDenied) = status.code() else {
            return None;
        };
        let rejected = match &self.secret {
            Some(secret) => secret,
            None if self.has_certificate => "the client certificate",
            None => {
                return Some(
                    "the server asks for credentials, and none are set: set TEMPORAL_API_KEY, or a client certificate"
                        .to_owned(),
                );
            }
        };
        let namespace = &self.namespace;
        Some(format!(
            "the server rejected {rejected}: check that it is complete, has not expired, and may use the namespace {namespace}"
        ))
    }
}

/// Returns what to do about an error, if it means that the server rejects the credentials of this process. A server
/// may accept every connection, and check credentials only in later calls.
pub(crate) fn rejected(status: &Status) -> Option<String> {
    CREDENTIALS.get()?.rejected(status)
}

async fn connect(loaded: anyhow::Result<Loaded>) -> anyhow::Result<Client> {
    let Loaded {
        connection,
        client,
        tls,
        credentials,
    } = loaded?;
    let (host, has_tls) = (address(&connection), connection.tls_options.is_some());
    let local = is_loopback(&connection.target);
    // The SDK's own connect timeout covers neither the TLS handshake nor a peer that sends nothing.
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, Client::connect(connection, client));
    let (reason, advice) = match connecting.await {
        Ok(Ok(client)) => {
            CREDENTIALS.get_or_init(|| credentials);
            return Ok(client);
        }
        Ok(Err(error)) => {
            let error = source(&error);
            let rejected = error
                .downcast_ref::<Status>()
                .and_then(|status| credentials.rejected(status));
            if let Some(advice) = rejected {
                (root_cause(error, &host), Some(advice))
            } else if let Some((reason, advice)) = tls.explain(error, has_tls) {
                (reason, Some(advice.to_owned()))
            } else {
                (root_cause(error, &host), None)
            }
        }
        Err(_) => (
            format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            None,
        ),
    };
    let default_advice = match (has_tls, local) {
        (true, _) => {
            "check TEMPORAL_ADDRESS, and the TEMPORAL_TLS_* settings against the server's certificate"
        }
        (false, true) => {
            "start a server with `make server`, or say where one is with TEMPORAL_ADDRESS"
        }
        (false, false) => {
            "check TEMPORAL_ADDRESS, and that the server does without TLS (TEMPORAL_TLS=true turns it on)"
        }
    };
    let advice = advice.unwrap_or_else(|| default_advice.to_owned());
    let on = if has_tls { "on" } else { "off" };
    bail!(
        "cannot connect to Temporal at {host} (TLS {on}): {reason}; {advice}; set now: {}",
        names_set()
    )
}

/// Refuses settings that need TLS with an `http://` address. In the transport, `http://` overrides all other settings:
/// certificates are not used, and an API key crosses the network unencrypted.
fn refuse_plaintext(
    connection: &ConnectionOptions,
    credentials: &Credentials,
    has_tls_settings: bool,
) -> anyhow::Result<()> {
    if connection.target.scheme() == "https" {
        return Ok(());
    }
    let host = address(connection);
    if has_tls_settings && connection.tls_options.is_some() {
        bail!(
            "TLS is configured, but the address of {host} begins with http://, which turns it off; write https:// or {host} alone"
        );
    }
    if let Some(secret) = &credentials.secret
        && !is_loopback(&connection.target)
    {
        bail!(
            "{secret} would cross the network to {host} without TLS; write https://{host}, and unset TEMPORAL_TLS if it is false"
        );
    }
    Ok(())
}

/// Whether the host of a URL is `localhost` or a loopback address. Other names can resolve to any address.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Returns `host:port`, not the URL, because a URL may contain a password.
fn address(connection: &ConnectionOptions) -> String {
    match (
        connection.target.host_str(),
        connection.target.port_or_known_default(),
    ) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        _ => DEFAULT_ADDRESS.to_owned(),
    }
}

/// Returns the reason of a connection error. A status is not the `source` of the error that contains it.
fn source(error: &ClientConnectError) -> &(dyn std::error::Error + 'static) {
    match error {
        ClientConnectError::SystemInfoCallError(status) => status,
        other => other,
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static), host: &str) -> String {
    let cause = causes(error).last().unwrap_or(error);
    let text = match cause.downcast_ref::<Status>() {
        Some(status) if status.message().is_empty() => status.code().to_string(),
        Some(status) => status.message().to_owned(),
        None => cause.to_string(),
    };
    match text.strip_prefix(&format!("TCP connect to {host} failed: ")) {
        Some(reason) => reason.to_owned(),
        None => text,
    }
}

fn names_set() -> String {
    // One is for the scripts, the other one for the `history` line.
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
        let loaded = args.load_from(env)?;
        Ok((
            loaded.connection.target.to_string(),
            loaded.client.namespace,
        ))
    }

    /// A flag overrides its variable. Without both, the default applies.
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

    /// The flag with a certificate's file overrides the variable with a certificate's contents.
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
            .connection
            .tls_options
            .and_then(|tls| tls.server_root_ca_cert);
        assert_eq!(ca, Some(pem.into_bytes()));
        Ok(())
    }

    /// TLS settings or an API key select https. Compression is off for a server on this machine.
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
            let connection = none.load_from(env(variables))?.connection;
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
