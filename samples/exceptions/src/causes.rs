//! Reads the chain of causes of a failed workflow.

use crate::activities::ProcessingDetails;
use shared::printable;
use std::fmt;
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_common::{
    error::{ApplicationFailure, IncomingError},
    protos::temporal::api::history::v1::{HistoryEvent, history_event::Attributes},
};

/// One failure in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// The activity that failed, or the type of the application failure.
    pub what: String,
    /// Message of the failure.
    pub message: String,
    /// Number of the attempt, if known.
    pub attempt: Option<u32>,
    /// Why the server did not retry.
    pub retry_state: Option<String>,
    /// Where the error was created, with one frame per line. Often empty.
    pub stack_trace: String,
}

/// Returns the causes of a failed workflow, from the outermost to the original error.
///
/// `history` is the history of the workflow. It has the number of the attempt, which the failure of an
/// activity does not contain.
pub fn causes(error: &WorkflowGetResultError, history: &[HistoryEvent]) -> Vec<Cause> {
    let WorkflowGetResultError::Failed(failure) = error else {
        return Vec::new();
    };
    std::iter::successors(Some(&**failure), |failure| failure.cause())
        .map(|failure| cause(failure, history))
        .collect()
}

fn cause(failure: &IncomingError, history: &[HistoryEvent]) -> Cause {
    let (what, attempt, retry_state) = match failure {
        IncomingError::Activity(activity) => (
            format!("activity {}", activity.activity_type().unwrap_or("?")),
            attempt(activity.started_event_id(), history),
            Some(format!("{:?}", activity.retry_state())),
        ),
        IncomingError::Application(failure) => (
            failure
                .type_name()
                .unwrap_or("error without a type")
                .to_owned(),
            details(failure).map(|details| details.attempt),
            None,
        ),
        IncomingError::Timeout(timeout) => {
            (format!("timeout {:?}", timeout.timeout_type()), None, None)
        }
        _ => ("failure".to_owned(), None, None),
    };
    let proto = failure.failure();
    Cause {
        what,
        message: proto.message.clone(),
        attempt,
        retry_state,
        stack_trace: proto.stack_trace.clone(),
    }
}

/// Returns the details that the activity attached, if they have this type.
pub fn details(failure: &ApplicationFailure) -> Option<ProcessingDetails> {
    failure.details().ok().flatten()
}

fn attempt(started_event_id: i64, history: &[HistoryEvent]) -> Option<u32> {
    let started = history
        .iter()
        .find(|event| event.event_id == started_event_id)?;
    match &started.attributes {
        Some(Attributes::ActivityTaskStartedEventAttributes(started)) => {
            started.attempt.try_into().ok()
        }
        _ => None,
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.what))?;
        if let Some(attempt) = self.attempt {
            write!(f, ", attempt {attempt}")?;
        }
        if let Some(retry_state) = &self.retry_state {
            write!(f, ", {retry_state}")?;
        }
        write!(f, ": {}", printable(&self.message))?;
        for frame in self.stack_trace.lines() {
            write!(f, "\n           {}", printable(frame))?;
        }
        Ok(())
    }
}
