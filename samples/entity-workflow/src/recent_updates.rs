//! Lets the workflow recognize an update that an earlier run has completed.
//!
//! The server handles an update once within a run, by its id. But a run knows nothing about the updates of the run
//! before it, and a client that has not received an answer sends its update again. So the workflow itself remembers
//! the ids of its recent updates and their outcomes, and passes them to the next run.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::account::{MAX_TEXT, short_text};
use serde::{Deserialize, Serialize};
use shared::at_most;
use std::{error::Error, rc::Rc};
use temporalio_sdk::{
    ActivityExecutionError, ApplicationFailure, WorkflowContext, WorkflowContextKey,
    workflow_interceptors::{
        HandleUpdateInput, HandleUpdateResult, WorkflowInterceptor, WorkflowInterceptorConstructor,
        WorkflowInterceptorContext, WorkflowInterceptorFuture, WorkflowNext,
    },
};

/// Number of updates to remember. A run forgets an update when this many other ones have been completed after it. This
/// many updates with the longest ids and failures fit into the input of the next run.
pub const REMEMBERED: usize = 100;

/// Maximum length of the type and of the text of a failure that is remembered, in bytes.
const MAX_FAILURE_TEXT: usize = 500;

/// Interceptor that tells the handler of an update the update's id, which the SDK does not.
///
/// The id is in the history, so a handler reads the same id when the worker replays the workflow.
#[derive(Clone, Copy, Debug)]
pub struct UpdateIds;

struct UpdateId;

impl WorkflowContextKey for UpdateId {
    type Value = String;
}

impl UpdateIds {
    /// For [`temporalio_sdk::WorkerOptions`], which makes one for each workflow.
    pub fn in_workflows() -> WorkflowInterceptorConstructor {
        WorkflowInterceptorConstructor::new(|_| Self)
    }

    /// Returns the id of the update whose handler runs.
    ///
    /// # Errors
    /// Outside a handler of an update, and in a worker that does not have this interceptor.
    pub fn current<W>(ctx: &WorkflowContext<W>) -> Result<Rc<String>, &'static str> {
        let id = ctx.context_value::<UpdateId>();
        id.ok_or(
            "the update has no id: register `UpdateIds::in_workflows()` in the worker's options",
        )
    }
}

impl WorkflowInterceptor for UpdateIds {
    fn handle_update<'a>(
        &'a self,
        ctx: WorkflowInterceptorContext,
        input: HandleUpdateInput,
        next: WorkflowNext<
            'a,
            HandleUpdateInput,
            WorkflowInterceptorFuture<'a, HandleUpdateResult>,
        >,
    ) -> WorkflowInterceptorFuture<'a, HandleUpdateResult> {
        let id = input.id().to_owned();
        WorkflowInterceptorFuture::new(async move {
            // A handler that is not `async` runs in the first line, and an `async` one in the second.
            let handler =
                ctx.with_context_value_sync::<UpdateId, _>(id.clone(), || next.run(input));
            ctx.with_context_value::<UpdateId, _>(id, handler).await
        })
    }
}

/// Why an update failed. Unlike an [`ApplicationFailure`], it can be kept and passed to the next run.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct UpdateFailure {
    /// Type of the failure, by which clients recognize it.
    #[serde(deserialize_with = "short_text::<_, MAX_FAILURE_TEXT>")]
    pub r#type: String,
    /// Text of the failure.
    #[serde(deserialize_with = "short_text::<_, MAX_FAILURE_TEXT>")]
    pub message: String,
}

impl UpdateFailure {
    /// Creates a failure of this type. A text that is too long is cut.
    pub fn new(r#type: &str, message: &str) -> Self {
        let cut = |text: &str| text[..text.floor_char_boundary(MAX_FAILURE_TEXT)].to_owned();
        Self {
            r#type: cut(r#type),
            message: cut(message),
        }
    }

    /// Returns what a handler returns as its error.
    pub fn into_error(self) -> Box<dyn Error + Send + Sync> {
        let failure = ApplicationFailure::builder(self.message)
            .type_name(self.r#type)
            .non_retryable(true);
        failure.build().into()
    }
}

/// The type and the text of the activity's own failure, if it has any.
impl From<ActivityExecutionError> for UpdateFailure {
    fn from(error: ActivityExecutionError) -> Self {
        let cause = error.cause().map(|cause| cause.failure());
        let Some(failure) = cause.or(error.failure()) else {
            return Self::new("", &error.to_string());
        };
        let application = failure.maybe_application_failure();
        let r#type = application.map_or("", |application| &application.r#type);
        Self::new(r#type, &failure.message)
    }
}

/// An update that has been completed: `{"update_id":"suspend-1","failure":null}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct CompletedUpdate {
    // The server accepts ids of 1,000 bytes.
    #[serde(deserialize_with = "short_text::<_, MAX_TEXT>")]
    update_id: String,
    failure: Option<UpdateFailure>,
}

/// The last [`REMEMBERED`] updates that have been completed, the oldest first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct RecentUpdates(
    #[serde(deserialize_with = "at_most::<_, _, REMEMBERED>")] Vec<CompletedUpdate>,
);

impl RecentUpdates {
    /// Returns how the update with this id ended, if it is known.
    pub fn outcome(&self, update_id: &str) -> Option<Result<(), UpdateFailure>> {
        let known = self.0.iter().find(|known| known.update_id == update_id)?;
        Some(known.failure.clone().map_or(Ok(()), Err))
    }

    /// Remembers how an update ended, and forgets the oldest one if there are too many.
    pub fn remember(&mut self, update_id: &str, outcome: &Result<(), UpdateFailure>) {
        if self.0.len() == REMEMBERED {
            self.0.remove(0);
        }
        self.0.push(CompletedUpdate {
            update_id: update_id.to_owned(),
            failure: outcome.clone().err(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};
    use shared::MAX_INPUT;

    /// The outcome of each of the last updates is known, also after a run has passed them to the next one.
    #[test]
    fn remembers_the_last_updates() -> anyhow::Result<()> {
        let mut recent = RecentUpdates::default();
        let failure = UpdateFailure::new("InvalidProfile", "no @");
        for number in 0..=REMEMBERED {
            let outcome = match number {
                7 => Err(failure.clone()),
                _ => Ok(()),
            };
            recent.remember(&format!("update-{number}"), &outcome);
        }
        let recent: RecentUpdates = from_value(to_value(recent)?)?;
        assert_eq!(recent.outcome("update-0"), None);
        assert_eq!(recent.outcome("update-1"), Some(Ok(())));
        assert_eq!(recent.outcome("update-7"), Some(Err(failure)));
        assert_eq!(recent.outcome("update-100"), Some(Ok(())));
        assert_eq!(recent.outcome("update-101"), None);
        Ok(())
    }

    /// The longest ids and failures, with characters that JSON escapes, leave room for the rest of the input.
    #[test]
    fn fits_into_the_next_input() -> anyhow::Result<()> {
        let mut recent = RecentUpdates::default();
        let long = "\u{1}".repeat(10 * MAX_TEXT);
        let failure = UpdateFailure::new(&long, &long);
        for number in 0..REMEMBERED {
            let id = format!("{number:0>8}{}", &long[..MAX_TEXT - 8]);
            recent.remember(&id, &Err(failure.clone()));
        }
        let json = to_value(&recent)?;
        let bytes = json.to_string().len();
        assert!(bytes + 8 * 6 * MAX_TEXT < MAX_INPUT, "{bytes} bytes");
        assert_eq!(from_value::<RecentUpdates>(json)?, recent);
        // Cut between two characters.
        let failure = UpdateFailure::new("", &"ä".repeat(MAX_TEXT));
        assert_eq!(failure.message.len(), MAX_FAILURE_TEXT);
        let failure = UpdateFailure::new("", &format!("x{}", "ä".repeat(MAX_TEXT)));
        assert_eq!(failure.message.len(), MAX_FAILURE_TEXT - 1);
        Ok(())
    }

    /// A client cannot start a workflow with more than that.
    #[test]
    fn refuses_more() {
        let one = |id: &str| json!({"update_id": id, "failure": null});
        for (json, expected) in [
            (vec![one("a"); REMEMBERED + 1].into(), "101 items"),
            (
                json!([one(&"x".repeat(MAX_TEXT + 1))]),
                "the text has 1001 bytes",
            ),
            (
                json!([{"update_id": "a", "failure": {"type": "", "message": "x".repeat(501)}}]),
                "the text has 501 bytes",
            ),
        ] {
            let reason = from_value::<RecentUpdates>(json)
                .err()
                .map(|error| error.to_string());
            let reason = reason.unwrap_or_default();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
