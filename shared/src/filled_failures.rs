//! Fields of failures that the SDK leaves empty, although other SDKs fill them.

use crate::foreign::WRONG_ENCODING;
use temporalio_common::{
    data_converters::{
        DefaultFailureConverter, FailureConverter, PayloadConversionError, PayloadConverter,
        SerializationContextData,
    },
    error::{
        ChildWorkflowStartError, IncomingError, OutgoingError, OutgoingWorkflowError,
        StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
    },
    protos::temporal::api::failure::v1::{Failure, failure::FailureInfo},
};

/// Value of `source` in failures that this SDK makes. Go has `GoSDK` there, Java `JavaSDK`.
pub const FAILURE_SOURCE: &str = "RustSDK";

/// Type of the failure of a workflow whose child could not start, because another workflow has its id.
pub const CHILD_ID_TAKEN: &str = "WorkflowExecutionAlreadyStarted";

/// A failure converter that fills what SDK 1.1.1 leaves empty: the [`FAILURE_SOURCE`] of a failure and of its causes,
/// and the type [`CHILD_ID_TAKEN`]. It also says more than `Wrong encoding` if an activity cannot read its arguments.
#[derive(Default)]
pub struct FilledFailures<C = DefaultFailureConverter>(
    /// Converter that makes the failures.
    pub C,
);

fn id_taken(error: &OutgoingError) -> bool {
    let OutgoingError::Workflow(OutgoingWorkflowError::ChildWorkflowStart(start)) = error else {
        return false;
    };
    matches!(
        **start,
        ChildWorkflowStartError::StartFailed {
            cause: WorkflowAlreadyExists,
            ..
        }
    )
}

impl<C: FailureConverter> FailureConverter for FilledFailures<C> {
    fn to_failure(
        &self,
        error: OutgoingError,
        payload_converter: &PayloadConverter,
        context: &SerializationContextData,
    ) -> Failure {
        let id_taken = id_taken(&error);
        let mut failure = self.0.to_failure(error, payload_converter, context);
        if id_taken
            && let Some(FailureInfo::ApplicationFailureInfo(info)) = &mut failure.failure_info
        {
            info.r#type = CHILD_ID_TAKEN.to_owned();
        }
        if failure.message == WRONG_ENCODING {
            failure.message =
                "the arguments cannot be read: their number is wrong, or the encoding of one \
                 (if it is binary/encrypted, start the worker with the key)"
                    .to_owned();
        }
        let mut next = Some(&mut failure);
        while let Some(failure) = next {
            // A failure that is passed on keeps its source.
            if failure.source.is_empty() {
                failure.source = FAILURE_SOURCE.to_owned();
            }
            next = failure.cause.as_deref_mut();
        }
        failure
    }

    fn to_error(
        &self,
        failure: Failure,
        payload_converter: &PayloadConverter,
        context: &SerializationContextData,
    ) -> Result<IncomingError, PayloadConversionError> {
        self.0.to_error(failure, payload_converter, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use temporalio_common::data_converters::{ActivityExecutionDecodeHint, DataConverter};
    use temporalio_sdk::ApplicationFailure;

    fn convert(error: impl Into<OutgoingWorkflowError>) -> Failure {
        FilledFailures::<DefaultFailureConverter>::default().to_failure(
            OutgoingError::Workflow(error.into()),
            &PayloadConverter::default(),
            &SerializationContextData::None,
        )
    }

    /// A failure and its causes say where they come from, and one that is passed on keeps its source.
    #[test]
    fn fills_the_source() -> anyhow::Result<()> {
        let error = anyhow!("no disk").context("cannot write");
        let mut failure = convert(Box::new(ApplicationFailure::new(error)));
        let cause = failure.cause.clone().unwrap_or_default();
        assert_eq!(
            (&*failure.source, &*cause.source),
            (FAILURE_SOURCE, FAILURE_SOURCE)
        );

        // The failure of an activity in Go, which the workflow passes on.
        failure.source = "GoSDK".to_owned();
        let converter = DataConverter::default();
        let context = SerializationContextData::None;
        let hint = ActivityExecutionDecodeHint::new(false);
        let passed_on = convert(Box::new(converter.to_error(&context, failure, hint)?));
        assert_eq!(passed_on.source, "GoSDK");
        Ok(())
    }

    /// A workflow whose child's id is taken fails with a type. One whose namespace is unknown does not get
    /// that type.
    #[test]
    fn names_a_taken_id() {
        for (cause, expected) in [
            (WorkflowAlreadyExists, CHILD_ID_TAKEN),
            (
                temporalio_common::error::StartChildWorkflowExecutionFailedCause::NamespaceNotFound,
                "",
            ),
        ] {
            let start = ChildWorkflowStartError::StartFailed {
                workflow_id: "id".to_owned(),
                workflow_type: "Child".to_owned(),
                cause,
            };
            let failure = convert(Box::new(start));
            let info = failure.maybe_application_failure();
            assert_eq!(info.map(|info| &*info.r#type), Some(expected));
            assert_eq!(failure.source, FAILURE_SOURCE);
        }
    }
}
