//! Why a workflow failed: its chain of causes, one after the other.

use crate::activities::ProcessingDetails;
use shared::printable;
use std::fmt;
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_common::{
    error::{ApplicationFailure, IncomingError},
    protos::temporal::api::history::v1::{HistoryEvent, history_event::Attributes},
};

/// One link of the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// What failed: an activity, or the type of an application failure.
    pub what: String,
    /// In its own words.
    pub message: String,
    /// Which attempt it was, where that is known.
    pub attempt: Option<u32>,
    /// Why the server did not try again.
    pub retry_state: Option<String>,
    /// Where the error was made, a frame a line; often empty.
    pub stack_trace: String,
}

/// The causes of a failed workflow, from the outermost to the one that began it.
///
/// `history` is the workflow's, in which the number of attempts stands: a failure of an activity
/// itself does not tell.
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

/// The details that the activity attached, if they are of this type.
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
