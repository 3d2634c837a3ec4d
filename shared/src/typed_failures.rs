//! Typed failures of updates and queries. The SDK drops everything but their message.

use std::{error::Error, fmt};
use temporalio_common::{
    data_converters::{
        DefaultFailureConverter, FailureConverter, PayloadConversionError, PayloadConverter,
        SerializationContextData,
    },
    error::{ApplicationFailure, IncomingError, OutgoingError, OutgoingWorkflowError},
    protos::temporal::api::failure::v1::Failure,
};

/// A failure converter that keeps the type, the details, the cause and the non-retryable flag of the
/// [`ApplicationFailure`] that an update handler, a validator or a query handler returns.
///
/// SDK 1.1.1 wraps the error of a handler in a new failure, which has only the message. This converter sends
/// the original failure instead. The handler returns it like any other error:
///
/// ```
/// # use temporalio_sdk::ApplicationFailure;
/// # use std::error::Error;
/// fn check(quantity: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
///     if quantity == 0 {
///         let failure = ApplicationFailure::builder("the quantity is 0")
///             .type_name("EmptyOrder".to_owned())
///             .details(quantity);
///         return Err(failure.build().into());
///     }
///     Ok(())
/// }
/// ```
///
/// An `anyhow::Error` hides the failure in it, so convert the failure itself into the handler's error, as
/// above. Details are written by the SDK's own payload converter, whatever converter the worker has; the
/// codec encodes them as usual.
///
/// The server (1.32) passes on only the message of a query's failure, so its type does not reach the client.
///
/// [`data_converter`](crate::data_converter) contains this converter. Put it around, or into, any other one.
#[derive(Default)]
pub struct TypedFailures<C = DefaultFailureConverter>(
    /// Converter that makes the failures.
    pub C,
);

/// The failure that a handler has returned, if the SDK has wrapped one in `failure`.
pub(crate) fn of_handler(failure: &ApplicationFailure) -> Option<&ApplicationFailure> {
    let plain = failure.type_name().is_none() && !failure.is_non_retryable();
    failure.source_error().downcast_ref().filter(|_| plain)
}

/// An error whose source is the failure of a handler.
///
/// The details of a failure can be encoded only by the SDK, which encodes the cause of a failure in full.
/// So the handler's failure becomes a cause.
#[derive(Debug)]
struct Handler(Box<ApplicationFailure>);

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Handler {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.0.source_error())
    }
}

impl<C: FailureConverter> FailureConverter for TypedFailures<C> {
    fn to_failure(
        &self,
        error: OutgoingError,
        payload_converter: &PayloadConverter,
        context: &SerializationContextData,
    ) -> Failure {
        match error {
            OutgoingError::Workflow(OutgoingWorkflowError::Application(wrapped))
                if of_handler(&wrapped).is_some() =>
            {
                let error = ApplicationFailure::new(Handler(wrapped)).into();
                let error = OutgoingError::Workflow(error);
                let mut failure = self.0.to_failure(error, payload_converter, context);
                match failure.cause.take() {
                    Some(of_handler) => *of_handler,
                    None => failure,
                }
            }
            other => self.0.to_failure(other, payload_converter, context),
        }
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
    use crate::{FAILURE_SOURCE, FilledFailures, StackTraces, Traced};
    use std::time::Duration;
    use temporalio_common::{
        error::ApplicationErrorCategory::Benign,
        protos::temporal::api::failure::v1::failure::FailureInfo,
    };

    /// Returns what the converter makes of an error that a handler returns.
    fn convert(
        converter: &impl FailureConverter,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Failure {
        converter.to_failure(
            // As the SDK wraps it.
            OutgoingWorkflowError::from(Box::new(ApplicationFailure::new(error))).into(),
            &PayloadConverter::default(),
            &SerializationContextData::None,
        )
    }

    fn typed(error: impl Into<Box<dyn Error + Send + Sync>>) -> ApplicationFailure {
        ApplicationFailure::builder(error)
            .type_name("OutOfStock".to_owned())
            .non_retryable(true)
            .next_retry_delay(Duration::from_secs(7))
            .category(Benign)
            .details(vec![1, 2])
            .build()
    }

    /// All fields of a failure arrive, with each order of the converters. The SDK's own converter loses them;
    /// when it does not, this one is no longer needed.
    #[test]
    fn keeps_all_fields() {
        let error = || typed(anyhow::anyhow!("no apples").context("cannot order"));
        let failures = [
            convert(
                &TypedFailures::<DefaultFailureConverter>::default(),
                error(),
            ),
            convert(
                &TypedFailures(FilledFailures::<DefaultFailureConverter>::default()),
                error(),
            ),
            convert(&FilledFailures::<TypedFailures>::default(), error()),
            convert(&StackTraces::new(&[]), error()),
        ];
        for (index, failure) in failures.into_iter().enumerate() {
            let cause = failure.cause.unwrap_or_default();
            assert_eq!(
                (&*failure.message, &*cause.message),
                ("cannot order", "no apples")
            );
            assert!(cause.cause.is_none(), "{cause:?}");
            let source = if index == 0 { "" } else { FAILURE_SOURCE };
            assert_eq!((&*failure.source, &*cause.source), (source, source));
            let Some(FailureInfo::ApplicationFailureInfo(info)) = failure.failure_info else {
                panic!("not an application failure");
            };
            assert_eq!(info.r#type, "OutOfStock");
            assert!(info.non_retryable);
            assert_eq!(info.category(), Benign.into());
            assert_eq!(info.next_retry_delay.map(|delay| delay.seconds), Some(7));
            let details = info.details.unwrap_or_default().payloads;
            assert_eq!(details.len(), 1);
            assert_eq!(details[0].data, b"[1,2]");
        }
        let failure = convert(&DefaultFailureConverter::default(), error());
        let info = failure
            .maybe_application_failure()
            .cloned()
            .unwrap_or_default();
        assert_eq!(
            (&*info.r#type, info.non_retryable, info.details),
            ("", false, None)
        );
    }

    /// A failure without type, a failure that a workflow made, and any other error stay as they are.
    #[test]
    fn leaves_other_errors() {
        let ours = TypedFailures::<DefaultFailureConverter>::default();
        let sdks = DefaultFailureConverter::default();
        let plain = || anyhow::anyhow!("no apples").context("cannot order");
        assert_eq!(convert(&ours, plain()), convert(&sdks, plain()));
        let message = |failure: Failure| (failure.message, failure.cause.is_some());
        let untyped = ApplicationFailure::new("no apples");
        assert_eq!(
            message(convert(&ours, untyped)),
            ("no apples".to_owned(), false)
        );
        let of_a_workflow = || {
            let error = OutgoingWorkflowError::from(Box::new(typed(typed("no apples"))));
            OutgoingError::from(error)
        };
        let json = PayloadConverter::default();
        let none = SerializationContextData::None;
        assert_eq!(
            ours.to_failure(of_a_workflow(), &json, &none),
            sdks.to_failure(of_a_workflow(), &json, &none)
        );
    }

    /// The stack trace of the failure that a handler returns arrives, and nothing after it.
    #[test]
    fn keeps_the_stack_trace() {
        let error = typed(Traced::new(std::io::Error::other("no disk")));
        let failure = convert(&StackTraces::new(&[env!("CARGO_CRATE_NAME")]), error);
        assert!(
            failure.stack_trace.contains("src/typed_failures.rs"),
            "{failure:?}"
        );
        assert!(!failure.stack_trace.contains("type_name"), "{failure:?}");
    }
}
