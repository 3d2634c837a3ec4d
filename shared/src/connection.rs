//! Where the server is and how to talk to it: flags on top of the SDK's environment configuration.

use crate::{
    config_file,
    tls::{Tls, causes},
};
use anyhow::{Context, anyhow, bail, ensure};
use futures::future::BoxFuture;
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};
use temporalio_client::{
    Client, ClientOptions, ConnectionOptions, GrpcCompression, Url,
    envconfig::{ClientConfigProfile, ConfigError, DataSource, LoadClientConfigProfileOptions},
    errors::ClientConnectError,
    tonic::{Code, Status, metadata::AsciiMetadataKey},
};
use temporalio_common::{data_converters::DataConverter, envconfig::load_client_config_profile};

/// The longest that [`ConnectionArgs::connect`] takes. The SDK has no limit of its own: a host
/// that drops packets, or a peer that accepts and says nothing, would hold it for ever.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

const DEFAULT_ADDRESS: &str = "localhost:7233";

/// Headers that carry credentials, so they must not cross a network without TLS.
const SECRET_HEADERS: [&str; 5] = [
    AUTHORIZATION,
    "api-key",
    "cookie",
    "proxy-authorization",
    "x-api-key",
];

const AUTHORIZATION: &str = "authorization";

/// The credentials of this process's first connection, for errors that come after it.
static CREDENTIALS: OnceLock<Credentials> = OnceLock::new();

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
        let loaded = loaded.map(|mut loaded| {
            change(&mut loaded.connection, &mut loaded.client);
            loaded
        });
        // Boxed, so that the transport is compiled here, once: the body of an `async fn` is compiled
        // into every binary that awaits it, half a minute for each.
        Box::pin(connect(loaded))
    }

    pub(crate) fn load_from(&self, mut env: HashMap<String, String>) -> anyhow::Result<Loaded> {
        // Compose files and CI pass empty variables, which the SDK takes for an address or a key.
        env.retain(|_, value| !value.trim().is_empty());
        let flags = self.apply_to(&mut env);
        let mut origins = Origins::new(flags, &env);
        for variable in ["TEMPORAL_CONFIG_FILE", "TEMPORAL_PROFILE", "TEMPORAL_TLS"] {
            if let Some(value) = env.get_mut(variable) {
                *value = tidy(value, || origins.of(variable, ""))?;
            }
        }
        refuse_dropped(&env)?;
        let mut profile = load_profile(&env, &mut origins)?;
        tidy_profile(&mut profile, &origins)?;
        check(&profile)?;
        let namespace = profile
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let credentials = Credentials::new(&profile, &origins)?;

        // The SDK's own default begins with http://, which would turn TLS and an API key's
        // protection off where only they are set.
        let address = profile.address.as_deref().unwrap_or(DEFAULT_ADDRESS);
        let wants_tls = match &profile.tls {
            Some(tls) => tls.disabled != Some(true),
            None => profile.api_key.is_some(),
        };
        let what = origins.named("the address", "TEMPORAL_ADDRESS", "address");
        let target = target(address, &what, wants_tls)?;
        let tls = Tls::read(profile.tls.as_mut(), &target)?;
        let has_tls_settings = profile.tls.is_some();
        profile.address = Some(target.into());
        let mut connection = ConnectionOptions::try_from(profile)
            .map_err(|error| anyhow!("{error}"))
            .context("the connection settings do not fit together")?;
        refuse_plaintext(&connection, &credentials, has_tls_settings)?;
        // The scheme decides, in the transport too; the SDK's options do not always agree with it.
        connection.tls_options = match connection.target.scheme() {
            "https" => Some(connection.tls_options.unwrap_or_default()),
            _ => None,
        };
        tls.apply(&mut connection)?;
        // For connecting again later; the first time the limit is in `connect`, and is shorter.
        connection.connect_timeout = Some(CONNECT_TIMEOUT + Duration::from_secs(2));
        if is_loopback(&connection) {
            // Compressing what never leaves the machine costs a quarter of a worker's CPU time.
            connection.grpc_compression = GrpcCompression::None;
        }
        Ok(Loaded {
            connection,
            client: ClientOptions::new(namespace).build(),
            tls,
            credentials,
        })
    }

    /// Sets the variable of every flag that is given, because a flag wins. Returns these variables,
    /// each with its flag.
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
            // A file wins over its contents: the SDK takes both for a contradiction.
            if let Some(file) = variable.strip_suffix("_PATH") {
                env.remove(&format!("{file}_DATA"));
            }
        }
        given
    }
}

/// Everything that [`ConnectionArgs`] says about a connection.
pub(crate) struct Loaded {
    pub(crate) connection: ConnectionOptions,
    client: ClientOptions,
    tls: Tls,
    credentials: Credentials,
}

/// Where settings come from, in the words of errors.
struct Origins {
    /// Variables that stand for a flag, and that flag.
    flags: HashMap<&'static str, &'static str>,
    variables: BTreeSet<String>,
    /// `profile … of …`.
    profile: String,
}

impl Origins {
    fn new(flags: HashMap<&'static str, &'static str>, env: &HashMap<String, String>) -> Self {
        Self {
            flags,
            variables: env.keys().cloned().collect(),
            profile: "temporal.toml".to_owned(),
        }
    }

    /// The flag, the variable, or else the key in the profile.
    fn of(&self, variable: &str, key: &str) -> String {
        match self.flags.get(variable) {
            Some(flag) => (*flag).to_owned(),
            None if self.variables.contains(variable) => variable.to_owned(),
            None => format!("`{key}` in {}", self.profile),
        }
    }

    /// As [`Origins::of`], with a word for the setting before it.
    fn named(&self, what: &str, variable: &str, key: &str) -> String {
        format!("{what} from {}", self.of(variable, key))
    }

    fn of_header(&self, header: &str) -> String {
        let variable = self.variables.iter().find(|variable| {
            let name = variable.strip_prefix("TEMPORAL_GRPC_META_");
            name.is_some_and(|name| name.to_lowercase().replace('_', "-") == header)
        });
        match variable {
            Some(variable) => variable.clone(),
            None => format!("`grpc_meta` in {}", self.profile),
        }
    }
}

/// What the server may reject, and where it comes from.
struct Credentials {
    /// `the API key in …`; none if there are no credentials at all.
    held: Option<String>,
    /// The same, for what must not cross a network without TLS.
    secret: Option<String>,
    namespace: String,
}

impl Credentials {
    fn new(profile: &ClientConfigProfile, origins: &Origins) -> anyhow::Result<Self> {
        let key = profile.api_key.is_some();
        let key = key.then(|| origins.named("the API key", "TEMPORAL_API_KEY", "api_key"));
        let header = SECRET_HEADERS
            .iter()
            .find(|name| profile.grpc_meta.contains_key(**name))
            .map(|name| format!("the header `{name}` from {}", origins.of_header(name)));
        if let (Some(key), Some(header)) = (&key, &header)
            && profile.grpc_meta.contains_key(AUTHORIZATION)
        {
            bail!("{header} would replace {key}, which is sent as that header; unset one of them");
        }
        let secret = key.or(header);
        let certificate = profile
            .tls
            .as_ref()
            .and_then(|tls| tls.client_cert.as_ref());
        let certificate = certificate.map(|_| "the client certificate".to_owned());
        Ok(Self {
            held: secret.clone().or(certificate),
            secret,
            namespace: profile
                .namespace
                .clone()
                .unwrap_or_else(|| "default".to_owned()),
        })
    }

    /// What to do about an error, if it is that the server does not accept the credentials.
    fn rejected(&self, status: &Status) -> Option<String> {
        if !matches!(
            status.code(),
            Code::Unauthenticated | Code::PermissionDenied
        ) {
            return None;
        }
        Some(match &self.held {
            Some(held) => format!(
                "the server rejected {held}: check that it is complete, has not expired, and may use the namespace {}",
                self.namespace
            ),
            None => "the server asks for credentials, and none are set: set TEMPORAL_API_KEY, or a client certificate"
                .to_owned(),
        })
    }
}

/// What to do about an error of a call, if it is that the server does not accept this process's
/// credentials. A server may let any client connect, and look at the credentials later.
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
    let local = is_loopback(&connection);
    // The SDK's own connect timeout covers neither a TLS handshake nor a peer that is mute.
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, Client::connect(connection, client));
    let (reason, advice) = match connecting.await {
        Ok(Ok(client)) => {
            CREDENTIALS.get_or_init(|| credentials);
            return Ok(client);
        }
        Ok(Err(error)) => {
            let error = source(&error);
            let status = error.downcast_ref::<Status>();
            if let Some((status, advice)) = status.and_then(|s| Some((s, credentials.rejected(s)?)))
            {
                (
                    format!("{:?}: {}", status.code(), status.message()),
                    Some(advice),
                )
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
    let advice = advice.unwrap_or_else(|| match (has_tls, local) {
        (true, _) => {
            "check TEMPORAL_ADDRESS, and the TEMPORAL_TLS_* settings against the server's certificate"
        }
        (false, true) => {
            "start a server with `make server`, or say where one is with TEMPORAL_ADDRESS"
        }
        (false, false) => {
            "check TEMPORAL_ADDRESS, and that the server does without TLS (TEMPORAL_TLS=true turns it on)"
        }
    }.to_owned());
    let on = if has_tls { "on" } else { "off" };
    bail!(
        "cannot connect to Temporal at {host} (TLS {on}): {reason}; {advice}; set now: {}",
        names_set()
    )
}

fn environment() -> anyhow::Result<HashMap<String, String>> {
    let mut env = HashMap::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("TEMPORAL_")) else {
            continue;
        };
        let value = value
            .into_string()
            .map_err(|_| anyhow!("{name} is not UTF-8"))?;
        env.insert(name.to_owned(), value);
    }
    Ok(env)
}

fn refuse_dropped(env: &HashMap<String, String>) -> anyhow::Result<()> {
    let off = |value: &str| ["0", "false"].contains(&value.trim().to_lowercase().as_str());
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
        && !Path::new(file).is_file()
    {
        bail!("TEMPORAL_CONFIG_FILE names no file: {file}");
    }
    Ok(())
}

/// Reads the profile from the file that there is, if there is one, with the variables on top.
fn load_profile(
    env: &HashMap<String, String>,
    origins: &mut Origins,
) -> anyhow::Result<ClientConfigProfile> {
    let file = match env.get("TEMPORAL_CONFIG_FILE") {
        Some(file) => Some(PathBuf::from(file)),
        None => dirs::config_dir()
            .map(|folder| folder.join("temporalio/temporal.toml"))
            .filter(|file| file.exists()),
    };
    let text = match &file {
        Some(file) => {
            let name = env.get("TEMPORAL_PROFILE").map_or("default", |name| name);
            origins.profile = format!("profile `{name}` of {}", file.display());
            config_file::read(file)?
        }
        None => String::new(),
    };
    let options = LoadClientConfigProfileOptions::builder()
        .config_source(DataSource::Data(text.into_bytes()))
        .build();
    // The SDK's error is neither Send nor Sync, so `?` cannot carry it.
    load_client_config_profile(options, Some(env))
        .map_err(|error| match error {
            // It quotes the file.
            ConfigError::LoadError(_) => anyhow!("the SDK does not accept the file"),
            other => anyhow!("{other}"),
        })
        .with_context(|| {
            let file = file.map_or("temporal.toml".to_owned(), |file| {
                file.display().to_string()
            });
            format!("cannot load the connection settings from TEMPORAL_* and {file}")
        })
}

/// Trims every setting, and refuses the characters that would break one in silence: the SDK sends no
/// API key at all if it has a line feed in it.
fn tidy_profile(profile: &mut ClientConfigProfile, origins: &Origins) -> anyhow::Result<()> {
    let mut texts = vec![
        (
            &mut profile.address,
            "the address",
            "TEMPORAL_ADDRESS",
            "address",
        ),
        (
            &mut profile.namespace,
            "the namespace",
            "TEMPORAL_NAMESPACE",
            "namespace",
        ),
        (
            &mut profile.api_key,
            "the API key",
            "TEMPORAL_API_KEY",
            "api_key",
        ),
    ];
    let mut files = Vec::new();
    if let Some(tls) = &mut profile.tls {
        texts.push((
            &mut tls.server_name,
            "the server name",
            "TEMPORAL_TLS_SERVER_NAME",
            "server_name",
        ));
        files = vec![
            (
                &mut tls.client_cert,
                "TEMPORAL_TLS_CLIENT_CERT_PATH",
                "client_cert_path",
            ),
            (
                &mut tls.client_key,
                "TEMPORAL_TLS_CLIENT_KEY_PATH",
                "client_key_path",
            ),
            (
                &mut tls.server_ca_cert,
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
                "server_ca_cert_path",
            ),
        ];
    }
    for (text, what, variable, key) in texts {
        let Some(value) = text.take() else { continue };
        let name = || origins.named(what, variable, key);
        let value = tidy(&value, name)?;
        if key == "api_key" {
            refuse(&value, |c| !c.is_ascii(), name)?;
        }
        *text = Some(value).filter(|value| !value.is_empty());
    }
    for (file, variable, key) in files {
        let Some(DataSource::Path(path)) = file else {
            continue;
        };
        let origin = || origins.of(variable, key);
        // Before anything quotes it.
        ensure!(
            !path.contains("-----BEGIN"),
            "{} takes the path of a file, and was given what is in the file; there is a setting with `data` in its name for that",
            origin()
        );
        *path = tidy(path, || format!("the path from {}", origin()))?;
    }
    for (name, value) in &mut profile.grpc_meta {
        let origin = origins.of_header(name);
        ensure!(
            AsciiMetadataKey::from_bytes(name.as_bytes()).is_ok(),
            "a header from {origin} has a name that cannot be sent; use letters, digits, - and _, and no -bin at the end"
        );
        let what = || format!("the header `{name}` from {origin}");
        *value = tidy(value, what)?;
        refuse(value, |c| !c.is_ascii(), what)?;
    }
    Ok(())
}

/// The value without the white space around it, which is usual after a file has been read.
///
/// # Errors
/// If there is a control character inside.
fn tidy(value: &str, what: impl Fn() -> String) -> anyhow::Result<String> {
    let value = value.trim();
    refuse(value, |c| c.is_control() || c == '\u{feff}', what)?;
    Ok(value.to_owned())
}

/// Names the character and its place, and nothing of what is around it.
fn refuse(
    value: &str,
    is_bad: impl Fn(char) -> bool,
    what: impl Fn() -> String,
) -> anyhow::Result<()> {
    let Some((index, c)) = value.chars().enumerate().find(|(_, c)| is_bad(*c)) else {
        return Ok(());
    };
    let name = match c {
        '\n' => "a line feed",
        '\r' => "a carriage return",
        '\t' => "a tab",
        '\u{feff}' => "a byte-order mark",
        c if c.is_control() => "a control character",
        _ => "a character outside ASCII",
    };
    bail!(
        "{} has {name} (U+{:04X}) as character {}; remove it",
        what(),
        u32::from(c),
        index + 1
    )
}

/// What an address stands for: `host:port`, `http://…` or `https://…`. The SDK takes every other
/// scheme for no TLS, and sends an API key all the same.
fn target(address: &str, what: &str, wants_tls: bool) -> anyhow::Result<Url> {
    // Not quoted: what stands before an @ may be a password.
    ensure!(
        !address.contains('@'),
        "{what} has a user name before an @, which Temporal does not use; write host:port alone, and set TEMPORAL_API_KEY if the server wants a key"
    );
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_lowercase()), rest),
        None => (None, address),
    };
    let scheme = match scheme.as_deref() {
        None if wants_tls => "https",
        None => "http",
        Some(known @ ("http" | "https")) => known,
        Some(other) => bail!(
            "{what} has the scheme `{other}`, which the Rust client does not know; write host:port, https://host:port (with TLS) or http://host:port (without)"
        ),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    ensure!(
        !rest.contains(['/', '\\', '?', '#', ' ']),
        "{what} has more in it than a host and a port; write host:port alone"
    );
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    };
    ensure!(
        host.starts_with('[') || !host.contains(':'),
        "{what} is neither host:port nor a URL: `{rest}`; write an IPv6 address in brackets, as in [::1]:7233"
    );
    match port {
        None if address.contains("://") => {}
        None => bail!("{what} has no port: `{rest}`; Temporal's is usually 7233"),
        Some(port) => ensure!(
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
            "{what} has no valid port: `{rest}`; Temporal's is usually 7233"
        ),
    }
    Url::parse(&format!("{scheme}://{rest}"))
        .with_context(|| format!("{what} has no valid host: `{rest}`"))
}

fn check(profile: &ClientConfigProfile) -> anyhow::Result<()> {
    if profile.codec.is_some() {
        bail!(
            "the profile in temporal.toml has a codec, which the Rust client would ignore; remove it and give the client a payload codec in code"
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
        && !is_loopback(connection)
    {
        bail!(
            "{secret} would cross the network to {host} without TLS; write https://{host}, and unset TEMPORAL_TLS if it is false"
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
        let loaded = args.load_from(env)?;
        Ok((
            loaded.connection.target.to_string(),
            loaded.client.namespace,
        ))
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
            .connection
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
