//! The activity, which stands in for one of several ways to get the same result.

use serde::{Deserialize, Serialize};
use shared::{last_heartbeat, stopped};
use std::time::Duration;
use temporalio_macros::activities;
use temporalio_sdk::{
    ApplicationFailure,
    activities::{ActivityContext, ActivityError},
};
use tokio::time::timeout;

/// Type of the failure of a branch that fails.
pub const BRANCH_FAILED: &str = "BranchFailed";

/// Time between two heartbeats.
const BEAT: Duration = Duration::from_secs(1);

/// One way to get the result: `{"branch_id":"option1","duration_seconds":10}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Branch {
    /// Name of the branch.
    pub branch_id: String,
    /// How long it takes.
    pub duration_seconds: u32,
    /// Whether it fails at its end.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fails: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The activities of this sample.
pub struct BranchActivities;

#[activities]
impl BranchActivities {
    /// Works for some seconds, with a heartbeat after each of them, and returns a text.
    #[activity(name = "sample_activity")]
    pub async fn sample_activity(
        ctx: ActivityContext,
        branch: Branch,
    ) -> Result<String, ActivityError> {
        // Goes on after the last heartbeat of an earlier attempt, whose worker may have died.
        let done: u32 = last_heartbeat(&ctx).unwrap_or(0);
        for second in done..branch.duration_seconds {
            // One second of work. It ends early when another branch has won.
            if timeout(BEAT, ctx.cancelled()).await.is_ok() {
                return Err(stopped(&ctx).await);
            }
            ctx.record_heartbeat(second + 1).await?;
        }
        let id = branch.branch_id;
        if branch.fails {
            let failure = ApplicationFailure::builder(format!("Branch {id} failed"))
                .type_name(BRANCH_FAILED.to_owned())
                .non_retryable(true);
            return Err(failure.build().into());
        }
        Ok(format!("Branch {id} completed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use temporalio_sdk::testing::{ActivityEnvironment, TestActivityInfoOptions};

    fn branch(duration_seconds: u32, fails: bool) -> Branch {
        Branch {
            branch_id: "a".to_owned(),
            duration_seconds,
            fails,
        }
    }

    /// The activity goes on after the last heartbeat of an earlier attempt.
    #[tokio::test]
    async fn resumes() -> anyhow::Result<()> {
        let beats = Arc::new(Mutex::new(Vec::new()));
        let beaten = beats.clone();
        let env = ActivityEnvironment::builder_with_default()
            .heartbeat_details(59_u32)?
            .on_heartbeat(move |second| {
                if let (Ok(second), Ok(mut beats)) = (second.downcast::<u32>(), beaten.lock()) {
                    beats.push(*second);
                }
            })
            .build();
        let result = env.run(BranchActivities::sample_activity, branch(60, false));
        assert_eq!(result.await?, "Branch a completed");
        assert_eq!(beats.lock().map(|beats| beats.clone()).ok(), Some(vec![60]));
        Ok(())
    }

    /// A branch fails if it is asked to, and stops when it is cancelled.
    #[tokio::test]
    async fn fails_and_stops() {
        let info = TestActivityInfoOptions::builder().workflow_id(None);
        let env = ActivityEnvironment::builder().info(info.build()).build();
        let failed = env.run(BranchActivities::sample_activity, branch(0, true));
        let error = failed.await.unwrap_err().to_string();
        assert!(error.contains("Branch a failed"), "{error}");
        env.cancel();
        let stopped = env.run(BranchActivities::sample_activity, branch(60, false));
        let error = stopped.await.unwrap_err().to_string();
        assert!(error.contains("Cancelled"), "{error}");
    }
}
