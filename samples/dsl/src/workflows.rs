//! The workflow. It interprets a document.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{
    check::check_size,
    document::{Activity, Document, Parallel, Sequence, Statement},
};
use futures::future::LocalBoxFuture;
use shared::{Input, Json, OrCancelled, TOO_LARGE};
use std::{cell::RefCell, collections::BTreeMap, mem, time::Duration};
use temporalio_common::{ActivityDefinition, data_converters::RawValue};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, WorkflowCancellationToken, WorkflowContext,
    WorkflowResult, workflows::join_all,
};

/// Time limit for one attempt of an activity, unless the document sets another one.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

/// An activity that is called by its name, and returns a string.
struct Named(String);

impl ActivityDefinition for Named {
    /// One payload for each argument.
    type Input = RawValue;
    type Output = Json<String>;

    fn name(&self) -> &str {
        &self.0
    }
}

/// Executes a document.
#[workflow]
#[derive(Default)]
pub struct DSLWorkflow {
    variables: BTreeMap<String, String>,
}

#[workflow_methods]
impl DSLWorkflow {
    /// Returns the final variables. A document with a fault does not decode, so the workflow fails before the first
    /// activity.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        document: Input<Document>,
    ) -> WorkflowResult<BTreeMap<String, String>> {
        let Document {
            variables, root, ..
        } = document.decode(ctx)?;
        ctx.state_mut(|workflow| workflow.variables = variables);
        let stop = ctx.cancellation_token();
        Self::execute(ctx, &root, &stop).await.or_cancelled(ctx)?;
        Ok(ctx.state_mut(|workflow| mem::take(&mut workflow.variables)))
    }
}

impl DSLWorkflow {
    /// Executes a statement, which `stop` cancels. Boxed, because statements contain statements.
    fn execute<'a>(
        ctx: &'a WorkflowContext<Self>,
        statement: &'a Statement,
        stop: &'a WorkflowCancellationToken,
    ) -> LocalBoxFuture<'a, WorkflowResult<()>> {
        Box::pin(async move {
            match statement {
                Statement::Activity(activity) => Self::call(ctx, activity, stop).await,
                Statement::Sequence(Sequence { elements }) => {
                    for element in elements {
                        Self::execute(ctx, element, stop).await?;
                    }
                    Ok(())
                }
                Statement::Parallel(Parallel { branches }) => Self::all(ctx, branches, stop).await,
            }
        })
    }

    /// Executes branches side by side. The first one that fails cancels the others.
    async fn all(
        ctx: &WorkflowContext<Self>,
        branches: &[Statement],
        stop: &WorkflowCancellationToken,
    ) -> WorkflowResult<()> {
        let stop = stop.child_token();
        let failure = RefCell::new(None);
        join_all(branches.iter().map(async |branch| {
            if let Err(error) = Self::execute(ctx, branch, &stop).await {
                // Only the first failure counts. The others follow from its cancellation.
                failure.borrow_mut().get_or_insert(error);
                stop.cancel();
            }
        }))
        .await;
        match failure.into_inner() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Calls an activity with the variables that it takes, and sets the variable for its result.
    async fn call(
        ctx: &WorkflowContext<Self>,
        activity: &Activity,
        stop: &WorkflowCancellationToken,
    ) -> WorkflowResult<()> {
        let converter = ctx.payload_converter();
        let arguments = ctx.state(|workflow| {
            let names = activity.arguments.iter().flatten();
            let values = names.filter_map(|name| workflow.variables.get(name));
            values
                .flat_map(|value| RawValue::from_value(value, converter).payloads)
                .collect()
        });
        let timeout = activity.timeout_seconds.map_or(ATTEMPT_TIMEOUT, |seconds| {
            Duration::from_secs(seconds.get().into())
        });
        let options = ActivityOptions::with_start_to_close_timeout(timeout)
            .cancellation_token(stop.clone())
            .build();
        let named = Named(activity.name.clone());
        // Without `or_cancelled`, which `run` calls for the whole document.
        let Json(value) = ctx
            .execute_activity(named, RawValue::new(arguments), options)
            .await?;
        if let Some(result) = &activity.result {
            ctx.state_mut(|workflow| {
                workflow.variables.insert(result.clone(), value);
                check_size(&workflow.variables)
            })
            .map_err(|reason| too_large(&activity.name, &reason))?;
        }
        Ok(())
    }
}

/// A short document can double a variable again and again. If the variables were too large for an activity or for the
/// result, the workflow task would fail forever.
fn too_large(name: &str, reason: &str) -> ApplicationFailure {
    ApplicationFailure::builder(format!("after {name}, {reason}"))
        .type_name(TOO_LARGE.to_owned())
        .non_retryable(true)
        .build()
}
