//! The ledger: a SQLite database that does each step once, and never after it was undone. It stands in for the
//! databases of the bank, the payment switch and the other services that a saga calls.

use anyhow::Context;
use rusqlite::{
    Connection, OptionalExtension, ToSql, Transaction,
    TransactionBehavior::{self, Deferred, Immediate},
    params,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::{Deserialize, Serialize};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::task::spawn_blocking;

/// The unique columns do the work. They decide which of two attempts counts, whatever process they run in.
const TABLES: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS entries (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        subject TEXT NOT NULL,
        what TEXT NOT NULL,
        undoes TEXT UNIQUE
    ) STRICT;
    CREATE TABLE IF NOT EXISTS transfers (
        tx_id TEXT PRIMARY KEY,
        status TEXT NOT NULL
    ) STRICT;";

/// How long a step waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One side effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Idempotency key. All attempts at a step have the same key.
    pub key: String,
    /// The account or the payment that it belongs to.
    pub subject: String,
    /// Name of the step or the compensation.
    pub what: String,
    /// For a compensation: the key of the step that it undoes, whether that step has happened or not.
    pub undoes: Option<String>,
}

/// State of a transfer, according to the switch.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The switch does not know the transfer.
    Unknown,
    /// The switch has not decided yet.
    Pending,
    /// The money has moved.
    Success,
    /// The money has not moved and never will.
    Failure,
}

impl Status {
    const ALL: [Self; 4] = [Self::Unknown, Self::Pending, Self::Success, Self::Failure];

    /// The name in the database, which is that on the wire.
    fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Pending => "PENDING",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
        }
    }
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

impl FromSql for Status {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        let found = Self::ALL.into_iter().find(|status| status.name() == name);
        found.ok_or(FromSqlError::InvalidType)
    }
}

/// The reason why the ledger did not record an entry.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A late attempt at a step that its saga has given up.
    #[error("{0:?} was undone, so it must not be done any more")]
    Undone(String),
    /// Two different side effects have the same key.
    #[error("the idempotency key {0:?} belongs to another entry")]
    KeyReused(String),
    /// The database failed, and another attempt may succeed.
    #[error("the ledger failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The thread that writes panicked.
    #[error("the ledger did not answer: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// A ledger in a file. Several processes may use the same file at the same time.
#[derive(Clone)]
pub struct Ledger(Arc<Mutex<Connection>>);

impl Ledger {
    /// Opens the ledger in `file`, creating the file and its directory if they do not exist.
    ///
    /// # Errors
    /// If the file cannot be created, or is not a ledger.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot create the directory {directory:?}"))?;
        }
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(file)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.execute_batch(TABLES)?;
            Ok(connection)
        };
        let connection = open().with_context(|| format!("cannot open the ledger {file:?}"))?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Records an entry, unless the ledger has it already.
    ///
    /// # Errors
    /// [`LedgerError::Undone`] if the step was undone, and [`LedgerError::KeyReused`] if the key belongs to a
    /// different entry. Both are final.
    pub async fn record(&self, entry: Entry) -> Result<(), LedgerError> {
        self.transaction(Immediate, move |transaction| record(transaction, &entry))
            .await
    }

    /// Sends a transfer to the switch, which decides at once if `status` is a decision.
    ///
    /// # Errors
    /// As [`Ledger::record`].
    pub async fn submit(
        &self,
        entry: Entry,
        tx_id: String,
        status: Status,
    ) -> Result<(), LedgerError> {
        self.transaction(Immediate, move |transaction| {
            record(transaction, &entry)?;
            transaction.execute(
                "INSERT INTO transfers (tx_id, status) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![tx_id, status],
            )?;
            Ok(())
        })
        .await
    }

    /// Asks the switch about a transfer.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn ask(&self, tx_id: String) -> Result<Status, LedgerError> {
        self.transaction(Deferred, move |transaction| status(transaction, &tx_id))
            .await
    }

    /// Cancels a transfer unless the money has moved, and returns whether it has: [`Status::Success`] or
    /// [`Status::Failure`]. After a cancellation, no late attempt at the transfer moves the money.
    ///
    /// # Errors
    /// As [`Ledger::record`].
    pub async fn cancel(&self, entry: Entry, tx_id: String) -> Result<Status, LedgerError> {
        self.transaction(Immediate, move |transaction| {
            if status(transaction, &tx_id)? == Status::Success {
                return Ok(Status::Success);
            }
            record(transaction, &entry)?;
            transaction.execute(
                "INSERT INTO transfers (tx_id, status) VALUES (?1, ?2)
                 ON CONFLICT (tx_id) DO UPDATE SET status = excluded.status",
                params![tx_id, Status::Failure],
            )?;
            Ok(Status::Failure)
        })
        .await
    }

    /// Returns the entries of an account or a payment, in the order in which they were recorded.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn entries(&self, subject: &str) -> Result<Vec<Entry>, LedgerError> {
        let subject = subject.to_owned();
        self.transaction(Deferred, move |transaction| {
            let sql =
                "SELECT key, subject, what, undoes FROM entries WHERE subject = ?1 ORDER BY id";
            let mut query = transaction.prepare(sql)?;
            let entries = query.query_map([subject], entry)?;
            Ok(entries.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Runs `work` in a transaction, which is on the disk when this returns. In a thread for blocking work, because
    /// other activities and heartbeats need the threads of the worker.
    ///
    /// With [`Immediate`], no other process writes between the reads and the writes of the transaction. One that only
    /// reads is [`Deferred`], and waits for nobody.
    async fn transaction<T: Send + 'static>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let connection = self.0.clone();
        spawn_blocking(move || {
            // After a panic, the connection has rolled its transaction back.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(behavior)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
        .await?
    }
}

fn record(transaction: &Transaction<'_>, new: &Entry) -> Result<(), LedgerError> {
    let undone = transaction
        .query_row(
            "SELECT 1 FROM entries WHERE undoes = ?1",
            [&new.key],
            |_| Ok(()),
        )
        .optional()?;
    if undone.is_some() {
        return Err(LedgerError::Undone(new.key.clone()));
    }
    transaction.execute(
        "INSERT INTO entries (key, subject, what, undoes) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        params![new.key, new.subject, new.what, new.undoes],
    )?;
    // The entry of an earlier attempt is as good as a new one. Anything else under this key is a mistake.
    let sql = "SELECT key, subject, what, undoes FROM entries WHERE key = ?1";
    let recorded = transaction.query_row(sql, [&new.key], entry).optional()?;
    if recorded.as_ref() != Some(new) {
        return Err(LedgerError::KeyReused(new.key.clone()));
    }
    Ok(())
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: row.get(0)?,
        subject: row.get(1)?,
        what: row.get(2)?,
        undoes: row.get(3)?,
    })
}

fn status(transaction: &Transaction<'_>, tx_id: &str) -> Result<Status, LedgerError> {
    let sql = "SELECT status FROM transfers WHERE tx_id = ?1";
    let status = transaction.query_row(sql, [tx_id], |row| row.get(0));
    Ok(status.optional()?.unwrap_or(Status::Unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, undoes: Option<&str>) -> Entry {
        Entry {
            key: key.to_owned(),
            subject: "payment".to_owned(),
            what: key.to_owned(),
            undoes: undoes.map(str::to_owned),
        }
    }

    /// Two connections stand for two workers.
    fn two() -> anyhow::Result<(tempfile::TempDir, Ledger, Ledger)> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("new/ledger.db");
        let (one, other) = (Ledger::open(&file)?, Ledger::open(&file)?);
        Ok((directory, one, other))
    }

    /// An attempt that is repeated, also at the same time in another process, leaves one entry. Another entry under the
    /// same key is refused, and so is a second compensation of one step.
    #[tokio::test]
    async fn records_once() -> anyhow::Result<()> {
        let (_directory, one, other) = two()?;
        let attempts = (0..20).map(|number| match number % 2 {
            0 => one.record(entry("debit", None)),
            _ => other.record(entry("debit", None)),
        });
        for attempt in futures::future::join_all(attempts).await {
            attempt?;
        }
        assert_eq!(one.entries("payment").await?, [entry("debit", None)]);

        let mut different = entry("debit", None);
        different.subject = "another payment".to_owned();
        let refused = one.record(different).await;
        assert!(
            matches!(refused, Err(LedgerError::KeyReused(_))),
            "{refused:?}"
        );
        one.record(entry("refund", Some("debit"))).await?;
        let refused = one.record(entry("another refund", Some("debit"))).await;
        assert!(
            matches!(refused, Err(LedgerError::KeyReused(_))),
            "{refused:?}"
        );
        Ok(())
    }

    /// A compensation may come before its step, and can be repeated. The step is then refused.
    #[tokio::test]
    async fn an_undone_step_comes_too_late() -> anyhow::Result<()> {
        let (_directory, one, other) = two()?;
        for _ in 0..2 {
            one.record(entry("unblock", Some("reserve"))).await?;
        }
        let late = other.record(entry("reserve", None)).await;
        assert!(matches!(late, Err(LedgerError::Undone(_))), "{late:?}");
        let expected = [entry("unblock", Some("reserve"))];
        assert_eq!(one.entries("payment").await?, expected);
        Ok(())
    }

    /// Either the switch moves the money or the transfer is cancelled, whichever comes first.
    #[tokio::test]
    async fn a_transfer_ends_once() -> anyhow::Result<()> {
        let (_directory, one, other) = two()?;
        for (status, after_cancel) in [
            (Some(Status::Success), Status::Success),
            (Some(Status::Pending), Status::Failure),
            (Some(Status::Failure), Status::Failure),
            (None, Status::Failure),
        ] {
            let tx_id = format!("tx-{status:?}");
            let submit = entry(&format!("{tx_id}:submit"), None);
            let cancel = entry(&format!("{tx_id}:comp-submit"), Some(&submit.key));
            if let Some(status) = status {
                for ledger in [&one, &other] {
                    ledger.submit(submit.clone(), tx_id.clone(), status).await?;
                }
            }
            let asked = one.ask(tx_id.clone()).await?;
            assert_eq!(asked, status.unwrap_or(Status::Unknown));
            for ledger in [&one, &other] {
                assert_eq!(
                    ledger.cancel(cancel.clone(), tx_id.clone()).await?,
                    after_cancel
                );
            }
            assert_eq!(one.ask(tx_id.clone()).await?, after_cancel);
            let late = one.submit(submit, tx_id.clone(), Status::Success).await;
            assert_eq!(late.is_ok(), after_cancel == Status::Success, "{late:?}");
            assert_eq!(one.ask(tx_id).await?, after_cancel);
        }
        Ok(())
    }

    /// The name of a status is the same in the database and on the wire.
    #[test]
    fn names() -> anyhow::Result<()> {
        for status in Status::ALL {
            assert_eq!(serde_json::to_value(status)?, status.name());
        }
        Ok(())
    }

    /// A file that is no database is refused, and the error names it.
    #[test]
    fn another_file() -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(
            &file,
            "a text, and a long one, that is certainly no database",
        )?;
        let error = Ledger::open(file.path()).err().context("opened")?;
        let error = format!("{error:#}");
        assert!(error.starts_with("cannot open the ledger \"/"), "{error}");
        assert!(error.ends_with("file is not a database"), "{error}");
        Ok(())
    }
}
