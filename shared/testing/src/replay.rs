//! Replays recorded histories with today's code, and explains at which event the code does something else.

use super::history;
use anyhow::{Context, anyhow, bail, ensure};
use shared::printable;
use std::collections::BTreeSet;
use temporalio_client::WorkflowHistory;
use temporalio_common::protos::{
    coresdk::common::{decode_change_marker_details, extract_local_activity_marker_data},
    temporal::api::{
        enums::v1::EventType,
        history::v1::{History, HistoryEvent, history_event::Attributes},
    },
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayFailure, WorkflowReplayer};

/// Replays every `*.json` in `folder`, relative to the crate under test. If the variable `REPLAY_FILE` is set, as
/// `make replay` sets it, replays only that file.
///
/// # Errors
/// As [`replay`], with the name of the file. Also if there is no history.
pub async fn replay_all(replayer: &WorkflowReplayer, folder: &str) -> anyhow::Result<()> {
    if let Some(file) = std::env::var_os("REPLAY_FILE") {
        let replayed = async { replay(replayer, history(file)?).await };
        // On one line, because a person reads it.
        let replayed = replayed.await.map_err(|error| anyhow!("{error:#}"))?;
        eprintln!("replayed {replayed}");
        return Ok(());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {folder}"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    ensure!(!files.is_empty(), "{folder} holds no history");
    for file in files {
        let replayed = replay(replayer, history(&file)?).await;
        replayed.with_context(|| format!("{} does not replay", file.display()))?;
    }
    Ok(())
}

/// Replays one history, and returns the type and id of its workflow.
///
/// # Errors
/// If this code does not do what the history recorded. The error says at which event, what the history has there,
/// what the code does instead, and what the SDK says. Also if this code has no such workflow, or if no workflow
/// task has completed.
pub async fn replay(
    replayer: &WorkflowReplayer,
    history: WorkflowHistory,
) -> anyhow::Result<String> {
    let events = history.into_events().await?;
    let first = events.first().and_then(|event| event.attributes.as_ref());
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = first else {
        bail!("this is no history: it does not begin with WorkflowExecutionStarted");
    };
    let workflow_type = started.workflow_type.clone().unwrap_or_default().name;
    let whose = printable(&format!("{workflow_type} {}", started.workflow_id));
    let workflows = replayer.options().workflows();
    super::init::check(&workflows)?;
    let known: BTreeSet<&str> = workflows
        .workflow_definitions()
        .map(|definition| definition.workflow_type.as_str())
        .collect();
    ensure!(
        known.contains(workflow_type.as_str()),
        "this is the history of a {}, and this code has: {}",
        printable(&workflow_type),
        known.into_iter().collect::<Vec<_>>().join(", ")
    );
    // The SDK's replayer hangs with a history that has none.
    let ran = |event: &HistoryEvent| event.event_type() == EventType::WorkflowTaskCompleted;
    ensure!(
        events.iter().any(ran),
        "no workflow task of {whose} has completed: there is nothing to compare with"
    );

    let replayed = replayer.replay_workflows([History { events }.into()]).await;
    let result = replayed?.pop().context("the SDK has replayed nothing")?;
    let events = result.history.events();
    let reason = match result.replay_failure {
        None => {
            return Ok(format!(
                "{} events of {whose}: this code accepts them",
                events.len()
            ));
        }
        Some(WorkflowReplayFailure::Nondeterminism { message }) => {
            let message = text(&message);
            match explain(message, events) {
                Some(words) => format!(
                    "{words}; roll back, or keep the old way for it by ctx.patched\n\
                     the SDK says: {message}"
                ),
                None => message.to_owned(),
            }
        }
        Some(WorkflowReplayFailure::WorkflowTaskFailure { message }) => text(&message).to_owned(),
        Some(other) => other.to_string(),
    };
    let lines: Vec<String> = reason.lines().map(printable).collect();
    bail!(
        "this code does not accept the history of {whose}: {}",
        lines.join("\n")
    )
}

/// Returns the SDK's message without the text around it, which is a failure in `Debug` format.
fn text(message: &str) -> &str {
    let inner = message.split_once("{ message: \"").map(|(_, inner)| inner);
    inner
        .and_then(|inner| inner.split_once("\", source: "))
        .map_or(message, |(inner, _)| inner)
}

/// The SDK's names for a command of the code, if the history has an event of another kind.
const ASKED: [(&str, &str); 14] = [
    ("Activity machine", "starts an activity"),
    ("Cancel external WF machine", "cancels another workflow"),
    ("Cancel workflow machine", "ends as cancelled"),
    ("Change machine", "asks for a patch"),
    ("Child workflow machine", "starts a child workflow"),
    ("Complete workflow machine", "completes"),
    ("Continue as new workflow machine", "continues as new"),
    ("Fail workflow machine", "fails"),
    ("Local activity machine", "starts a local activity"),
    ("Nexus operation machine", "starts a Nexus operation"),
    ("No command scheduled", "asks for nothing"),
    ("Signal external WF machine", "signals another workflow"),
    ("Timer machine", "starts a timer"),
    ("Update machine", "answers an update"),
];

/// The same if the event is of the same kind. The message then quotes the difference.
const ASKED_OTHER: [(&str, &str); 5] = [
    (
        "Activity id of scheduled",
        "starts the activity with the id",
    ),
    ("Activity type of recorded", "starts the local activity"),
    ("Activity type of scheduled", "starts the activity"),
    (
        "Child workflow id of",
        "starts the child workflow with the id",
    ),
    ("Child workflow type of", "starts the child workflow"),
];

/// Explains a nondeterminism error of the SDK in words. `None` if the message has an unknown form.
fn explain(message: &str, events: &[HistoryEvent]) -> Option<String> {
    let (_, message) = message.split_once("Nondeterminism error: ")?;
    let known =
        |(start, asked): &(&str, &'static str)| message.starts_with(start).then_some(*asked);
    if let Some(asked) = ASKED.iter().find_map(known) {
        let (_, at) = message.split_once("HistoryEvent(id: ")?;
        let id = at.split(',').next()?.parse::<i64>().ok()?;
        let event = events.iter().find(|event| event.event_id == id)?;
        return Some(words(&[event], asked));
    }
    let mut quoted = message.split('\'').skip(1).step_by(2);
    let (recorded, asked) = if let Some(asked) = ASKED_OTHER.iter().find_map(known) {
        (quoted.next()?, format!("{asked} {}", quoted.next()?))
    } else {
        let patch = message.strip_prefix("Non-deprecated patch marker encountered for change ")?;
        let (patch, _) = patch.split_once(", but there is no")?;
        (patch, format!("does not ask for the patch {patch}"))
    };
    // The SDK does not say which event it is. Often there is only one.
    let candidates: Vec<&HistoryEvent> = events
        .iter()
        .filter(|event| {
            subject(event).is_some_and(|names| names.iter().any(|name| name == recorded))
        })
        .collect();
    (!candidates.is_empty()).then(|| words(&candidates, &asked))
}

fn words(events: &[&HistoryEvent], asked: &str) -> String {
    let ids: Vec<String> = events.iter().map(|e| e.event_id.to_string()).collect();
    let recorded = events.first().map_or(String::new(), |event| {
        let [name, ..] = subject(event).unwrap_or_default();
        format!("{:?} {name}", event.event_type())
    });
    format!(
        "at event {} it has {}, where the code {asked}",
        ids.join(" or "),
        recorded.trim_end()
    )
}

/// Returns the type and the id that an event is about, as far as it has them.
fn subject(event: &HistoryEvent) -> Option<[String; 2]> {
    let (name, id) = match event.attributes.as_ref()? {
        Attributes::ActivityTaskScheduledEventAttributes(activity) => (
            activity.activity_type.as_ref()?.name.clone(),
            activity.activity_id.clone(),
        ),
        Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(child) => (
            child.workflow_type.as_ref()?.name.clone(),
            child.workflow_id.clone(),
        ),
        Attributes::MarkerRecordedEventAttributes(marker) => {
            let activity = extract_local_activity_marker_data(&marker.details);
            match (decode_change_marker_details(&marker.details), activity) {
                (Some((patch, _)), _) => (patch, String::new()),
                (None, Some(local)) => (local.activity_type, local.activity_id),
                (None, None) => return None,
            }
        }
        _ => return None,
    };
    Some([name, id])
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_common::protos::temporal::api::{
        common::v1::ActivityType, history::v1::ActivityTaskScheduledEventAttributes,
    };

    fn scheduled(event_id: i64, activity: &str) -> HistoryEvent {
        let attributes = ActivityTaskScheduledEventAttributes {
            activity_type: Some(ActivityType {
                name: activity.to_owned(),
            }),
            ..Default::default()
        };
        HistoryEvent {
            event_id,
            event_type: EventType::ActivityTaskScheduled.into(),
            attributes: Some(Attributes::ActivityTaskScheduledEventAttributes(attributes)),
            ..Default::default()
        }
    }

    fn in_words(message: &str) -> Option<String> {
        let events = [
            scheduled(5, "ship"),
            scheduled(11, "bill"),
            scheduled(17, "bill"),
        ];
        explain(
            &format!("[TMPRL1100] Nondeterminism error: {message}"),
            &events,
        )
    }

    /// An explanation names the event if the SDK does, and otherwise all events that it may be. A message of an
    /// unknown form is not explained.
    #[test]
    fn explains_mismatches() {
        let event = "HistoryEvent(id: 11, ActivityTaskScheduled)";
        assert_eq!(
            in_words(&format!(
                "Timer machine does not handle this event: {event}"
            ))
            .as_deref(),
            Some("at event 11 it has ActivityTaskScheduled bill, where the code starts a timer")
        );
        assert_eq!(
            in_words(&format!("No command scheduled for event {event}")).as_deref(),
            Some("at event 11 it has ActivityTaskScheduled bill, where the code asks for nothing")
        );
        let other = |scheduled| {
            in_words(&format!(
                "Activity type of scheduled event '{scheduled}' does not match activity type of \
                 activity command 'check'"
            ))
        };
        assert_eq!(
            other("ship").as_deref(),
            Some(
                "at event 5 it has ActivityTaskScheduled ship, where the code starts the activity check"
            )
        );
        assert_eq!(
            other("bill").as_deref(),
            Some(
                "at event 11 or 17 it has ActivityTaskScheduled bill, where the code starts the activity check"
            )
        );
        assert_eq!(in_words("Something else"), None);
    }
}
