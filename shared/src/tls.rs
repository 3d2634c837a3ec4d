//! Checks certificates before anything is sent, reads them again for every new connection, and explains what is wrong
//! with which file.
//!
//! No message quotes the content of a file or the error of a parser, because both may show a key.

use anyhow::{Context, anyhow, bail, ensure};
use rustls::{
    CertificateError, InvalidMessage, RootCertStore, SignatureScheme,
    client::{ResolvesClientCert, verify_server_cert_signed_by_trust_anchor},
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use std::{
    error::Error,
    fmt, io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use temporalio_client::{ConnectionOptions, Url, envconfig::DataSource};
use temporalio_common::envconfig::ClientConfigTLS;

const SET_CLIENT: &str = "set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH, or --tls-cert-path and --tls-key-path";
const OTHER_CLIENT: &str = "give one of a CA that the server trusts; its log may say more";
const SET_CA: &str = "set TEMPORAL_TLS_SERVER_CA_CERT_PATH or --tls-ca-path to the CA that signed it, unless this is not the server you mean";
const SET_NAME: &str = "set TEMPORAL_TLS_SERVER_NAME or --tls-server-name to a name in its certificate, unless this is not the server you mean";
const UNUSABLE: &str =
    "its own certificate has a key that this client does not support, such as P-521";
const RENEW: &str = "renew it, or set this machine's clock right";

/// Explanation of an error: what is wrong, and what to do.
type Explanation = (String, &'static str);

/// The TLS settings of a connection.
#[derive(Default)]
pub(crate) struct Tls {
    /// Names of the CA and the client certificate, for errors.
    ca: Option<String>,
    client: Option<String>,
    files: Option<Arc<ClientFiles>>,
}

impl Tls {
    /// Reads and checks the certificates of a profile, for a connection to `target`.
    pub(crate) fn read(
        profile: Option<&mut ClientConfigTLS>,
        target: &Url,
    ) -> anyhow::Result<Self> {
        let mut this = Self::default();
        let Some(profile) = profile.filter(|tls| tls.disabled != Some(true)) else {
            return Ok(this);
        };
        if let Some(source) = &mut profile.server_ca_cert {
            let ca = Pem::read(
                source,
                "server CA certificate",
                "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
            )?;
            let mut roots = RootCertStore::empty();
            for certificate in ca.certificates()? {
                let added = roots.add(certificate);
                added.map_err(|_| anyhow!("the {} is not X.509 v3", ca.name))?;
            }
            *source = DataSource::Data(ca.bytes);
            this.ca = Some(ca.name);
        }
        let (Some(cert), Some(key)) = (&profile.client_cert, &profile.client_key) else {
            return Ok(this);
        };
        let (name, pair) = read_pair(cert, key)?;
        if let (DataSource::Path(_), DataSource::Path(_)) = (cert, key) {
            // SDK 1.1.1: the connector for certificates that are read again resolves an IPv6 address with its
            // brackets, which fails.
            if target.host_str().is_some_and(|host| host.starts_with('[')) {
                tracing::warn!(
                    "the {name} is read only once, because the address is an IPv6 literal; give a \
                     host name to replace the certificate without a restart"
                );
            } else {
                this.files = Some(Arc::new(ClientFiles {
                    cert: cert.clone(),
                    key: key.clone(),
                    last: Mutex::new(Arc::new(pair)),
                }));
                // The SDK accepts only one of the two.
                (profile.client_cert, profile.client_key) = (None, None);
            }
        }
        this.client = Some(name);
        Ok(this)
    }

    /// Makes the client read the client certificate from its files at every handshake.
    ///
    /// # Errors
    /// If the SDK's workarounds below do not fit the address.
    pub(crate) fn apply(&self, connection: &mut ConnectionOptions) -> anyhow::Result<()> {
        let (Some(tls), Some(files)) = (&mut connection.tls_options, &self.files) else {
            return Ok(());
        };
        tls.client_cert_resolver = Some(files.clone());
        // The SDK cannot combine this with load balancing, which it uses for every host name but `localhost`.
        let host = connection.target.host_str().unwrap_or_default();
        let balances = host != "localhost" && host.parse::<IpAddr>().is_err();
        if connection.dns_load_balancing.take().is_some() && balances {
            tracing::info!(
                "DNS load balancing is off, because the SDK does not combine it with a client certificate \
                 that is read again for each connection: one connection goes to one address of the host"
            );
        }
        // SDK 1.1.1: with a resolver, TLS is below the transport, which then refuses https:// because it has no TLS
        // itself. So the transport gets http://, and requests contain the real origin.
        let target = &mut connection.target;
        let host = target.host_str().unwrap_or_default();
        let port = target.port_or_known_default().unwrap_or(443);
        if tls.domain.is_none() {
            connection.override_origin = Some(format!("https://{host}:{port}").parse()?);
        }
        target
            .set_scheme("http")
            .and_then(|()| target.set_port(Some(port)))
            .map_err(|()| anyhow!("the address does not go with a client certificate"))
    }

    /// Explains why a connection failed, if the reason has to do with TLS.
    pub(crate) fn explain(&self, error: &(dyn Error + 'static), on: bool) -> Option<Explanation> {
        let causes: Vec<_> = causes(error).collect();
        match causes.iter().find_map(|cause| cause.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(error)) => return Some(self.server(error)),
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                let what = "what listens there does not speak TLS".to_owned();
                return Some((what, "check the port, or unset TEMPORAL_TLS_*"));
            }
            _ => {}
        }
        let texts: Vec<String> = causes.iter().map(ToString::to_string).collect();
        let text = texts.join(": ");
        let after = |words: &str| {
            let (_, rest) = text.split_once(words)?;
            rest.split(['"', ':']).next()
        };
        // 60 is `<`, at the place of a gRPC message's length.
        if text.contains("invalid compression flag: 60") {
            return Some(self.page(after("with status: ").unwrap_or_default()));
        }
        // With TLS 1.3, the client has completed the handshake before the server checks the client certificate. The
        // alert then comes instead of the first answer, as text, or is lost when the connection closes.
        if let Some(alert) = after("received fatal alert: ") {
            return self.refused(alert);
        }
        let closed = [
            "connection closed",
            "canceled",
            "reset by peer",
            "roken pipe",
            "eof",
        ];
        let closed = closed.iter().any(|closed| text.contains(closed));
        match on {
            true if closed => Some(self.most_likely("the peer closed the connection")),
            false if closed || text.contains("http2 error") => Some((
                "what listens there does not speak gRPC without TLS".to_owned(),
                "check the port; TEMPORAL_TLS=true, or a certificate, turns TLS on",
            )),
            _ => None,
        }
    }

    fn server(&self, error: &CertificateError) -> Explanation {
        match error {
            // The latter if both CAs have the same name, for example because one was created again.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                let ca = self.ca.as_deref().unwrap_or("CAs of this system");
                (
                    format!("the server's certificate is not signed by the {ca}"),
                    SET_CA,
                )
            }
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => {
                // `DnsName("localhost")`, `IpAddress(127.0.0.1)`
                let names: Vec<&str> = presented
                    .iter()
                    .map(|name| name.split_once('(').map_or(&**name, |(_, name)| name))
                    .map(|name| name.trim_matches(['(', ')', '"']))
                    .collect();
                let names = names.join(", ");
                let expected = expected.to_str();
                (
                    format!("the server's certificate is not for {expected} but for {names}"),
                    SET_NAME,
                )
            }
            other => match dates(other) {
                Some(dates) => (format!("the server's certificate {dates}"), RENEW),
                None => (
                    format!("the server's certificate is no good: {other}"),
                    SET_CA,
                ),
            },
        }
    }

    fn refused(&self, alert: &str) -> Option<Explanation> {
        match (&self.client, alert) {
            (_, "NoApplicationProtocol") => {
                let what = "what listens there speaks TLS, but not HTTP/2, so no gRPC".to_owned();
                Some((what, "check the port"))
            }
            // TLS 1.2 has the same alert for both cases.
            (None, "HandshakeFailure") => Some((
                format!(
                    "the server ends the handshake (HandshakeFailure): it asks for a client certificate, and none is set, or {UNUSABLE}"
                ),
                SET_CLIENT,
            )),
            (Some(_), "HandshakeFailure") => Some((
                format!(
                    "the server ends the handshake (HandshakeFailure), most likely because {UNUSABLE}"
                ),
                "give the server a certificate for an RSA, P-256, P-384 or Ed25519 key",
            )),
            (None, "BadCertificate" | "CertificateRequired") => Some((
                format!("the server asks for a client certificate ({alert}), and none is set"),
                SET_CLIENT,
            )),
            (Some(client), "CertificateExpired") => {
                Some((format!("the server takes the {client} for expired"), RENEW))
            }
            (
                Some(client),
                "AccessDenied"
                | "BadCertificate"
                | "CertificateRevoked"
                | "CertificateUnknown"
                | "DecryptError"
                | "UnknownCA"
                | "UnsupportedCertificate",
            ) => Some((
                format!("the server refuses the {client} ({alert})"),
                OTHER_CLIENT,
            )),
            _ => None,
        }
    }

    /// nginx and Envoy refuse a client with an HTML page and a 4xx status.
    fn page(&self, status: &str) -> Explanation {
        let page = format!("the peer answered with an HTTP error page ({status})");
        match status.starts_with('4') {
            true => self.most_likely(&page),
            false => (
                page,
                "it is a proxy, or no Temporal server: look at its log",
            ),
        }
    }

    fn most_likely(&self, what: &str) -> Explanation {
        match &self.client {
            Some(client) => (
                format!("{what}, most likely because it refuses the {client}"),
                OTHER_CLIENT,
            ),
            None => (
                format!(
                    "{what}, most likely because it asks for a client certificate, and none is set"
                ),
                SET_CLIENT,
            ),
        }
    }
}

/// A PEM file or value, and its name for errors.
struct Pem {
    name: String,
    bytes: Vec<u8>,
}

impl Pem {
    fn read(source: &DataSource, what: &str, variable: &str) -> anyhow::Result<Self> {
        let (name, bytes) = match source {
            DataSource::Path(path) => {
                let name = format!("{what} {path}");
                let read = std::fs::read(path);
                let bytes = read.with_context(|| format!("cannot read the {name}"))?;
                (name, bytes)
            }
            DataSource::Data(bytes) => {
                let set = std::env::var_os(variable).is_some();
                let name = format!("{what} in {}", if set { variable } else { "temporal.toml" });
                (name, bytes.clone())
            }
            _ => bail!("the {what} is neither a file nor data"),
        };
        let this = Self { name, bytes };
        this.refuse_hidden_sections()?;
        Ok(this)
    }

    /// Refuses a section whose first line does not begin with `-----BEGIN`. PEM readers skip such a section silently.
    /// For example, they would skip the first certificate of a chain, and use the second one instead.
    fn refuse_hidden_sections(&self) -> anyhow::Result<()> {
        let Self { name, bytes } = self;
        match &**bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => bail!("the {name} is UTF-16; save it as UTF-8"),
            [0xef, 0xbb, 0xbf, ..] => bail!(
                "the {name} begins with a byte-order mark (U+FEFF), which PEM does not allow; save it as UTF-8 without one"
            ),
            _ => {}
        }
        let begin = b"-----BEGIN ";
        let mut lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
        let hidden = lines.any(|line| {
            !line.starts_with(begin) && line.windows(begin.len()).any(|window| window == begin)
        });
        ensure!(
            !hidden,
            "the {name} has something before -----BEGIN on the same line; begin a line with it"
        );
        Ok(())
    }

    /// Returns the certificates, at least one: a chain, or a bundle of CAs.
    fn certificates(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        let all = all.ok().filter(|all| !all.is_empty());
        all.with_context(|| {
            format!(
                "the {} holds no certificate in PEM form; give one that begins with -----BEGIN CERTIFICATE-----",
                self.name
            )
        })
    }
}

/// Reads a client certificate and its key, which must match, and be valid today. Also returns the name of the
/// certificate for errors.
fn read_pair(cert: &DataSource, key: &DataSource) -> anyhow::Result<(String, CertifiedKey)> {
    let cert = Pem::read(cert, "client certificate", "TEMPORAL_TLS_CLIENT_CERT_DATA")?;
    let key = Pem::read(key, "client key", "TEMPORAL_TLS_CLIENT_KEY_DATA")?;
    let chain = cert.certificates()?;
    if let Some(dates) = chain.first().and_then(out_of_date) {
        bail!("the {} {dates}; {RENEW}", cert.name);
    }
    let private = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| {
        anyhow!(
            "the {} holds no private key in PEM form that needs no password; give one that begins with -----BEGIN PRIVATE KEY-----",
            key.name
        )
    })?;
    let kind = kind(&private);
    match CertifiedKey::from_der(chain, private, &default_provider()) {
        Ok(pair) => Ok((cert.name, pair)),
        Err(rustls::Error::InconsistentKeys(_)) => bail!(
            "the {} does not belong to the {}; give the two that were made together",
            key.name,
            cert.name
        ),
        Err(rustls::Error::InvalidCertificate(_)) => bail!("the {} is not X.509 v3", cert.name),
        Err(_) => bail!(
            "the {} is {kind}, and cannot be used for TLS here; give an RSA key of 2048 to 4096 bits, an ECDSA key on P-256 or P-384, or an Ed25519 key, with a certificate for it",
            key.name
        ),
    }
}

/// Returns what kind of private key the TLS library has refused, from the object identifiers in it.
fn kind(key: &PrivateKeyDer<'_>) -> &'static str {
    const RSA: &str = "an RSA key of less than 2048 or more than 4096 bits, or damaged";
    const CURVE: &str = "an ECDSA key on an unusual curve";
    let kinds: [(&[u8], &str); 10] = [
        (
            &[0x2b, 0x81, 0x04, 0x00, 0x23],
            "an ECDSA key on the curve P-521",
        ),
        (
            &[0x2b, 0x81, 0x04, 0x00, 0x0a],
            "an ECDSA key on the curve secp256k1",
        ),
        (
            &[0x2b, 0x81, 0x04, 0x00, 0x21],
            "an ECDSA key on the curve P-224",
        ),
        (&[0x2b, 0x81, 0x04, 0x00, 0x22], "a damaged ECDSA key"),
        (
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            "a damaged ECDSA key",
        ),
        (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01], CURVE),
        (&[0x06, 0x03, 0x2b, 0x65, 0x71], "an Ed448 key"),
        (&[0x06, 0x03, 0x2b, 0x65, 0x6e], "an X25519 key"),
        (
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
            "an RSA-PSS key",
        ),
        (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], RSA),
    ];
    let der = key.secret_der();
    let has = |id: &[u8]| der.windows(id.len()).any(|window| window == id);
    match (kinds.iter().find(|(id, _)| has(id)), key) {
        (Some((_, kind)), _) => kind,
        (None, PrivateKeyDer::Pkcs1(_)) => RSA,
        (None, PrivateKeyDer::Sec1(_)) => CURVE,
        (None, _) => "of an unknown kind, or damaged",
    }
}

/// Checks the dates of a client certificate. A server may answer an expired one with nothing but an HTTP error page.
fn out_of_date(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    // Without a CA, the verification stops after the dates.
    let nobody = RootCertStore::empty();
    let now = UnixTime::now();
    match verify_server_cert_signed_by_trust_anchor(&certificate, &nobody, &[], now, &[]) {
        Err(rustls::Error::InvalidCertificate(error)) => dates(&error),
        _ => None,
    }
}

/// Returns `expired at …` or `is not valid before …`, if this is the error.
fn dates(error: &CertificateError) -> Option<String> {
    let (what, time) = match error {
        CertificateError::ExpiredContext { not_after, .. } => ("expired at", not_after),
        CertificateError::NotValidYetContext { not_before, .. } => {
            ("is not valid before", not_before)
        }
        _ => return None,
    };
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
    Some(format!(
        "{what} {}",
        humantime::format_rfc3339_seconds(time)
    ))
}

/// Returns an error and its causes. The last one is the real reason.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // The inner error of an I/O error is not its `source`.
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

/// A client certificate that is read from its files for every new connection. To rotate it, replace the files.
/// Existing connections continue with the old certificate.
struct ClientFiles {
    cert: DataSource,
    key: DataSource,
    last: Mutex<Arc<CertifiedKey>>,
}

impl ResolvesClientCert for ClientFiles {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read_pair(&self.cert, &self.key) {
            Ok((name, pair)) => {
                if pair.cert != last.cert {
                    tracing::info!("new {name}");
                }
                *last = Arc::new(pair);
            }
            // For example, one of the two files has been replaced and the other one has not yet.
            Err(error) => tracing::warn!("keeping the client certificate as it was: {error:#}"),
        }
        Some(last.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

// Not derived, so that it never shows a key.
impl fmt::Debug for ClientFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientFiles")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConnectionArgs;
    use std::{fs, path::PathBuf};

    /// A certificate and its key, in files that are deleted on drop.
    struct Files(PathBuf);

    impl Files {
        fn new() -> anyhow::Result<Self> {
            let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
            fs::create_dir(&folder)?;
            Ok(Self(folder))
        }

        fn path(&self, name: &str) -> String {
            self.0.join(name).display().to_string()
        }

        /// Returns the certificate.
        fn replace(&self) -> anyhow::Result<CertificateDer<'static>> {
            let made = rcgen::generate_simple_self_signed(["client".to_owned()])?;
            fs::write(self.path("pem"), made.cert.pem())?;
            fs::write(self.path("key"), made.signing_key.serialize_pem())?;
            Ok(made.cert.der().clone())
        }

        fn connection(&self, address: &str) -> anyhow::Result<ConnectionOptions> {
            let args = ConnectionArgs {
                address: Some(address.to_owned()),
                tls_cert_path: Some(self.path("pem")),
                tls_key_path: Some(self.path("key")),
                ..ConnectionArgs::default()
            };
            Ok(args.load_from(Default::default())?.connection)
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Every handshake uses the certificate in the files, or the last complete one while the files are being replaced.
    #[test]
    fn reads_again() -> anyhow::Result<()> {
        let files = Files::new()?;
        let first = files.replace()?;
        let tls = files.connection("localhost:7233")?.tls_options;
        let resolver = tls.and_then(|tls| tls.client_cert_resolver);
        let resolver = resolver.context("no resolver")?;
        let shown = || resolver.resolve(&[], &[]).map(|pair| pair.cert.clone());
        assert_eq!(shown(), Some(vec![first]));
        let second = files.replace()?;
        assert_eq!(shown(), Some(vec![second.clone()]));

        let key = fs::read(files.path("key"))?;
        let third = files.replace()?;
        let new_key = fs::read(files.path("key"))?;
        for half in [&key[..], &new_key[..40], &[]] {
            fs::write(files.path("key"), half)?;
            assert_eq!(shown(), Some(vec![second.clone()]));
        }
        fs::write(files.path("key"), new_key)?;
        assert_eq!(shown(), Some(vec![third]));
        Ok(())
    }

    /// The options that the SDK needs for certificates that are read again.
    #[test]
    fn works_around() -> anyhow::Result<()> {
        let files = Files::new()?;
        files.replace()?;
        for (address, target) in [
            ("a.example:7233", "a.example:7233"),
            ("https://a.example", "a.example:443"),
            ("127.0.0.1:7233", "127.0.0.1:7233"),
        ] {
            let connection = files.connection(address)?;
            assert_eq!(connection.dns_load_balancing, None);
            assert_eq!(connection.target.to_string(), format!("http://{target}/"));
            let origin = connection.override_origin.map(|origin| origin.to_string());
            assert_eq!(origin, Some(format!("https://{target}/")));
        }
        // This connector cannot reach an IPv6 literal, so the SDK's other connector gets the certificate.
        let connection = files.connection("[::1]:7233")?;
        assert_eq!(connection.target.as_str(), "https://[::1]:7233/");
        let tls = connection.tls_options.context("no TLS")?;
        assert!(tls.client_cert_resolver.is_none() && tls.client_tls_options.is_some());
        Ok(())
    }
}
