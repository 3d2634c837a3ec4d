//! Keys by which another service recognizes that a request is a repetition.

use anyhow::anyhow;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityError, ActivityInfo},
};

/// Returns a key that all attempts at this activity share, and that no other activity has.
///
/// An activity runs at least once. If its worker dies after the side effect, the next attempt repeats it,
/// unless the other side recognizes the key.
///
/// The key is the run id and the activity id. A workflow id instead of the run id is a trap: activity ids
/// are counters that start over in each run, so a workflow id that is used again, or a run that continues as
/// new, would repeat the keys of earlier activities. If a reset, another run or another workflow must not
/// repeat the side effect either, take a key from the input instead, such as an order number.
///
/// A standalone activity has no workflow, and SDK 1.1.1 does not tell it its own run id. Its key has the time
/// at which it was scheduled instead, which stays the same in all attempts.
///
/// # Errors
/// A non-retryable failure if there is neither a run id nor that time. The server always sends them.
///
/// ```
/// # use shared::idempotency_key;
/// # use temporalio_sdk::activities::{ActivityContext, ActivityError};
/// # async fn charge(ctx: ActivityContext) -> Result<String, ActivityError> {
/// let key = idempotency_key(ctx.info())?;
/// # Ok(key)
/// # }
/// ```
pub fn idempotency_key(info: &ActivityInfo) -> Result<String, ActivityError> {
    let id = &info.activity_id;
    match (&info.workflow_run_id, info.scheduled_time) {
        (Some(run_id), _) if !is_standalone(info) => Ok(format!("{run_id}/{id}")),
        (_, Some(scheduled)) if is_standalone(info) => {
            let scheduled = humantime::format_rfc3339_nanos(scheduled);
            Ok(format!("{scheduled}/{id}"))
        }
        _ => {
            let failure = anyhow!(
                "there is no idempotency key for the activity {id}: the server sent neither a run id \
                 nor the time at which it was scheduled"
            );
            Err(ApplicationFailure::non_retryable(failure).into())
        }
    }
}

/// Whether an activity was started without a workflow. SDK 1.1.1 then gives an empty workflow id instead of
/// `None`.
pub(crate) fn is_standalone(info: &ActivityInfo) -> bool {
    info.workflow_id.as_deref().is_none_or(str::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};
    use temporalio_sdk::testing::TestActivityInfoOptions;

    /// The key of an activity of the workflow `workflow`, which was scheduled at this second.
    fn key(workflow: Option<&str>, run: &str, attempt: u32, second: Option<u64>) -> Option<String> {
        let scheduled = second.map(|second| SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        let info = TestActivityInfoOptions::builder()
            .workflow_id(workflow.map(str::to_owned))
            .workflow_run_id(Some(run.to_owned()))
            .scheduled_time(scheduled)
            .activity_id("7")
            .attempt(attempt);
        idempotency_key(&info.build()).ok()
    }

    /// All attempts have one key, and each run of a workflow and each standalone activity has its own. An
    /// activity for which there is none shares no key with others.
    #[test]
    fn keys_are_unique() {
        for (workflow, run, attempt, second, expected) in [
            (Some("w"), "run", 1, Some(1), Some("run/7")),
            (Some("w"), "run", 2, Some(2), Some("run/7")),
            (Some("w"), "next", 1, Some(1), Some("next/7")),
            // The SDK's actual value, and its documented value.
            (
                Some(""),
                "",
                1,
                Some(1),
                Some("1970-01-01T00:00:01.000000000Z/7"),
            ),
            (
                None,
                "",
                2,
                Some(1),
                Some("1970-01-01T00:00:01.000000000Z/7"),
            ),
            (
                Some(""),
                "",
                1,
                Some(2),
                Some("1970-01-01T00:00:02.000000000Z/7"),
            ),
            (Some(""), "", 1, None, None),
        ] {
            let key = key(workflow, run, attempt, second);
            assert_eq!(key.as_deref(), expected);
        }
    }
}
