//! A ledger that records each order once. The file stands in for the supplier's database.

use anyhow::Context;
use std::{
    fs::File,
    io::{Read, Write},
    path::PathBuf,
};

/// A file with one line per order: the escaped key, a tab, and the order.
#[derive(Clone, Debug)]
pub struct Ledger(PathBuf);

impl Ledger {
    /// Creates a ledger in `file`. The first order creates the file if it does not exist.
    pub fn new(file: PathBuf) -> Self {
        Self(file)
    }

    /// Records an order, unless the ledger already has one with this `key`.
    ///
    /// # Errors
    /// If the file cannot be read or written. The error names the file.
    pub fn order(&self, key: &str, order: &str) -> anyhow::Result<()> {
        self.append(key, order)
            .with_context(|| format!("cannot record the order in {}", self.0.display()))
    }

    fn append(&self, key: &str, order: &str) -> std::io::Result<()> {
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&self.0)?;
        // Another worker may look for the same key. The system releases the lock when its process ends.
        file.lock()?;
        let mut orders = String::new();
        file.read_to_string(&mut orders)?;
        // Escaped, because a key may contain text from a client, such as a tab or a line break.
        let key = key.escape_debug().to_string();
        let with_key = |line: &str| line.split('\t').next() == Some(&key);
        if !orders.lines().any(with_key) {
            file.write_all(format!("{key}\t{order}\n").as_bytes())?;
            // Otherwise a crash of the machine could lose the order after the server has learned about it.
            file.sync_data()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ledger has one order per key, each in one line, whatever characters the key contains.
    #[test]
    fn orders_once() -> anyhow::Result<()> {
        let file = std::env::temp_dir().join(format!("ledger-{}.txt", std::process::id()));
        let ledger = Ledger::new(file.clone());
        for key in ["plain/1", "a\nb/1", "a\tb/1", "a\\nb/1", "\u{1b}[2J/1"] {
            ledger.order(key, "8 Apples")?;
            ledger.order(key, "8 Apples")?;
        }
        let orders = std::fs::read_to_string(&file);
        std::fs::remove_file(file)?;
        assert_eq!(
            orders?,
            "plain/1\t8 Apples\na\\nb/1\t8 Apples\na\\tb/1\t8 Apples\na\\\\nb/1\t8 Apples\n\
             \\u{1b}[2J/1\t8 Apples\n"
        );
        Ok(())
    }
}
