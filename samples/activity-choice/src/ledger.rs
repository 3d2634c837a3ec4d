//! Where orders are made, each once: a file that stands for the supplier's books.

use anyhow::Context;
use std::{
    fs::File,
    io::{Read, Write},
    path::PathBuf,
};

/// A file with a line for each order: its key, escaped, a tab, what was ordered.
#[derive(Clone, Debug)]
pub struct Ledger(PathBuf);

impl Ledger {
    /// The one in `file`, which need not be there yet.
    pub fn new(file: PathBuf) -> Self {
        Self(file)
    }

    /// Makes an order, unless there is one with this `key`.
    ///
    /// # Errors
    /// If the file cannot be read or written; the error names it.
    pub fn order(&self, key: &str, order: &str) -> anyhow::Result<()> {
        self.append(key, order)
            .with_context(|| format!("cannot order by {}", self.0.display()))
    }

    fn append(&self, key: &str, order: &str) -> std::io::Result<()> {
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&self.0)?;
        // Another worker may be looking for the same key. A lock ends with the process that has it.
        file.lock()?;
        let mut orders = String::new();
        file.read_to_string(&mut orders)?;
        // The key has a workflow id in it, and any client may put a tab or a line break into one.
        let key = key.escape_debug().to_string();
        let with_key = |line: &str| line.split('\t').next() == Some(&key);
        if !orders.lines().any(with_key) {
            file.write_all(format!("{key}\t{order}\n").as_bytes())?;
            // Else it could be gone with the machine, although the server was told of it.
            file.sync_data()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An order is made once for each key, and in one line, whatever a client has put into the key.
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
