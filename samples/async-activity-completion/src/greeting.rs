//! A job on another machine instead of a person: the service heartbeats while it works, and learns about a
//! cancellation.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::service_client::ServiceClient;
use serde::{Deserialize, Serialize};
use shared::{Input, OrCancelled};
use std::{sync::Arc, time::Duration};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

/// Time limit of an attempt.
pub const START_TO_CLOSE: Duration = Duration::from_secs(10);

/// Input of `compose_greeting`: `{"greeting":"Hello","name":"World"}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ComposeGreetingInput {
    /// Word to greet with.
    pub greeting: String,
    /// Name to greet.
    pub name: String,
}

/// Gets a greeting that the service composes.
#[workflow]
#[derive(Default)]
pub struct GreetingWorkflow;

#[workflow_methods]
impl GreetingWorkflow {
    /// Returns the greeting.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        name: Input<String>,
    ) -> WorkflowResult<String> {
        let input = ComposeGreetingInput {
            greeting: "Hello".to_owned(),
            name: name.decode(ctx)?,
        };
        let options = ActivityOptions::with_start_to_close_timeout(START_TO_CLOSE)
            // If the service dies, another attempt begins after two seconds, with another task token.
            .heartbeat_timeout(Duration::from_secs(2))
            // By default a cancelled workflow does not wait until the service has stopped.
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .build();
        ctx.execute_activity(GreetingActivities::compose_greeting, input, options)
            .await
            .or_cancelled(ctx)
    }
}

/// The activity of `GreetingWorkflow`.
pub struct GreetingActivities {
    service: ServiceClient,
}

#[activities]
impl GreetingActivities {
    /// Hands the work and the task token to the service, which completes this activity.
    #[activity(name = "compose_greeting")]
    pub async fn compose_greeting(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ComposeGreetingInput,
    ) -> Result<String, ActivityError> {
        let token = &ctx.info().task_token;
        self.service.compose_greeting(&input, token).await?;
        Err(ActivityError::WillCompleteAsync)
    }
}

impl GreetingActivities {
    /// Creates the activity, which calls `service`.
    pub fn new(service: ServiceClient) -> Self {
        Self { service }
    }
}
