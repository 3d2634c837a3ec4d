//! What the server tells of schedules, as JSON and as tables on stderr.

use anyhow::bail;
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::Value;
use std::time::SystemTime;
use temporalio_client::{
    Client, UntypedWorkflow,
    WorkflowExecutionStatus::{Completed, Failed},
    errors::WorkflowInteractionError,
    schedules::{ScheduleDescriptionAction, ScheduleHandle, ScheduleRecentAction},
};
use temporalio_common::protos::temporal::api::common::v1::Payload;

/// A schedule in short.
#[derive(Debug, Serialize)]
pub struct Summary {
    schedule_id: String,
    workflow_type: String,
    arguments: Vec<Value>,
    task_queue: String,
    /// How the ids of its workflows begin.
    workflow_id: String,
    paused: bool,
    note: String,
    overlap_policy: String,
    /// Ever; the same goes for `skipped`.
    started: i64,
    skipped: i64,
    /// Now, for the workflow before to end.
    waiting: i64,
    next: Vec<String>,
    last: Vec<Run>,
}

impl Summary {
    /// Asks the server: five next times, five last workflows.
    ///
    /// # Errors
    /// If there is no such schedule.
    pub async fn fetch(client: &Client, handle: &ScheduleHandle<Client>) -> anyhow::Result<Self> {
        let description = handle.describe(Default::default()).await?;
        let ScheduleDescriptionAction::StartWorkflow(action) = description.action() else {
            bail!("it does not start a workflow");
        };
        // Not all that the server tells has a method of its own.
        let info = description.raw().info.clone().unwrap_or_default();
        let schedule = description.raw().schedule.clone().unwrap_or_default();
        let policy = schedule.policies.unwrap_or_default().overlap_policy();
        let arguments = action.raw_args().unwrap_or_default();
        let recent = description.recent_actions();
        let next = description.future_action_times().into_iter().take(5);
        Ok(Self {
            schedule_id: handle.schedule_id().to_owned(),
            workflow_type: action.workflow_type().to_owned(),
            arguments: arguments.iter().map(json).collect(),
            task_queue: action.task_queue().to_owned(),
            workflow_id: action.workflow_id().to_owned(),
            paused: description.paused(),
            note: description.note().unwrap_or_default().to_owned(),
            overlap_policy: short(policy.as_str_name(), "SCHEDULE_OVERLAP_POLICY_"),
            started: description.action_count(),
            skipped: description.overlap_skipped(),
            waiting: info.buffer_size,
            next: next.map(time).collect(),
            last: Run::fetch(client, &recent[recent.len().saturating_sub(5)..]).await?,
        })
    }

    /// A table of one row, after a word that says what was done.
    pub fn print(&self, word: &str) {
        let arguments: Vec<_> = self.arguments.iter().map(Value::to_string).collect();
        let row = [
            self.schedule_id.clone(),
            yes_or_no(self.paused),
            self.overlap_policy.clone(),
            arguments.join(", "),
            or_dash(self.next.first().cloned()),
            self.note.clone(),
        ];
        let head = ["schedule", "paused", "overlap", "argument", "next", "note"];
        print_table(word, head, &[row]);
    }

    /// Prints at most `count` times at which it will act.
    pub fn print_next(&self, count: usize) {
        for (number, time) in self.next.iter().take(count).enumerate() {
            eprintln!("{:<8} {time}", if number == 0 { "next" } else { "" });
        }
    }

    /// The rest: when it will act, and how the last times ended.
    pub fn print_details(&self) {
        self.print_next(self.next.len());
        let (started, skipped, waiting) = (self.started, self.skipped, self.waiting);
        eprintln!("so far   {started} started, {skipped} skipped, {waiting} waiting");
        Run::print("last", &self.last);
    }
}

/// A workflow that a schedule has started.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The time for which it was due; of a trigger, when that was.
    due: String,
    /// Its id.
    pub workflow_id: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl Run {
    /// Asks the server how workflows go that a schedule has started.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn fetch(
        client: &Client,
        actions: &[ScheduleRecentAction],
    ) -> anyhow::Result<Vec<Self>> {
        let mut runs = Vec::new();
        for action in actions {
            let mut run = Self {
                due: action.schedule_time.map(time).unwrap_or_default(),
                workflow_id: action.workflow_id.clone(),
                status: String::new(),
                result: None,
                failure: None,
            };
            run.refresh(client).await?;
            runs.push(run);
        }
        Ok(runs)
    }

    /// Asks again.
    ///
    /// # Errors
    /// As [`Run::fetch`].
    pub async fn refresh(&mut self, client: &Client) -> anyhow::Result<()> {
        // By its id alone: what was retried or continued as new goes on under another run id.
        let handle = client.get_workflow_handle::<UntypedWorkflow>(&self.workflow_id);
        let description = match handle.describe(Default::default()).await {
            // A schedule remembers its last ten for longer than their namespace may.
            Err(WorkflowInteractionError::NotFound(_)) => {
                self.status = "GONE".to_owned();
                return Ok(());
            }
            other => other?,
        };
        let info = description.raw().workflow_execution_info.clone();
        let status = info.unwrap_or_default().status().as_str_name();
        self.status = short(status, "WORKFLOW_EXECUTION_STATUS_");
        // Of one that runs the call would wait for the result.
        if matches!(description.status(), Completed | Failed) {
            match handle.get_result(Default::default()).await {
                Ok(raw) => self.result = raw.payloads.first().map(json),
                Err(error) => self.failure = Some(shared::describe(&error)),
            }
        }
        Ok(())
    }

    /// A table, after a word.
    pub fn print(word: &str, runs: &[Self]) {
        let rows: Vec<_> = runs
            .iter()
            .map(|run| {
                let result = run.result.as_ref().map(Value::to_string);
                [
                    run.due.clone(),
                    run.status.clone(),
                    or_dash(result.or(run.failure.clone())),
                    run.workflow_id.clone(),
                ]
            })
            .collect();
        print_table(word, ["due", "status", "result", "workflow"], &rows);
    }
}

/// A schedule as lists show it: the server's list has less, and may lag behind.
#[derive(Debug, Serialize)]
pub struct Listed {
    schedule_id: String,
    workflow_type: Option<String>,
    paused: bool,
    note: String,
    next: Option<String>,
}

impl Listed {
    /// All schedules of the namespace.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn fetch(client: &Client) -> anyhow::Result<Vec<Self>> {
        let schedules = client.list_schedules(Default::default());
        let listed = schedules.map_ok(|schedule| Self {
            schedule_id: schedule.schedule_id().to_owned(),
            workflow_type: schedule.workflow_type().map(str::to_owned),
            paused: schedule.paused(),
            note: schedule.note().unwrap_or_default().to_owned(),
            next: schedule.future_action_times().first().copied().map(time),
        });
        Ok(listed.try_collect().await?)
    }

    /// A table.
    pub fn print(list: &[Self]) {
        let row = |listed: &Self| {
            [
                listed.schedule_id.clone(),
                yes_or_no(listed.paused),
                or_dash(listed.workflow_type.clone()),
                or_dash(listed.next.clone()),
                listed.note.clone(),
            ]
        };
        let rows: Vec<_> = list.iter().map(row).collect();
        print_table(
            "list",
            ["schedule", "paused", "workflow", "next", "note"],
            &rows,
        );
    }
}

/// Columns as wide as their widest cell, after a word; nothing if there are no rows.
fn print_table<const N: usize>(word: &str, head: [&str; N], rows: &[[String; N]]) {
    if rows.is_empty() {
        return;
    }
    let head = head.map(str::to_owned);
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows
            .iter()
            .chain([&head])
            .map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    });
    for (number, row) in [&head].into_iter().chain(rows).enumerate() {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}  "));
        let word = if number == 0 { word } else { "" };
        eprintln!(
            "{}",
            format!("{word:<8} {}", cells.collect::<String>()).trim_end()
        );
    }
}

/// A time as people and the starter's flags write it.
pub fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// The name of a variant without that of its enum.
fn short(variant: &str, prefix: &str) -> String {
    variant.trim_start_matches(prefix).to_owned()
}

/// A value of whatever client, to look at.
fn json(payload: &Payload) -> Value {
    let encoding = payload.metadata.get("encoding").map(Vec::as_slice);
    match (encoding, serde_json::from_slice(&payload.data)) {
        (Some(b"json/plain"), Ok(value)) => value,
        (Some(b"binary/null"), _) => Value::Null,
        (encoding, _) => {
            let encoding = String::from_utf8_lossy(encoding.unwrap_or(b"no encoding"));
            Value::String(format!("({encoding})"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// Values of other clients: JSON of any shape, nothing, and what only they can read.
    #[test]
    fn shows_any_payload() {
        let payload = |encoding: &str, data: &str| Payload {
            metadata: BTreeMap::from([("encoding".to_owned(), encoding.into())])
                .into_iter()
                .collect(),
            data: data.into(),
            ..Default::default()
        };
        assert_eq!(
            json(&payload("json/plain", r#"{"a":[1]}"#)),
            json!({"a": [1]})
        );
        assert_eq!(json(&payload("binary/null", "")), Value::Null);
        assert_eq!(
            json(&payload("binary/encrypted", "x")),
            json!("(binary/encrypted)")
        );
        assert_eq!(json(&payload("json/plain", "{")), json!("(json/plain)"));
        assert_eq!(json(&Payload::default()), json!("(no encoding)"));
    }
}
