//! A store that survives restarts: one file for each record.

use anyhow::Context;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::ErrorKind,
    marker::PhantomData,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

/// Records of one type, by id. Several processes may use the same directory at the same time.
pub struct Store<T> {
    directory: PathBuf,
    record: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned + 'static> Store<T> {
    /// Opens the store in `directory`, creating it if it does not exist.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn open(directory: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create the store {directory:?}"))?;
        let record = PhantomData;
        Ok(Self { directory, record })
    }

    /// Changes the record with this id, or removes it if `change` leaves `None`. The change is on the disk when this
    /// returns, and no other change to the store happens meanwhile.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn change<R: Send + 'static>(
        &self,
        id: &str,
        change: impl FnOnce(&mut Option<T>) -> R + Send + 'static,
    ) -> anyhow::Result<R> {
        let name = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, id.as_bytes()));
        let directory = self.directory.clone();
        spawn_blocking(move || {
            let lock = File::create(directory.join("lock"))?;
            lock.lock()?;
            let file = directory.join(name + ".json");
            let mut record = read(&file)?;
            let result = change(&mut record);
            match record {
                Some(record) => {
                    let complete = NamedTempFile::new_in(&directory)?;
                    serde_json::to_writer(&complete, &record)?;
                    complete.as_file().sync_all()?;
                    complete.persist(&file)?;
                }
                None if file.exists() => fs::remove_file(&file)?,
                None => {}
            }
            Ok(result)
        })
        .await?
    }

    /// Returns all records.
    ///
    /// # Errors
    /// As [`Store::change`].
    pub async fn all(&self) -> anyhow::Result<Vec<T>>
    where
        T: Send,
    {
        let directory = self.directory.clone();
        spawn_blocking(move || {
            let mut all = Vec::new();
            for entry in fs::read_dir(directory)? {
                let file = entry?.path();
                if file
                    .extension()
                    .is_some_and(|extension| extension == "json")
                {
                    // Another process may have removed it.
                    all.extend(read(&file)?);
                }
            }
            Ok(all)
        })
        .await?
    }
}

fn read<T: DeserializeOwned>(file: &Path) -> anyhow::Result<Option<T>> {
    match fs::read(file) {
        Ok(json) => {
            let record = serde_json::from_slice(&json);
            Ok(Some(
                record.with_context(|| format!("cannot read {file:?}"))?,
            ))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {file:?}")),
    }
}
