//! The activity. It uses a resource.

use crate::ledger::Ledger;
use serde::{Deserialize, Serialize};
use shared::stopped;
use std::{sync::Arc, time::Duration};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::timeout;

/// Default time that one use takes, in milliseconds.
pub const USE_MS: u32 = 300;

/// Longest time between two heartbeats.
const STEP: Duration = Duration::from_millis(250);

/// One of the two times that a user uses its resource. On the wire: `first` or `second`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Iteration {
    /// The first time.
    First,
    /// The second time.
    Second,
}

/// Input of `use_resource`: `{"resource":"resource_a","iteration":"first","release_key":"1764000000000"}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct UseResource {
    /// Name of the resource.
    pub resource: String,
    /// Which of the two times it is.
    pub iteration: Iteration,
    /// Key of the holder, so that the resource can refuse a holder that has lost it.
    #[serde(default)]
    pub release_key: String,
}

/// The activities of this sample.
#[derive(Clone, Debug, Default)]
pub struct ResourceActivities {
    /// How long one use takes.
    pub use_time: Duration,
    /// Where the resources record who uses them.
    pub ledger: Option<Ledger>,
}

#[activities]
impl ResourceActivities {
    /// Uses a resource for some time.
    #[activity(name = "use_resource")]
    pub async fn use_resource(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: UseResource,
    ) -> Result<(), ActivityError> {
        let UseResource {
            resource,
            iteration,
            release_key: key,
        } = input;
        let workflow_id = ctx.info().workflow_id.clone().unwrap_or_default();
        tracing::info!(resource, ?iteration, "in use");
        if let Some(ledger) = &self.ledger {
            ledger.enter(&resource, &key, &workflow_id)?;
        }
        let used = work(&ctx, self.use_time).await;
        if let Some(ledger) = &self.ledger {
            ledger.leave(&resource, &key, &workflow_id)?;
        }
        used
    }
}

/// Works, with heartbeats, so that the server notices soon if the worker dies.
async fn work(ctx: &ActivityContext, mut left: Duration) -> Result<(), ActivityError> {
    while !left.is_zero() {
        let step = left.min(STEP);
        // Ends early when the activity must stop.
        if timeout(step, ctx.cancelled()).await.is_ok() {
            return Err(stopped(ctx).await);
        }
        left -= step;
        ctx.record_heartbeat(()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_sdk::testing::{ActivityEnvironment, TestActivityInfoOptions};

    fn input() -> UseResource {
        UseResource {
            resource: "resource_a".to_owned(),
            iteration: Iteration::First,
            release_key: "1764000000000".to_owned(),
        }
    }

    /// The activity sends heartbeats while it works. When it must stop, it leaves the resource first.
    #[tokio::test]
    async fn leaves_when_it_is_cancelled() -> anyhow::Result<()> {
        let file = std::env::temp_dir().join(format!("use-resource-{}.txt", std::process::id()));
        let activities = ResourceActivities {
            use_time: Duration::from_secs(3600),
            ledger: Some(Ledger::new(file.clone())),
        };
        let first_beat = Arc::new(tokio::sync::Notify::new());
        let notify = first_beat.clone();
        // Without a workflow, nobody is asked why the activity must stop.
        let info = TestActivityInfoOptions::builder().workflow_id(None);
        let env = ActivityEnvironment::builder()
            .register_activities(activities)
            .info(info.build())
            .on_heartbeat(move |_| notify.notify_one())
            .build();
        let cancelling = async {
            first_beat.notified().await;
            env.cancel();
        };
        let using = env.run(ResourceActivities::use_resource, input());
        let (used, ()) = futures::future::join(using, cancelling).await;
        let lines = std::fs::read_to_string(&file);
        std::fs::remove_file(file)?;
        assert!(used.is_err());
        assert_eq!(
            lines?,
            "enter 1764000000000 resource_a\t\nleave 1764000000000 resource_a\t\n"
        );
        Ok(())
    }

    /// Without a key, as clients in other languages send it, the input decodes.
    #[test]
    fn the_key_is_optional() -> anyhow::Result<()> {
        let json = r#"{"resource":"resource_a","iteration":"first"}"#;
        let expected = UseResource {
            release_key: String::new(),
            ..input()
        };
        assert_eq!(serde_json::from_str::<UseResource>(json)?, expected);
        Ok(())
    }
}
