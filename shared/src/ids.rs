//! The limit on workflow ids, schedule ids and task queue names, checked before the server sees one.

use crate::text::is_control;
use anyhow::bail;
use std::fmt::Display;
use temporalio_sdk::ApplicationFailure;

/// Longest workflow id, schedule id or task queue name, in bytes.
///
/// The server accepts 1,000 bytes (`limit.maxIDLength`), and MySQL and PostgreSQL then store an id
/// in a column of 255 characters. A character has at least one byte, so 255 bytes fit everywhere.
pub const MAX_ID_BYTES: usize = 255;

/// Type of the application failure that [`child_id`] returns.
pub const ID_TOO_LONG: &str = "IdTooLong";

/// Checks an id or a name that comes from outside, such as the value of a flag.
///
/// `what` names the source, for example `--workflow-id`. `room` is the number of bytes that the
/// sample or the server appends to the id.
///
/// # Errors
/// If the id is empty, contains a control character, or is longer than [`MAX_ID_BYTES`] less `room`.
pub fn check_id(what: &str, id: &str, room: usize) -> anyhow::Result<()> {
    let limit = MAX_ID_BYTES.saturating_sub(room);
    if id.is_empty() {
        bail!("{what} is empty: leave it out, or give it a value");
    }
    if id.len() > limit {
        bail!(
            "{what} has {} bytes, and at most {limit} fit: choose a shorter one",
            id.len()
        );
    }
    if let Some(c) = id.chars().find(|c| is_control(*c)) {
        bail!(
            "{what} contains the control character U+{:04X}: leave it out",
            u32::from(c)
        );
    }
    Ok(())
}

/// Returns `{parent}-{suffix}`, the workflow id of a child, for workflow code.
///
/// The server rejects a command with an id that is too long by failing the workflow *task*, which it
/// then retries forever. A client of another language may start the parent with any id, so check
/// before the command, and before any work that would be lost.
///
/// # Errors
/// A non-retryable [`ApplicationFailure`] of type [`ID_TOO_LONG`] if the id is longer than
/// [`MAX_ID_BYTES`]. It names the length, the limit, and the longest id that the parent can have.
#[allow(
    clippy::result_large_err,
    reason = "the SDK's own error type, by value, is what `?` takes"
)]
pub fn child_id(parent: &str, suffix: impl Display) -> Result<String, ApplicationFailure> {
    let id = format!("{parent}-{suffix}");
    if id.len() <= MAX_ID_BYTES {
        return Ok(id);
    }
    let longest = MAX_ID_BYTES.saturating_sub(id.len() - parent.len());
    let message = format!(
        "the child's workflow id would have {} bytes, and at most {MAX_ID_BYTES} fit: \
         start the parent with an id of at most {longest} bytes, this one has {}",
        id.len(),
        parent.len()
    );
    Err(ApplicationFailure::builder(message)
        .type_name(ID_TOO_LONG.to_owned())
        .non_retryable(true)
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit counts bytes, as the server does, and is inclusive.
    #[test]
    fn bytes_are_counted() -> anyhow::Result<()> {
        check_id("--workflow-id", &"x".repeat(255), 0)?;
        check_id("--workflow-id", &"ä".repeat(127), 0)?;
        check_id("--workflow-id", &"x".repeat(234), 21)?;
        for (id, room, expected) in [
            ("x".repeat(256), 0, "has 256 bytes, and at most 255 fit"),
            ("ä".repeat(128), 0, "has 256 bytes, and at most 255 fit"),
            ("x".repeat(235), 21, "has 235 bytes, and at most 234 fit"),
        ] {
            let error = check_id("--workflow-id", &id, room)
                .unwrap_err()
                .to_string();
            assert_eq!(
                error,
                format!("--workflow-id {expected}: choose a shorter one")
            );
        }
        Ok(())
    }

    /// Empty ids and control characters are refused, and the error does not repeat them.
    #[test]
    fn unusable_ids_are_refused() {
        let cases = [
            ("", "--task-queue is empty"),
            ("a\nb", "the control character U+000A"),
            ("\u{1b}[2J", "the control character U+001B"),
            ("a\u{9b}31m", "the control character U+009B"),
            ("a\u{202e}b", "the control character U+202E"),
        ];
        for (id, expected) in cases {
            let error = check_id("--task-queue", id, 0).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.chars().any(is_control), "{error:?}");
        }
    }

    /// A child's id fits, or the failure says by how much the parent's is too long.
    #[test]
    fn child_ids_fit() {
        let parent = |length| "p".repeat(length);
        let id = child_id(&parent(249), "child");
        assert_eq!(id.map(|id| id.len()).ok(), Some(255));
        let Err(failure) = child_id(&parent(250), "child") else {
            panic!("256 bytes are too many")
        };
        assert_eq!(failure.type_name(), Some(ID_TOO_LONG));
        assert!(failure.is_non_retryable());
        assert_eq!(
            failure.to_string(),
            "the child's workflow id would have 256 bytes, and at most 255 fit: \
             start the parent with an id of at most 249 bytes, this one has 250"
        );
    }
}
