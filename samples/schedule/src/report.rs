//! The starter's output about schedules and their workflows: JSON for stdout, and lines on stderr.

use serde_json::{Value, json};
use shared::printable;
use std::time::SystemTime;
use temporalio_client::{
    Client, UntypedWorkflow,
    WorkflowExecutionStatus::{Completed, Failed},
    errors::WorkflowInteractionError,
    schedules::{
        ScheduleDescription, ScheduleDescriptionAction, ScheduleRecentAction, ScheduleSummary,
    },
};
use temporalio_common::protos::temporal::api::common::v1::Payload;

/// Prints a line about a schedule that begins with `word`, then at most `count` of its next times. If the
/// server has misread a cron string, you see it there. Returns the same as JSON.
pub fn schedule(word: &str, id: &str, description: &ScheduleDescription, count: usize) -> Value {
    // The SDK has no methods for these.
    let info = description.raw().info.clone().unwrap_or_default();
    let schedule = description.raw().schedule.clone().unwrap_or_default();
    let policy = schedule.policies.unwrap_or_default().overlap_policy();
    let policy = short(policy.as_str_name(), "SCHEDULE_OVERLAP_POLICY_");
    let action = match description.action() {
        ScheduleDescriptionAction::StartWorkflow(action) => Some(action),
        _ => None,
    };
    let arguments = action.as_ref().and_then(|it| it.raw_args());
    let arguments: Vec<_> = arguments.unwrap_or_default().iter().map(value).collect();
    let note = description.note().unwrap_or_default();
    let next = description.future_action_times();
    let next: Vec<_> = next.into_iter().take(5).map(time).collect();
    let (paused, shown) = (description.paused(), json!(arguments));
    let state = if paused { "paused" } else { "active" };
    line(
        word,
        &format!("{id}: {state}, overlap {policy}, arguments {shown}, note {note:?}"),
    );
    for (number, time) in next.iter().take(count).enumerate() {
        line(if number == 0 { "next" } else { "" }, time);
    }
    json!({
        "schedule_id": id,
        "workflow_type": action.as_ref().map(|it| it.workflow_type().to_owned()),
        "arguments": arguments,
        "task_queue": action.as_ref().map(|it| it.task_queue().to_owned()),
        "workflow_id": action.as_ref().map(|it| it.workflow_id().to_owned()),
        "paused": paused,
        "note": note,
        "overlap_policy": policy,
        "started": description.action_count(),
        "skipped": description.overlap_skipped(),
        "waiting": info.buffer_size,
        "next": next,
    })
}

/// Prints a line about a schedule in a list, which has fewer fields. Returns the same as JSON.
pub fn listed(schedule: &ScheduleSummary) -> Value {
    let (id, paused) = (schedule.schedule_id(), schedule.paused());
    let next = schedule.future_action_times().first().copied().map(time);
    let state = if paused { "paused" } else { "active" };
    line(
        "schedule",
        &format!("{id}: {state}, next {}", next.as_deref().unwrap_or("never")),
    );
    json!({
        "schedule_id": id,
        "workflow_type": schedule.workflow_type(),
        "paused": paused,
        "note": schedule.note().unwrap_or_default(),
        "next": next,
    })
}

/// Prints a line about each workflow that a schedule has started, the first one after `word`. Returns the
/// same as JSON.
///
/// # Errors
/// If the server does not answer.
pub async fn workflows(
    word: &str,
    client: &Client,
    actions: &[ScheduleRecentAction],
) -> anyhow::Result<Vec<Value>> {
    let mut workflows = Vec::new();
    for action in actions {
        let id = &action.workflow_id;
        // Without a run id, because a retry or a continue-as-new changes it.
        let handle = client.get_workflow_handle::<UntypedWorkflow>(id);
        let (status, result) = match handle.describe(Default::default()).await {
            // A schedule remembers its last ten workflows, even after the namespace has deleted them.
            Err(WorkflowInteractionError::NotFound(_)) => ("GONE".to_owned(), Value::Null),
            description => {
                let description = description?;
                let info = description.raw().workflow_execution_info.clone();
                let status = info.unwrap_or_default().status().as_str_name();
                // While the workflow runs, this call would wait for the result.
                let result = match description.status() {
                    Completed | Failed => match handle.get_result(Default::default()).await {
                        Ok(raw) => raw.payloads.first().map_or(Value::Null, value),
                        Err(error) => shared::describe(&error).into(),
                    },
                    _ => Value::Null,
                };
                (short(status, "WORKFLOW_EXECUTION_STATUS_"), result)
            }
        };
        let due = action.schedule_time.map(time).unwrap_or_default();
        let word = if workflows.is_empty() { word } else { "" };
        line(word, &format!("{due}  {status}  {result}  {id}"));
        workflows.push(json!({"due": due, "status": status, "result": result, "workflow_id": id}));
    }
    Ok(workflows)
}

/// Prints a line to stderr that begins with `word`. Escapes control characters, because ids and notes may
/// come from anyone.
pub fn line(word: &str, text: &str) {
    eprintln!("{word:<8} {}", printable(text));
}

/// Formats a time as the starter's flags take it.
fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Returns the name of a variant without the name of its enum.
fn short(variant: &str, prefix: &str) -> String {
    variant.trim_start_matches(prefix).to_owned()
}

/// Returns a value from any client as JSON that can be shown.
fn value(payload: &Payload) -> Value {
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

    /// Values from other clients are shown: JSON of any shape, no value, and the encoding of any other value.
    #[test]
    fn shows_any_payload() {
        let cases = [
            ("json/plain", r#"{"a":[1]}"#, json!({"a": [1]})),
            ("binary/null", "", Value::Null),
            ("binary/encrypted", "x", json!("(binary/encrypted)")),
            ("json/plain", "{", json!("(json/plain)")),
        ];
        for (encoding, data, expected) in cases {
            let payload = Payload {
                metadata: [("encoding".to_owned(), encoding.into())].into(),
                data: data.into(),
                ..Default::default()
            };
            assert_eq!(value(&payload), expected);
        }
        assert_eq!(value(&Payload::default()), json!("(no encoding)"));
    }
}
