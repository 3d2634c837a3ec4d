//! The files that `make certs` creates.

use crate::tls::pki::{Folder, command, run};
use anyhow::ensure;
use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt};

const FILES: [&str; 6] = [
    "ca.key",
    "ca.pem",
    "client.key",
    "client.pem",
    "server.key",
    "server.pem",
];

async fn certs(folder: &Folder, flags: &[&str]) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let mut certs = command(env!("CARGO_BIN_EXE_mtls-certs"));
    certs.args(["--folder", &folder.file("certs")]).args(flags);
    let output = run(certs).await?;
    ensure!(output.status.success(), "{output:?}");
    FILES
        .into_iter()
        .map(|file| Ok((file, folder.read(&format!("certs/{file}"))?)))
        .collect()
}

/// Only the owner can read keys. A second call replaces nothing, `--renew` replaces the files of the client, and
/// `--force` replaces all.
#[tokio::test]
async fn replaces_only_what_the_flags_say() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let first = certs(&folder, &[]).await?;
    let mode =
        |file: &str| anyhow::Ok(fs::metadata(folder.file(file))?.permissions().mode() & 0o777);
    assert_eq!(mode("certs")?, 0o700);
    for file in FILES {
        let expected = if file.ends_with(".key") { 0o600 } else { 0o644 };
        assert_eq!(mode(&format!("certs/{file}"))?, expected, "{file}");
    }

    let replaced = |now: &BTreeMap<&str, String>| -> Vec<&str> {
        FILES
            .into_iter()
            .filter(|file| now.get(file) != first.get(file))
            .collect()
    };
    assert!(replaced(&certs(&folder, &[]).await?).is_empty());
    let renewed = certs(&folder, &["--renew"]).await?;
    assert_eq!(replaced(&renewed), ["client.key", "client.pem"]);
    assert_eq!(replaced(&certs(&folder, &["--force"]).await?), FILES);
    Ok(())
}
