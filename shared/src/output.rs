//! A starter's command line, and what it prints: the result to stdout, the rest to stderr.

use crate::{
    ConnectionArgs, MainResult, check_id, end_on_signals, printable, text::printable_json,
    warn_while_waiting,
};
use anyhow::{Context, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use std::io::Write;
use temporalio_client::{Client, WorkflowHandle};
use temporalio_common::HasWorkflowDefinition;
use uuid::Uuid;

/// The characters of an id that are encoded in the address of its page. The colon needs no encoding,
/// and the ids of scheduled workflows end with a time.
const UNSAFE_IN_URL: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b':')
    .remove(b'_')
    .remove(b'~');

/// Flags of every starter.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StarterArgs {
    /// Where the server is.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// Task queue that the worker polls [default: the sample's own]
    #[arg(long, env = "TEMPORAL_TASK_QUEUE", value_name = "NAME")]
    pub task_queue: Option<String>,

    /// Workflow id [default: the sample's name and eight random digits]
    #[arg(long, value_name = "ID")]
    pub workflow_id: Option<String>,
}

impl StarterArgs {
    /// Lets Ctrl-C and SIGTERM end the process, sends logs to stderr, then connects as the flags and
    /// the environment say.
    ///
    /// # Errors
    /// As [`end_on_signals`], [`crate::init_logs`] and [`ConnectionArgs::connect`].
    pub async fn connect(&self) -> anyhow::Result<Client> {
        end_on_signals()?;
        crate::init_logs()?;
        self.connection.connect().await
    }

    /// Returns the given task queue, or `default` if none is given.
    ///
    /// # Errors
    /// As [`check_id`].
    pub fn task_queue<'a>(&'a self, default: &'a str) -> anyhow::Result<&'a str> {
        task_queue(self.task_queue.as_deref(), default)
    }

    /// Returns the given workflow id, or `<prefix>-<8 random hex digits>` if none is given.
    ///
    /// A constant id would make the second start fail, or join the first workflow.
    ///
    /// # Errors
    /// As [`check_id`].
    pub fn workflow_id(&self, prefix: &str) -> anyhow::Result<String> {
        match &self.workflow_id {
            Some(id) => check_id("--workflow-id", id, 0).map(|()| id.clone()),
            None => Ok(format!("{prefix}-{:08x}", Uuid::new_v4().as_fields().0)),
        }
    }
}

/// The task queue of a starter or a worker: the given one, or else `default`.
pub(crate) fn task_queue<'a>(given: Option<&'a str>, default: &'a str) -> anyhow::Result<&'a str> {
    let Some(name) = given.filter(|name| !name.is_empty()) else {
        return Ok(default);
    };
    let what = "--task-queue (or TEMPORAL_TASK_QUEUE)";
    check_id(what, name, 0)?;
    if name.starts_with("/_sys/") {
        bail!("{what} begins with /_sys/, which the server keeps for itself: choose another name");
    }
    Ok(name)
}

/// Prints where to watch the workflow: its page in the Web UI if `TEMPORAL_UI_URL` is set, and its id
/// otherwise. Then starts [`warn_while_waiting`].
pub fn print_started<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    task_queue: &str,
) {
    let info = handle.info();
    let ui = std::env::var("TEMPORAL_UI_URL").unwrap_or_default();
    match history_url(&ui, &info.namespace, &info.workflow_id) {
        Some(url) => eprintln!("history  {url}"),
        None => eprintln!("workflow {}", printable(&info.workflow_id)),
    }
    warn_while_waiting(handle, task_queue);
}

/// The workflow's page, if there is a Web UI and the page has an address there.
fn history_url(ui: &str, namespace: &str, workflow_id: &str) -> Option<String> {
    // As path segments these mean "here" and "one level up", even when encoded.
    let no_segment = [".", ".."].contains(&workflow_id);
    (!ui.is_empty() && !no_segment).then(|| {
        format!(
            "{}/namespaces/{}/workflows/{}",
            ui.trim_end_matches('/'),
            utf8_percent_encode(namespace, &UNSAFE_IN_URL),
            utf8_percent_encode(workflow_id, &UNSAFE_IN_URL)
        )
    })
}

/// Prints `result: <compact JSON>`, the last line of every starter's stdout, and ends
/// [`warn_while_waiting`].
///
/// # Errors
/// If the result cannot be written as JSON, or stdout is closed.
pub fn print_result<T: Serialize + ?Sized>(result: &T) -> MainResult {
    let json = serde_json::to_string(result).context("cannot print the result as JSON")?;
    crate::waiting::stop();
    writeln!(std::io::stdout(), "result: {}", printable_json(&json))
        .context("cannot write the result to stdout")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each start gets a new id of the documented form, or the given one.
    #[test]
    fn workflow_ids() -> anyhow::Result<()> {
        let args = StarterArgs::default();
        let id = args.workflow_id("hello")?;
        let digits = id.strip_prefix("hello-").unwrap_or_default();
        assert!(
            digits.len() == 8 && digits.chars().all(|c| c.is_ascii_hexdigit()),
            "{id}"
        );
        assert_ne!(id, args.workflow_id("hello")?);
        let given = |id: &str| StarterArgs {
            workflow_id: Some(id.to_owned()),
            ..StarterArgs::default()
        };
        assert_eq!(given("mine").workflow_id("hello")?, "mine");
        for id in ["", "a\nb", &"x".repeat(256)] {
            assert!(given(id).workflow_id("hello").is_err(), "{id}");
        }
        Ok(())
    }

    /// An empty variable, as compose files pass it, names no queue.
    #[test]
    fn task_queues() -> anyhow::Result<()> {
        assert_eq!(task_queue(None, "default")?, "default");
        assert_eq!(task_queue(Some(""), "default")?, "default");
        assert_eq!(task_queue(Some("other"), "default")?, "other");
        for name in ["a\nb", "/_sys/a", &"x".repeat(256)] {
            assert!(task_queue(Some(name), "default").is_err(), "{name}");
        }
        Ok(())
    }

    /// Whatever an id contains, the link has it in a single path segment that decodes to the id.
    #[test]
    fn links_are_encoded() {
        let url = |id: &str| history_url("http://ui:8233/base/", "my ns/é", id);
        let start = "http://ui:8233/base/namespaces/my%20ns%2F%C3%A9/workflows/";
        let cases = [
            ("hello-1f6b2c9e", "hello-1f6b2c9e"),
            ("s-2026-11-24T15:44:26Z", "s-2026-11-24T15:44:26Z"),
            ("a b/c#d?e%2F", "a%20b%2Fc%23d%3Fe%252F"),
            ("../x\\y", "..%2Fx%5Cy"),
            ("\u{1b}[31m\n\u{9b}", "%1B%5B31m%0A%C2%9B"),
            (
                "'\"<>&;=+,@!$()*",
                "%27%22%3C%3E%26%3B%3D%2B%2C%40%21%24%28%29%2A",
            ),
        ];
        for (id, segment) in cases {
            assert_eq!(url(id), Some(format!("{start}{segment}")));
        }
        assert_eq!(url(".."), None);
        assert_eq!(url("."), None);
        assert_eq!(history_url("", "default", "hello"), None);
    }
}
