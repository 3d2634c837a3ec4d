//! Creates the certificates of this sample: of a CA, of a server and of a client.
//!
//! They meet the requirements of rustls: X.509 v3, names as subject alternative names, and a CA certificate
//! that is not the server's own.

use anyhow::{Context, anyhow};
use clap::Parser;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use shared::MainResult;
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Names in the server's certificate. A client that uses another name needs `--tls-server-name`.
const SERVER_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Creates a private CA, and signs a certificate for a server and one for a client with it.
#[derive(Parser)]
struct Args {
    /// Folder for the certificates and keys
    #[arg(long, value_name = "FOLDER", default_value = ".temporal/certs")]
    folder: PathBuf,

    /// Replace existing certificates and keys, including those of the CA
    #[arg(long)]
    force: bool,

    /// Replace only the client certificate and its key, and sign it with the existing CA
    #[arg(long, conflicts_with = "force")]
    renew: bool,
}

fn main() -> MainResult {
    let args = Args::parse();
    let folder = &args.folder;
    // This file is written last, so if it exists, all files do.
    let complete = folder.join("client.pem").exists();
    let done = if args.renew {
        let file = folder.join("ca.key");
        let pem = fs::read_to_string(&file)
            .with_context(|| format!("cannot read the CA's key {}", file.display()))?;
        // Without the cause, because it could quote the key.
        let key = KeyPair::from_pem(&pem)
            .map_err(|_| anyhow!("{} holds no private key in PEM form", file.display()))?;
        issue(folder, "client", &[], &Issuer::new(ca()?, key))?;
        "client certificate renewed"
    } else if complete && !args.force {
        "kept; --force replaces it"
    } else {
        make_folder(folder)?;
        let (ca, key) = (ca()?, KeyPair::generate()?);
        write(folder, "ca", &ca.self_signed(&key)?.pem(), &key)?;
        let ca = Issuer::new(ca, key);
        issue(folder, "server", &SERVER_NAMES, &ca)?;
        issue(folder, "client", &[], &ca)?;
        "created"
    };
    println!("{} ({done})", folder.display());
    Ok(())
}

fn params(name: &str, sans: &[&str], days: u32) -> anyhow::Result<CertificateParams> {
    let sans: Vec<String> = sans.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(sans)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    // Valid since yesterday, for clients whose clocks are slow.
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days).into();
    Ok(params)
}

fn ca() -> anyhow::Result<CertificateParams> {
    let mut params = params("Temporal samples CA", &[], 10 * 365)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Issues a certificate for a new key, and writes both.
fn issue(folder: &Path, name: &str, sans: &[&str], ca: &Issuer<'_, KeyPair>) -> anyhow::Result<()> {
    let mut params = params(name, sans, 365)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A Temporal server is also a client of its own frontend, and uses the same certificate for that.
    params.extended_key_usages = match sans {
        [] => vec![Usage::ClientAuth],
        _ => vec![Usage::ServerAuth, Usage::ClientAuth],
    };
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    write(folder, name, &params.signed_by(&key, ca)?.pem(), &key)
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let mut options = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut options, 0o700);
    let made = options.recursive(true).create(folder);
    made.with_context(|| format!("cannot create the folder {}", folder.display()))
}

fn write(folder: &Path, name: &str, certificate: &str, key: &KeyPair) -> anyhow::Result<()> {
    replace(
        &folder.join(format!("{name}.key")),
        0o600,
        &key.serialize_pem(),
    )?;
    replace(&folder.join(format!("{name}.pem")), 0o644, certificate)
}

/// Replaces a file in one step, so that nobody reads half of it. The new file has its mode from the start.
fn replace(file: &Path, mode: u32, content: &str) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    let write = || -> std::io::Result<()> {
        // An earlier run that was interrupted may have left one.
        let _ = fs::remove_file(&new);
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        options
            .write(true)
            .create_new(true)
            .open(&new)?
            .write_all(content.as_bytes())?;
        fs::rename(&new, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
