//! Runs the starter with a workflow id that contains shell and terminal commands.

use anyhow::{Context, ensure};
use std::process::Stdio;
use testing::{TEST_TIMEOUT, address, id_of};
use tokio::{process::Command, time::timeout};

/// The command that the starter suggests contains the id as a single shell word, and no line that it prints
/// contains a control character.
#[tokio::test]
async fn the_suggested_command_quotes_the_id() -> anyhow::Result<()> {
    let id = format!("{}; echo 'all' $HOME `id`\u{1b}[2J", id_of(50, "x"));
    let mut starter = Command::new(env!("CARGO_BIN_EXE_encryption-starter"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TEMPORAL_")) {
        starter.env_remove(name);
    }
    let output = starter
        // There is no such workflow, so it ends at once.
        .args(["--address", address()?, "--read", &id])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(TEST_TIMEOUT, output).await??;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(
        !stderr.lines().any(|line| line.contains(char::is_control)),
        "{stderr:?}"
    );
    let command = stderr
        .lines()
        .find_map(|line| line.split_once("temporal workflow show"))
        .context(stderr.clone())?
        .1;

    // The words that a shell reads.
    let words = Command::new("sh")
        .args(["-c", &format!("printf '%s\\n' {command}")])
        .output();
    let words = String::from_utf8(words.await?.stdout)?;
    let shown = id.replace('\u{1b}', "\\u{1b}");
    let expected = format!("--workflow-id\n{shown}\n--codec-endpoint\nhttp://127.0.0.1:8081\n");
    assert_eq!(words, expected);
    Ok(())
}
