//! Waits with a time limit, so that a test fails instead of hanging.

use crate::TEST_TIMEOUT;
use anyhow::Context;
use std::{fmt::Display, time::Duration};
use tokio::time::{sleep, timeout};

/// Pause before the second request, and the longest pause between two. Otherwise the server would be busy with nothing
/// else.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(100)];

/// The limit. It is shorter in the tests of this crate, which wait until it has passed.
const LIMIT: Duration = match cfg!(test) {
    true => Duration::from_millis(300),
    false => TEST_TIMEOUT,
};

/// Waits for `future`, but no longer than [`TEST_TIMEOUT`].
///
/// # Errors
/// Those of `future`. Also if it takes too long: the error then says what the test waited for.
pub async fn within<T>(
    what: impl Display,
    future: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let waited = timeout(LIMIT, future).await;
    waited.with_context(|| format!("waited {LIMIT:?} for {what}"))?
}

/// Calls `ask` again and again until it returns a value, and returns that value.
///
/// # Errors
/// Those of `ask`. Also if there is no value within [`TEST_TIMEOUT`]: the error then says what the test waited
/// for.
pub async fn eventually<T>(
    what: impl Display,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let answer = async {
        let [mut pause, longest] = PAUSES;
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            sleep(pause).await;
            pause = longest.min(pause * 5 / 4);
        }
    };
    within(what, answer).await
}

#[cfg(test)]
mod tests {
    use crate::{TestEnv, eventually, until, until_pending, within};
    use anyhow::{Context, bail};
    use std::{fmt::Debug, time::Duration};
    use temporalio_client::UntypedWorkflow;
    use temporalio_common::protos::temporal::api::enums::v1::EventType;

    /// Returns the error of a wait, which must end by itself.
    async fn error<T: Debug>(
        wait: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<String> {
        let ended = tokio::time::timeout(Duration::from_secs(20), wait).await;
        let ended = ended.context("it has no limit")?;
        Ok(ended.expect_err("nothing to wait for").to_string())
    }

    /// Each wait ends with an error that says what it waited for. No worker runs this workflow.
    #[tokio::test]
    async fn every_wait_has_a_limit() -> anyhow::Result<()> {
        let env = TestEnv::new().await?;
        let handle = env
            .start_json::<UntypedWorkflow>("NobodyRunsThis", &[])
            .await?;
        let id = &handle.info().workflow_id;
        let event = error(until(&handle, EventType::ActivityTaskScheduled)).await?;
        let expected = format!("waited 300ms for EVENT_TYPE_ACTIVITY_TASK_SCHEDULED of {id}");
        assert_eq!(event, expected);
        let pending = error(until_pending(&handle, |_| true)).await?;
        assert_eq!(
            pending,
            format!("waited 300ms for pending activity of {id}")
        );
        let answer = error(eventually("an answer", async || Ok(None::<()>))).await?;
        assert_eq!(answer, "waited 300ms for an answer");
        let forever = error(within(
            "the end",
            std::future::pending::<anyhow::Result<()>>(),
        ));
        assert_eq!(forever.await?, "waited 300ms for the end");
        // An error needs no limit.
        let failed = error(eventually(
            "an answer",
            async || -> anyhow::Result<Option<()>> { bail!("no answer") },
        ));
        assert_eq!(failed.await?, "no answer");
        handle.terminate(Default::default()).await?;
        Ok(())
    }
}
