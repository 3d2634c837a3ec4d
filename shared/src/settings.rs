//! Reads the settings of a connection from flags, variables and `temporal.toml`, and checks them before the SDK reads
//! them. The SDK silently ignores some settings and misinterprets others.

use crate::config_file;
use anyhow::{Context, anyhow, bail, ensure};
use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};
use temporalio_client::{
    Url,
    envconfig::{ClientConfigProfile, ConfigError, DataSource, LoadClientConfigProfileOptions},
    tonic::metadata::AsciiMetadataKey,
};
use temporalio_common::envconfig::load_client_config_profile;

/// Variables that other SDKs or the CLI use but the Rust client ignores, each with what to do instead. If they were
/// ignored here, too, the connection would be less secure than the user expects.
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

/// The origins of settings, for errors.
pub(crate) struct Origins {
    /// The variables that flags have set, each with its flag.
    flags: HashMap<&'static str, &'static str>,
    variables: BTreeSet<String>,
    /// The profile and its file.
    profile: String,
}

impl Origins {
    /// Returns the flag, the variable or the key in the profile that the setting comes from.
    fn of(&self, variable: &str, key: &str) -> String {
        match self.flags.get(variable) {
            Some(flag) => (*flag).to_owned(),
            None if self.variables.contains(variable) => variable.to_owned(),
            None => format!("`{key}` in {}", self.profile),
        }
    }

    /// Names the address.
    pub(crate) fn address(&self) -> String {
        format!(
            "the address from {}",
            self.of("TEMPORAL_ADDRESS", "address")
        )
    }

    /// Names the API key.
    pub(crate) fn api_key(&self) -> String {
        format!(
            "the API key from {}",
            self.of("TEMPORAL_API_KEY", "api_key")
        )
    }

    /// Names a header, which has lower-case letters only.
    pub(crate) fn header(&self, header: &str) -> String {
        format!("the header `{header}` from {}", self.of_header(header))
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

/// Loads the profile, which the variables in `env` override. `flags` contains the variables in `env` that come from a
/// flag, each with its flag.
///
/// # Errors
/// If a setting cannot be read, contradicts another one, or would be silently ignored by the Rust client. The error
/// names the setting and its origin, and shows no secret.
pub(crate) fn load(
    mut env: HashMap<String, String>,
    flags: HashMap<&'static str, &'static str>,
) -> anyhow::Result<(ClientConfigProfile, Origins)> {
    // Compose files and CI pass empty variables, which the SDK would use as an address or a key.
    env.retain(|_, value| !value.trim().is_empty());
    let mut origins = Origins {
        flags,
        variables: env.keys().cloned().collect(),
        profile: "temporal.toml".to_owned(),
    };
    for variable in ["TEMPORAL_CONFIG_FILE", "TEMPORAL_PROFILE", "TEMPORAL_TLS"] {
        if let Some(value) = env.get_mut(variable) {
            *value = tidy(value, || origins.of(variable, ""))?;
        }
    }
    refuse_dropped(&env)?;
    let mut profile = load_profile(&env, &mut origins)?;
    tidy_profile(&mut profile, &origins)?;
    check(&profile)?;
    Ok((profile, origins))
}

/// Returns the `TEMPORAL_*` variables of this process.
pub(crate) fn environment() -> anyhow::Result<HashMap<String, String>> {
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
            // The error quotes the file.
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

/// Trims every setting, and refuses characters that would break it. For example, if an API key contains a line feed,
/// the SDK sends no key and reports no error.
fn tidy_profile(profile: &mut ClientConfigProfile, origins: &Origins) -> anyhow::Result<()> {
    let text = |text: &mut Option<String>, what: &str, variable: &str, key: &str| {
        if let Some(value) = text.take() {
            let value = tidy(&value, || {
                format!("{what} from {}", origins.of(variable, key))
            })?;
            *text = Some(value).filter(|value| !value.is_empty());
        }
        anyhow::Ok(())
    };
    let path = |file: &mut Option<DataSource>, variable: &str, key: &str| {
        if let Some(DataSource::Path(path)) = file {
            let origin = || origins.of(variable, key);
            // Checked first, because later errors quote it.
            ensure!(
                !path.contains("-----BEGIN"),
                "{} takes the path of a file, but has the content of one; use the setting that ends in `data` for that",
                origin()
            );
            *path = tidy(path, || format!("the path from {}", origin()))?;
        }
        Ok(())
    };
    text(
        &mut profile.address,
        "the address",
        "TEMPORAL_ADDRESS",
        "address",
    )?;
    text(
        &mut profile.namespace,
        "the namespace",
        "TEMPORAL_NAMESPACE",
        "namespace",
    )?;
    text(
        &mut profile.api_key,
        "the API key",
        "TEMPORAL_API_KEY",
        "api_key",
    )?;
    if let Some(key) = &profile.api_key {
        refuse_non_ascii(key, || origins.api_key())?;
    }
    if let Some(tls) = &mut profile.tls {
        text(
            &mut tls.server_name,
            "the server name",
            "TEMPORAL_TLS_SERVER_NAME",
            "server_name",
        )?;
        path(
            &mut tls.client_cert,
            "TEMPORAL_TLS_CLIENT_CERT_PATH",
            "client_cert_path",
        )?;
        path(
            &mut tls.client_key,
            "TEMPORAL_TLS_CLIENT_KEY_PATH",
            "client_key_path",
        )?;
        path(
            &mut tls.server_ca_cert,
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
            "server_ca_cert_path",
        )?;
    }
    for (name, value) in &mut profile.grpc_meta {
        ensure!(
            AsciiMetadataKey::from_bytes(name.as_bytes()).is_ok(),
            "a header from {} has a name that cannot be sent; use letters, digits, - and _, and no -bin at the end",
            origins.of_header(name)
        );
        *value = tidy(value, || origins.header(name))?;
        refuse_non_ascii(value, || origins.header(name))?;
    }
    Ok(())
}

/// Returns the value without leading and trailing white space, which is common if it was read from a file.
///
/// # Errors
/// If the value contains a control character or a byte-order mark.
fn tidy(value: &str, what: impl Fn() -> String) -> anyhow::Result<String> {
    let value = value.trim();
    refuse(value, |c| c.is_control() || c == '\u{feff}', what)?;
    Ok(value.to_owned())
}

/// Refuses a value that cannot be sent in a header.
fn refuse_non_ascii(value: &str, what: impl Fn() -> String) -> anyhow::Result<()> {
    refuse(value, |c| !c.is_ascii(), what)
}

/// Refuses a value with a bad character. The error names only that character and its place.
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

/// Returns the URL for an address: `host:port`, `http://…` or `https://…`. With any other scheme, the SDK would connect
/// without TLS, and even send an API key.
pub(crate) fn target(address: &str, what: &str, wants_tls: bool) -> anyhow::Result<Url> {
    // Not quoted, because there may be a password before the @.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// All valid forms of an address, without TLS and with TLS. A host without a scheme is a host, even if its name is
    /// that of a scheme.
    #[test]
    fn addresses() -> anyhow::Result<()> {
        for (address, without, with) in [
            (
                "localhost:7233",
                "http://localhost:7233/",
                "https://localhost:7233/",
            ),
            (
                "a.example:7233/",
                "http://a.example:7233/",
                "https://a.example:7233/",
            ),
            ("[::1]:7233", "http://[::1]:7233/", "https://[::1]:7233/"),
            ("http:7233", "http://http:7233/", "https://http:7233/"),
            ("https:443", "http://https:443/", "https://https/"),
            ("ftp:7233", "http://ftp:7233/", "https://ftp:7233/"),
            (
                "HTTP://A.example:1",
                "http://a.example:1/",
                "http://a.example:1/",
            ),
            (
                "https://a.example",
                "https://a.example/",
                "https://a.example/",
            ),
            ("Https://[::1]", "https://[::1]/", "https://[::1]/"),
        ] {
            for (wants_tls, expected) in [(false, without), (true, with)] {
                let url = target(address, "the address", wants_tls)?;
                assert_eq!(url.as_str(), expected, "{address}");
            }
        }
        Ok(())
    }
}
