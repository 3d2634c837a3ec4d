//! The ledger of resources that only one holder each may use at a time. The file stands in for their database.

use anyhow::{Context, ensure};
use std::{
    fs::File,
    io::{Read, Write},
    path::PathBuf,
};

/// A file with one line for each time that a holder enters or leaves: `enter <key> <resource>` or `leave <key>
/// <resource>`, a tab, and the workflow id of the holder. The resource and the id are escaped.
#[derive(Clone, Debug)]
pub struct Ledger(PathBuf);

impl Ledger {
    /// Creates a ledger in `file`. The first holder creates the file if it does not exist.
    pub fn new(file: PathBuf) -> Self {
        Self(file)
    }

    /// Records that the holder with this key begins to use the resource, unless a holder with a later key has used it
    /// already. The earlier one no longer holds the resource, even if its process does not know that yet.
    ///
    /// # Errors
    /// If a holder with a later key has used the resource, or if the file cannot be read or written.
    pub fn enter(&self, resource: &str, key: &str, workflow_id: &str) -> anyhow::Result<()> {
        let (ledger, last) = self.open(resource)?;
        // Keys have the same number of digits, so the later one is also the greater text.
        ensure!(
            last.as_str() <= key,
            "{workflow_id} no longer holds {resource}, which has been used with a later key"
        );
        self.write(ledger, "enter", resource, key, workflow_id)
    }

    /// Records that the holder with this key has stopped using the resource.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn leave(&self, resource: &str, key: &str, workflow_id: &str) -> anyhow::Result<()> {
        let (ledger, _) = self.open(resource)?;
        self.write(ledger, "leave", resource, key, workflow_id)
    }

    /// Opens the file, and returns it with the last key of this resource. No other worker can use the file meanwhile.
    /// The system releases it when its process ends.
    fn open(&self, resource: &str) -> anyhow::Result<(File, String)> {
        let open = || {
            let mut file = File::options()
                .read(true)
                .append(true)
                .create(true)
                .open(&self.0)?;
            file.lock()?;
            let mut lines = String::new();
            file.read_to_string(&mut lines)?;
            std::io::Result::Ok((file, lines))
        };
        let (file, lines) = open().with_context(|| self.cannot("read"))?;
        let resource = resource.escape_debug().to_string();
        let key = |line: &str| {
            let visit = line.split('\t').next()?;
            let (_, visit) = visit.split_once(' ')?;
            let (key, of) = visit.split_once(' ')?;
            (of == resource).then(|| key.to_owned())
        };
        Ok((file, lines.lines().rev().find_map(key).unwrap_or_default()))
    }

    fn write(
        &self,
        mut ledger: File,
        what: &str,
        resource: &str,
        key: &str,
        workflow_id: &str,
    ) -> anyhow::Result<()> {
        // Escaped, because a name may contain a tab or a line break.
        let (resource, workflow_id) = (resource.escape_debug(), workflow_id.escape_debug());
        let line = format!("{what} {key} {resource}\t{workflow_id}\n");
        let written = ledger.write_all(line.as_bytes());
        written.with_context(|| self.cannot("write"))
    }

    fn cannot(&self, what: &str) -> String {
        format!("cannot {what} the ledger {}", self.0.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A holder can enter again, as a retried activity does. A holder with an earlier key is refused, but only at the
    /// same resource.
    #[test]
    fn refuses_an_earlier_key() -> anyhow::Result<()> {
        let file = std::env::temp_dir().join(format!("resource-pool-{}.txt", std::process::id()));
        let ledger = Ledger::new(file.clone());
        ledger.enter("r a", "1764000000001", "a\nb")?;
        ledger.enter("r a", "1764000000001", "a\nb")?;
        ledger.leave("r a", "1764000000001", "a\nb")?;
        ledger.enter("r a", "1764000000003", "c")?;
        ledger.enter("r", "1764000000002", "d")?;
        let late = ledger.enter("r a", "1764000000002", "a");
        let lines = std::fs::read_to_string(&file);
        std::fs::remove_file(file)?;
        let expected = "a no longer holds r a, which has been used with a later key";
        assert_eq!(late.map_err(|e| e.to_string()), Err(expected.to_owned()));
        assert_eq!(
            lines?,
            "enter 1764000000001 r a\ta\\nb\nenter 1764000000001 r a\ta\\nb\n\
             leave 1764000000001 r a\ta\\nb\nenter 1764000000003 r a\tc\nenter 1764000000002 r\td\n"
        );
        Ok(())
    }
}
