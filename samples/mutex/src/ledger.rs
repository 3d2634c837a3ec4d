//! The ledger of a resource that only one holder may use at a time. The file stands in for the resource's database.

use anyhow::{Context, ensure};
use std::{
    fs::File,
    io::{Read, Write},
    path::PathBuf,
};

/// A file with one line for each time that a holder enters or leaves: `enter <token>` or `leave <token>`, a tab, and
/// the escaped id of the holder's workflow.
#[derive(Clone, Debug)]
pub struct Ledger(PathBuf);

impl Ledger {
    /// Creates a ledger in `file`. The first holder creates the file if it does not exist.
    pub fn new(file: PathBuf) -> Self {
        Self(file)
    }

    /// Records that the holder with this token begins to use the resource, unless a holder with a later token has used
    /// it already. The lease of an earlier one is over, even if its process does not know that yet.
    ///
    /// # Errors
    /// If a holder with a later token has used the resource, or if the file cannot be read or written.
    pub fn enter(&self, token: &str, workflow_id: &str) -> anyhow::Result<()> {
        let (ledger, last) = self.open()?;
        // Tokens have the same number of digits, so the later one is also the greater text.
        ensure!(
            last.as_str() <= token,
            "the lease of {workflow_id} is over: the resource has been used with a later token"
        );
        self.write(ledger, "enter", token, workflow_id)
    }

    /// Records that the holder with this token has stopped using the resource.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn leave(&self, token: &str, workflow_id: &str) -> anyhow::Result<()> {
        let (ledger, _) = self.open()?;
        self.write(ledger, "leave", token, workflow_id)
    }

    /// Opens the file, and returns it with the token in its last line. No other worker can use the file meanwhile. The
    /// system releases it when its process ends.
    fn open(&self) -> anyhow::Result<(File, String)> {
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
        let last = lines.lines().last().unwrap_or_default();
        let token = last.split(['\t', ' ']).nth(1).unwrap_or_default();
        Ok((file, token.to_owned()))
    }

    fn write(
        &self,
        mut ledger: File,
        what: &str,
        token: &str,
        workflow_id: &str,
    ) -> anyhow::Result<()> {
        // Escaped, because a workflow id may contain a tab or a line break.
        let line = format!("{what} {token}\t{}\n", workflow_id.escape_debug());
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

    /// A holder can enter again, as a retried activity does. A holder with an earlier token is refused.
    #[test]
    fn refuses_an_earlier_token() -> anyhow::Result<()> {
        let file = std::env::temp_dir().join(format!("mutex-{}.txt", std::process::id()));
        let ledger = Ledger::new(file.clone());
        ledger.enter("1764000000001", "a\nb")?;
        ledger.enter("1764000000001", "a\nb")?;
        ledger.leave("1764000000001", "a\nb")?;
        ledger.enter("1764000000002", "c")?;
        let late = ledger
            .enter("1764000000001", "a")
            .map_err(|e| e.to_string());
        let lines = std::fs::read_to_string(&file);
        std::fs::remove_file(file)?;
        assert_eq!(
            late,
            Err("the lease of a is over: the resource has been used with a later token".to_owned())
        );
        assert_eq!(
            lines?,
            "enter 1764000000001\ta\\nb\nenter 1764000000001\ta\\nb\nleave 1764000000001\ta\\nb\n\
             enter 1764000000002\tc\n"
        );
        Ok(())
    }
}
