//! The key that worker and service share. What it has signed, no stranger can forge.

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use std::{fs, io::ErrorKind, io::Write, path::Path};
use tempfile::NamedTempFile;

/// Length of the key in bytes.
const LENGTH: usize = 32;

/// Signs messages with HMAC-SHA256, and checks signatures.
pub struct Key(hmac::Key);

impl Key {
    /// Reads the key from `file`. Creates the file, which only its owner can read, if it does not exist.
    ///
    /// # Errors
    /// If the file cannot be read or created, or holds something else.
    pub fn read_or_create(file: &Path) -> anyhow::Result<Self> {
        let key = match fs::read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create(file).with_context(|| format!("cannot create the key file {file:?}"))?;
                fs::read(file)
            }
            read => read,
        };
        let key = key.with_context(|| format!("cannot read the key file {file:?}"))?;
        ensure!(
            key.len() == LENGTH,
            "the key file {file:?} has {} bytes, and a key has {LENGTH}: delete the file to get a new key",
            key.len()
        );
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// Returns the signature of a message of several parts.
    pub fn sign(&self, parts: &[&str]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &message(parts)))
    }

    /// Returns whether `signature` is that of the message. The time that this takes reveals nothing about it.
    pub fn verify(&self, parts: &[&str], signature: &str) -> bool {
        BASE64_URL_SAFE_NO_PAD
            .decode(signature)
            .is_ok_and(|signature| hmac::verify(&self.0, &message(parts), &signature).is_ok())
    }
}

/// Joins the parts, each with its length, so that `["ab", "c"]` and `["a", "bc"]` differ.
fn message(parts: &[&str]) -> Vec<u8> {
    let part = |part: &&str| [&part.len().to_be_bytes(), part.as_bytes()].concat();
    parts.iter().flat_map(part).collect()
}

fn create(file: &Path) -> anyhow::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut key = [0; LENGTH];
    SystemRandom::new()
        .fill(&mut key)
        .ok()
        .context("the system has no random numbers")?;
    // Worker and service may start at the same time. Neither must read half a key, nor replace the other's.
    let mut complete = NamedTempFile::new_in(directory)?;
    complete.write_all(&key)?;
    match complete.persist_noclobber(file) {
        Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(error.error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signature fits one message and one key. The key stays the same when it is read again.
    #[test]
    fn signs_and_verifies() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("keys/key");
        let key = Key::read_or_create(&file)?;
        let signature = key.sign(&["approve", "expense-1"]);
        let again = Key::read_or_create(&file)?;
        assert!(again.verify(&["approve", "expense-1"], &signature));
        for other in [
            &["reject", "expense-1"][..],
            &["approve", "expense-2"],
            &["approv", "eexpense-1"],
            &["approve", "expense-1", ""],
        ] {
            assert!(!key.verify(other, &signature), "{other:?}");
        }
        for no_signature in ["", "x", &signature[1..], "not base64!"] {
            assert!(!key.verify(&["approve", "expense-1"], no_signature));
        }
        let other = Key::read_or_create(&directory.path().join("other"))?;
        assert!(!other.verify(&["approve", "expense-1"], &signature));
        Ok(())
    }

    /// Only the owner can read the key file. A file that holds something else is refused.
    #[cfg(unix)]
    #[test]
    fn the_file_is_private() -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("key");
        Key::read_or_create(&file)?;
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
        fs::write(&file, "secret")?;
        let refused = Key::read_or_create(&file).err().context("was accepted")?;
        assert!(refused.to_string().contains("has 6 bytes"), "{refused}");
        Ok(())
    }
}
