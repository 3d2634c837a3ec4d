//! Errors of a program: one line on stderr with the real reason, and exit status 1.

use crate::{connection, foreign, text::one_line};
use std::{error::Error, fmt};
use temporalio_client::{
    errors::{WorkflowGetResultError, WorkflowUpdateError, WorkflowUpdateWithStartError},
    tonic,
};
use temporalio_common::{
    data_converters::{
        DefaultFailureConverter, FailureConverter, PayloadConversionError, PayloadConverter,
        SerializationContextData,
    },
    error::IncomingError,
    protos::temporal::api::failure::v1::Failure,
};

/// Result of `main`. For an error, Rust prints `Error: ` and the line from [`describe`], and exits with status 1.
pub type MainResult = Result<(), MainError>;

/// Any error that `main` returns. `?` creates it.
///
/// Rust prints an error of `main` in `Debug` format. For the SDK's errors that is many lines without the
/// reason of a failed workflow, so this prints what [`describe`] returns.
pub struct MainError(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for MainError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

// Rust prints the error of `main` in `Debug` format.
impl fmt::Debug for MainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&describe(self.0.as_ref()))
    }
}

/// Returns the whole chain of causes in one printable line, with each cause once.
///
/// The SDK's errors repeat their sources in their own text, or leave out the one that matters: a
/// failed workflow prints as `Activity Failure: scheduled_event_id: 5`. This walks Temporal's
/// chain of causes instead, and names the types of application failures.
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let mut parts = Vec::new();
    let mut advice = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(WorkflowGetResultError::Failed(failure)) = error.downcast_ref() {
            parts.push("workflow failed".to_owned());
            push_failure(&mut parts, failure);
            break;
        }
        if let Some(WorkflowUpdateWithStartError::Update(update)) = error.downcast_ref() {
            next = Some(update);
            continue;
        }
        if let Some(WorkflowUpdateError::Failed(failure)) = error.downcast_ref() {
            parts.push("update failed".to_owned());
            push_update_failure(&mut parts, failure);
            break;
        }
        let status = error.downcast_ref::<tonic::Status>();
        advice = advice.or_else(|| connection::rejected(status?));
        let text = match status {
            Some(status) if status.message().is_empty() => status.code().to_string(),
            Some(status) => status.message().to_owned(),
            None => error.to_string(),
        };
        push(&mut parts, text);
        if let Some(PayloadConversionError::WrongEncoding) = error.downcast_ref()
            && let Some(last) = parts.last_mut()
        {
            *last = last.replace(foreign::WRONG_ENCODING, &foreign::wrong_encoding());
        }
        next = error.source();
    }
    let mut line = parts.join(": ");
    if let Some(advice) = advice {
        line = format!("{}; {advice}", line.trim_end_matches('.'));
    }
    one_line(&line)
}

fn push_failure(parts: &mut Vec<String>, failure: &IncomingError) {
    let mut next = Some(failure);
    while let Some(failure) = next {
        let message = failure.failure().message.clone();
        match failure {
            IncomingError::Activity(a) => {
                push(
                    parts,
                    format!("activity {} failed", a.activity_type().unwrap_or("?")),
                );
            }
            IncomingError::Application(a) => {
                let kind = a
                    .type_name()
                    .map(|name| format!(" ({name})"))
                    .unwrap_or_default();
                push(parts, format!("{message}{kind}"));
            }
            IncomingError::ChildWorkflowExecution(child) => {
                let kind = child.workflow_type().unwrap_or("?");
                let id = child.workflow_execution().map(|run| run.workflow_id());
                push(
                    parts,
                    format!("child workflow {kind} {} failed", id.unwrap_or("?")),
                );
            }
            _ => push(parts, message),
        }
        next = failure.cause();
    }
}

/// The client does not decode the failure of an update, as it does that of a workflow.
fn push_update_failure(parts: &mut Vec<String>, failure: &Failure) {
    let (json, none) = (PayloadConverter::default(), SerializationContextData::None);
    match DefaultFailureConverter::default().to_error(failure.clone(), &json, &none) {
        Ok(failure) => push_failure(parts, &failure),
        Err(_) => push(parts, failure.message.clone()),
    }
}

/// Appends a part, unless the last part already contains its text.
fn push(parts: &mut Vec<String>, text: String) {
    match parts.last_mut() {
        // `Server error: code: …, message: "…"`. The status after it is shorter.
        Some(last) if last.contains("code: ") && last.contains(&text) => {
            let head = last.split("code: ").next().unwrap_or_default();
            *last = format!("{head}{text}");
        }
        Some(last) if last.contains(&text) => {}
        _ => parts.push(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    /// A chain is printed with each cause once, in one line without control characters, whatever its parts contain.
    #[test]
    fn prints_one_line() {
        let error = anyhow!("no such file")
            .context("cannot read\n  the key \u{1b}[31mk\u{9b}2J")
            .context("cannot connect");
        let printed = format!("{:?}", MainError::from(error));
        assert_eq!(
            printed,
            "cannot connect: cannot read the key \\u{1b}[31mk\\u{9b}2J: no such file"
        );
    }

    /// An SDK error that quotes its source, followed by that source.
    #[test]
    fn says_nothing_twice() {
        let status = tonic::Status::not_found("Namespace nope is not found.");
        let error = temporalio_client::errors::WorkflowStartError::from(status);
        assert_eq!(
            describe(&error),
            "Server error: Namespace nope is not found."
        );
    }
}
