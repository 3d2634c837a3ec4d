//! A converter that encrypts failures. Messages and stack traces are not payloads, so a codec does not see
//! them. The converter moves them into a payload.

use serde::{Deserialize, Serialize};
use std::mem::take;
use temporalio_common::{
    data_converters::{
        DefaultFailureConverter, FailureConverter, GenericPayloadConverter, PayloadConversionError,
        PayloadConverter, SerializationContext, SerializationContextData,
    },
    error::{IncomingError, OutgoingError},
    protos::temporal::api::failure::v1::Failure,
};

/// The message that replaces the encrypted one. It is the same in every SDK.
const ENCODED: &str = "Encoded failure";

/// The contents of `encoded_attributes`. They are the same in every SDK.
#[derive(Deserialize, Serialize)]
struct Attributes {
    message: String,
    stack_trace: String,
}

/// A failure converter that moves the texts of another converter's failures into a payload, which the codec
/// then encrypts.
///
/// Use it in place of the SDK's `DefaultFailureConverter::new(true)`. That one encodes the failure of an
/// activity a second time if a workflow passes it on, so the client reads `Encoded failure`. It also has no
/// stack traces, whereas this one keeps those of `inner`, for example of the converter in the sample exceptions:
///
/// ```
/// use encryption::failures::EncodedFailures;
/// use payload_codec::EncryptionCodec;
/// use shared::StackTraces;
/// use temporalio_common::data_converters::{DataConverter, PayloadConverter};
///
/// fn data_converter(codec: EncryptionCodec) -> DataConverter {
///     let failures = EncodedFailures::new(StackTraces::new(&["my_app"]));
///     DataConverter::new(PayloadConverter::default(), failures, codec)
/// }
/// ```
pub struct EncodedFailures<C = DefaultFailureConverter> {
    inner: C,
}

impl<C> EncodedFailures<C> {
    /// Returns a converter that hides the texts that `inner` writes.
    pub fn new(inner: C) -> Self {
        Self { inner }
    }
}

impl Default for EncodedFailures {
    fn default() -> Self {
        Self::new(DefaultFailureConverter::default())
    }
}

impl<C: FailureConverter> FailureConverter for EncodedFailures<C> {
    fn to_failure(
        &self,
        error: OutgoingError,
        payload_converter: &PayloadConverter,
        context: &SerializationContextData,
    ) -> Failure {
        let mut failure = self.inner.to_failure(error, payload_converter, context);
        let context = SerializationContext::new(context, payload_converter);
        hide(&mut failure, &context);
        failure
    }

    fn to_error(
        &self,
        failure: Failure,
        payload_converter: &PayloadConverter,
        context: &SerializationContextData,
    ) -> Result<IncomingError, PayloadConversionError> {
        // The SDK's converter reads encoded attributes if there are any.
        self.inner.to_error(failure, payload_converter, context)
    }
}

/// Moves the texts of a failure and of its causes into their encoded attributes.
fn hide(failure: &mut Failure, context: &SerializationContext<'_>) {
    if let Some(cause) = failure.cause.as_deref_mut() {
        hide(cause, context);
    }
    let attributes = Attributes {
        message: take(&mut failure.message),
        stack_trace: take(&mut failure.stack_trace),
    };
    failure.message = ENCODED.to_owned();
    // A failure that a workflow passes on already has its attributes, and its message may already be
    // `Encoded failure`.
    if failure.encoded_attributes.is_none() {
        // If this fails, it is better to lose the message than to send it in plain text.
        failure.encoded_attributes = context.converter.to_payload(context, &attributes).ok();
    }
}

/// Moves the texts back, in a failure that the codec has decrypted.
///
/// The SDK does this for results, but not for the failure of an update.
pub fn reveal(failure: &mut Failure, context: &SerializationContext<'_>) {
    let attributes = failure.encoded_attributes.take();
    if let Some(attributes) = attributes
        && let Ok(Attributes {
            message,
            stack_trace,
        }) = context.converter.from_payload(context, attributes)
    {
        failure.message = message;
        failure.stack_trace = stack_trace;
    }
    if let Some(cause) = failure.cause.as_deref_mut() {
        reveal(cause, context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{StackTraces, Traced, TypedFailures};
    use temporalio_common::{
        data_converters::{ActivityExecutionDecodeHint, FailureDecodeHint},
        error::{ActivityExecutionError, OutgoingActivityError, OutgoingWorkflowError},
        protos::temporal::api::failure::v1::{ActivityFailureInfo, failure::FailureInfo},
    };
    use temporalio_sdk::ApplicationFailure;

    const NO_CONTEXT: SerializationContextData = SerializationContextData::None;

    fn to_failure(converter: &impl FailureConverter, error: impl Into<OutgoingError>) -> Failure {
        converter.to_failure(error.into(), &PayloadConverter::default(), &NO_CONTEXT)
    }

    fn to_error(converter: &impl FailureConverter, failure: Failure) -> IncomingError {
        let json = PayloadConverter::default();
        converter.to_error(failure, &json, &NO_CONTEXT).unwrap()
    }

    fn activity_fails(with: ApplicationFailure) -> OutgoingError {
        OutgoingActivityError::Application(Box::new(with)).into()
    }

    /// Returns the message that the client reads if a workflow passes on an activity's failure.
    fn passed_on(converter: &impl FailureConverter) -> String {
        let activity = to_failure(
            converter,
            activity_fails(ApplicationFailure::new("no stock")),
        );
        let info = FailureInfo::ActivityFailureInfo(ActivityFailureInfo::default());
        let by_the_server = Failure {
            message: "Activity task failed".to_owned(),
            cause: Some(Box::new(activity)),
            failure_info: Some(info),
            ..Default::default()
        };
        let hint = ActivityExecutionDecodeHint::new(false);
        let in_workflow: ActivityExecutionError = hint.adapt(to_error(converter, by_the_server));
        let workflow = to_failure(converter, OutgoingWorkflowError::from(in_workflow));
        assert_eq!(workflow.message, ENCODED);
        assert_eq!(
            workflow.cause.as_ref().map(|cause| &*cause.message),
            Some(ENCODED)
        );
        let client = to_error(converter, workflow);
        client
            .cause()
            .map(|cause| cause.failure().message.clone())
            .unwrap_or_default()
    }

    /// A failure that a workflow passes on keeps its message. With the SDK's own converter it loses it. If this
    /// test fails because the SDK keeps it, `EncodedFailures` is no longer needed.
    #[test]
    fn keeps_the_message_of_a_passed_on_failure() {
        assert_eq!(passed_on(&EncodedFailures::default()), "no stock");
        assert_eq!(passed_on(&DefaultFailureConverter::new(true)), ENCODED);
    }

    /// Stack traces of another converter are encrypted too, and can be read again.
    #[test]
    fn hides_stack_traces() {
        let converter = EncodedFailures::new(StackTraces::new(&[env!("CARGO_CRATE_NAME")]));
        let error = Traced::new(std::io::Error::other("no disk"));
        let failure = to_failure(&converter, activity_fails(ApplicationFailure::new(error)));
        assert_eq!((&*failure.message, &*failure.stack_trace), (ENCODED, ""));
        let error = to_error(&converter, failure);
        let Failure {
            message,
            stack_trace,
            ..
        } = error.failure();
        assert_eq!(message, "no disk");
        assert!(stack_trace.contains("src/failures.rs"), "{stack_trace}");
    }

    /// The failure of an update keeps its type, and its text is hidden, whichever converter is inside the other.
    #[test]
    fn hides_typed_failures() {
        let default = DefaultFailureConverter::default;
        let of_handler = || {
            let failure =
                ApplicationFailure::builder("no stock").type_name("OutOfStock".to_owned());
            // As the SDK wraps what a handler returns.
            OutgoingWorkflowError::from(Box::new(ApplicationFailure::new(failure.build())))
        };
        let json = PayloadConverter::default();
        let context = SerializationContext::new(&NO_CONTEXT, &json);
        for mut failure in [
            to_failure(
                &EncodedFailures::new(TypedFailures(default())),
                of_handler(),
            ),
            to_failure(
                &TypedFailures(EncodedFailures::new(default())),
                of_handler(),
            ),
        ] {
            assert_eq!(failure.message, ENCODED);
            let info = failure.maybe_application_failure();
            assert_eq!(info.map(|info| &*info.r#type), Some("OutOfStock"));
            reveal(&mut failure, &context);
            assert_eq!(failure.message, "no stock");
        }
    }

    /// The texts of causes are moved back too, and a failure with plain texts stays unchanged.
    #[test]
    fn reveals_causes() {
        let error = anyhow::anyhow!("no disk").context("cannot save");
        let converter = EncodedFailures::default();
        let mut failure = to_failure(&converter, activity_fails(ApplicationFailure::new(error)));
        let json = PayloadConverter::default();
        let context = SerializationContext::new(&NO_CONTEXT, &json);
        for _ in 0..2 {
            reveal(&mut failure, &context);
            assert_eq!(failure.message, "cannot save");
            let cause = failure.cause.as_ref().map(|cause| &*cause.message);
            assert_eq!(cause, Some("no disk"));
        }
    }
}
