//! Certificates: checked before anything is sent, read again for every new connection, and what goes
//! wrong with them in words that name the file.
//!
//! No message quotes what a file holds, nor the error of what parsed it: either may show a key.

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

/// What is wrong, and what to do.
type Explanation = (String, &'static str);

/// What TLS is set up with.
#[derive(Default)]
pub(crate) struct Tls {
    /// What errors call the CA and the client certificate.
    ca: Option<String>,
    client: Option<String>,
    files: Option<Arc<ClientFiles>>,
}

impl Tls {
    /// Reads and checks the certificates that a profile names, for a connection to `target`.
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
            // The SDK's connector for certificates that are read again looks up an IPv6 address with
            // its brackets, which fails (1.1.1).
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
                // The SDK takes one or the other.
                (profile.client_cert, profile.client_key) = (None, None);
            }
        }
        this.client = Some(name);
        Ok(this)
    }

    /// Has the client certificate read from its files at every handshake.
    ///
    /// # Errors
    /// If the SDK's workarounds below do not fit the address.
    pub(crate) fn apply(&self, connection: &mut ConnectionOptions) -> anyhow::Result<()> {
        let (Some(tls), Some(files)) = (&mut connection.tls_options, &self.files) else {
            return Ok(());
        };
        tls.client_cert_resolver = Some(files.clone());
        // The SDK cannot do both, and would balance with every host name but `localhost`.
        let host = connection.target.host_str().unwrap_or_default();
        let balances = host != "localhost" && host.parse::<IpAddr>().is_err();
        if connection.dns_load_balancing.take().is_some() && balances {
            tracing::info!(
                "DNS load balancing is off, because the SDK does not combine it with a client certificate \
                 that is read again for each connection: one connection goes to one address of the host"
            );
        }
        // With a resolver the SDK puts TLS beneath the transport, which then refuses https:// for
        // having none itself (1.1.1). So the transport is told http://, and the server what it is.
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

    /// What is wrong and what to do, if a connection fails for a reason that has to do with TLS.
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
        // 60 is `<`, where the length of a message in gRPC should be.
        if text.contains("invalid compression flag: 60") {
            return Some(self.page(after("with status: ").unwrap_or_default()));
        }
        // With TLS 1.3 the client is done before the server has looked at its certificate: the alert
        // comes in place of the first answer, as text, or is lost when the connection closes.
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
            // The latter when the CAs have one name, as one that was made anew has.
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
            // TLS 1.2 has the same alert for both.
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

    /// nginx and Envoy answer a client that they do not let in with HTML and a status of 4xx.
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

/// A PEM, and what errors call it.
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

    /// Refuses a section whose first line does not begin with `-----BEGIN`. PEM readers skip it without
    /// a word. The first certificate of a chain would be missing, for example, and the second would
    /// be taken for it.
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

    /// One at least: a chain, or a bundle of CAs.
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

/// Reads a client certificate and its key, which must be a pair, and of use today. Returns what
/// errors call the certificate, too.
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

/// Says what a private key is that the TLS library refuses, by the object identifiers in it.
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

/// Looked at here, because the server's answer may be no more than an HTTP error page.
fn out_of_date(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    // Without any CA it gets as far as the dates, and no further.
    let nobody = RootCertStore::empty();
    let now = UnixTime::now();
    match verify_server_cert_signed_by_trust_anchor(&certificate, &nobody, &[], now, &[]) {
        Err(rustls::Error::InvalidCertificate(error)) => dates(&error),
        _ => None,
    }
}

/// `expired at …` or `is not valid before …`, if that is what is wrong.
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

/// An error and what is behind it, the real reason last.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // What an I/O error was made from is not its source: the two are one.
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

/// A client certificate that is read from its files for every new connection: to rotate it is to
/// replace them. What is connected already stays so, with the one it has.
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
            // As when one of the two has been replaced and the other not yet.
            Err(error) => tracing::warn!("keeping the client certificate as it was: {error:#}"),
        }
        Some(last.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

// Not derived, so that no key can get into it.
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

    /// A certificate and its key, in files that end with the test.
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

    /// Every handshake has the certificate that is in the files by then; or the last one that was
    /// whole, while they are being replaced.
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

    /// What the SDK needs to be told, so that it connects with certificates that are read again.
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
        // The SDK's connector cannot reach an IPv6 literal, so its other one takes the certificate.
        let connection = files.connection("[::1]:7233")?;
        assert_eq!(connection.target.as_str(), "https://[::1]:7233/");
        let tls = connection.tls_options.context("no TLS")?;
        assert!(tls.client_cert_resolver.is_none() && tls.client_tls_options.is_some());
        Ok(())
    }
}
