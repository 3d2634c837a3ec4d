//! Size limits: a payload that is too large for the server fails its workflow or activity, and the message names the
//! size.

use crate::{
    describe,
    input::{shorten, size},
};
use futures::FutureExt;
use prost::Message;
use std::{any::Any, error::Error, io, iter::successors};
use temporalio_common::{
    data_converters::{
        PayloadConversionError, PayloadConverter, SerializationContext, SerializationContextData,
        TemporalSerializable,
    },
    error::OutgoingWorkflowError,
    protos::temporal::api::common::v1::Payload,
};
use temporalio_sdk::{
    ApplicationFailure, WorkflowTermination,
    activities::ActivityError,
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
    workflow_interceptors::{
        ExecuteWorkflowInput, ExecuteWorkflowResult, HandleUpdateInput, HandleUpdateResult,
        WorkflowInterceptor, WorkflowInterceptorConstructor, WorkflowInterceptorContext,
        WorkflowInterceptorFuture, WorkflowNext,
    },
};

/// Maximum size of the arguments of a workflow, a signal, an update or an activity: 1.5 MiB in total,
/// before encryption and after decompression.
///
/// The server accepts 2 MiB. The difference leaves room for a result that is larger than the input
/// that it is built from, such as a list of greetings.
///
/// If you lower this limit, you break running workflows with a larger input: on replay they refuse the input that they
/// once accepted.
pub const MAX_INPUT: usize = 3 << 19;

/// Maximum size of a result: the 2 MiB that the server accepts, less 8 KiB for the metadata that the
/// SDK and the codec add.
pub const MAX_RESULT: usize = (2 << 20) - (8 << 10);

/// Maximum size of an error's text. A longer text is shortened.
pub const MAX_ERROR: usize = 64 << 10;

/// Type of the application failure that reports a result or an outgoing argument as too large.
pub const TOO_LARGE: &str = "TooLarge";

/// Interceptors that fail an activity or a workflow that produces more than the server accepts.
///
/// Without them, the SDK fails such an activity with the type `PayloadsTooLarge`, and retries it unless the
/// retry policy names that type. It fails the workflow task of such a workflow forever. With them, a result
/// above [`MAX_RESULT`] and an outgoing [`Input`](crate::Input) above [`MAX_INPUT`] become a non-retryable
/// failure of type [`TOO_LARGE`]. A failure whose text is longer than [`MAX_ERROR`] keeps its type, but its
/// text is shortened and its details are dropped.
///
/// A worker needs both:
///
/// ```
/// # use shared::SizeLimit;
/// # let options = temporalio_sdk::WorkerOptions::new("task-queue");
/// let options = options
///     .activity_inbound_interceptor(SizeLimit)
///     .workflow_interceptor(SizeLimit::in_workflows());
/// # let _ = options;
/// ```
///
/// The SDK does not show an interceptor the details of a failure, the details of a heartbeat, a memo
/// or the arguments of an activity that does not take an `Input`. Keep these small.
#[derive(Clone, Copy, Debug)]
pub struct SizeLimit;

impl SizeLimit {
    /// Returns the workflow interceptor for [`temporalio_sdk::WorkerOptions`], which creates one per workflow.
    pub fn in_workflows() -> WorkflowInterceptorConstructor {
        WorkflowInterceptorConstructor::new(|_| Self)
    }
}

impl ActivityInboundInterceptor for SizeLimit {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let limited = next.run(input).map(|ended| match ended {
            Ok(result) => match too_large_result((*result).as_any(), &*result) {
                None => Ok(result),
                Some(failure) => Err(ActivityError::application(failure)),
            },
            Err(ActivityError::Application(failure)) => {
                Err(ActivityError::Application(with_short_text(failure)))
            }
            Err(other) => Err(other),
        });
        limited.boxed()
    }
}

impl WorkflowInterceptor for SizeLimit {
    fn execute<'a>(
        &'a self,
        _ctx: WorkflowInterceptorContext,
        input: ExecuteWorkflowInput,
        next: WorkflowNext<
            'a,
            ExecuteWorkflowInput,
            WorkflowInterceptorFuture<'a, ExecuteWorkflowResult>,
        >,
    ) -> WorkflowInterceptorFuture<'a, ExecuteWorkflowResult> {
        WorkflowInterceptorFuture::new(next.run(input).map(|ended| match ended {
            Ok(result) => match too_large_result((*result).as_any(), &*result) {
                None => Ok(result),
                Some(failure) => Err(failure.into()),
            },
            Err(WorkflowTermination::Failed(error)) => {
                Err(WorkflowTermination::Failed(within_limits(error)))
            }
            Err(other) => Err(other),
        }))
    }

    fn handle_update<'a>(
        &'a self,
        _ctx: WorkflowInterceptorContext,
        input: HandleUpdateInput,
        next: WorkflowNext<
            'a,
            HandleUpdateInput,
            WorkflowInterceptorFuture<'a, HandleUpdateResult>,
        >,
    ) -> WorkflowInterceptorFuture<'a, HandleUpdateResult> {
        WorkflowInterceptorFuture::new(next.run(input).map(|ended| match ended {
            Ok(result) => match too_large_result((*result).as_any(), &*result) {
                None => Ok(result),
                Some(failure) => Err(Box::<dyn Error + Send + Sync>::from(failure).into()),
            },
            Err(other) => Err(other),
        }))
    }
}

/// Error for arguments that are too large to send. [`SizeLimit`] turns it into a failure.
pub(crate) fn check_arguments(payloads: &[Payload]) -> Result<(), PayloadConversionError> {
    let size = size(payloads);
    if size <= MAX_INPUT {
        return Ok(());
    }
    let failure = too_large("the input", size, MAX_INPUT, None);
    Err(PayloadConversionError::EncodingError(failure.into()))
}

fn too_large_result(
    any: &dyn Any,
    result: &dyn TemporalSerializable,
) -> Option<ApplicationFailure> {
    let size = payload_size(any, result);
    (size > MAX_RESULT).then(|| too_large("the result", size, MAX_RESULT, None))
}

fn too_large(what: &str, size: usize, limit: usize, more: Option<&str>) -> ApplicationFailure {
    let mut message = format!("{what} has {size} bytes, more than the limit of {limit}");
    if let Some(more) = more {
        message = format!("{message}: {more}");
    }
    ApplicationFailure::builder(message)
        .type_name(TOO_LARGE.to_owned())
        .non_retryable(true)
        .build()
}

/// Returns the size of the data in a value's payload, without creating the payload.
fn payload_size(any: &dyn Any, value: &dyn TemporalSerializable) -> usize {
    // The SDK sends bytes as they are, although serde serializes them as a list of numbers.
    if let Some(bytes) = any.downcast_ref::<Vec<u8>>() {
        return bytes.len();
    }
    if let Some(bytes) = any.downcast_ref::<Option<Vec<u8>>>() {
        return bytes.as_ref().map_or(0, Vec::len);
    }
    let mut size = Size(0);
    let measured = match value.as_serde() {
        Ok(value) => serde_json::to_writer(&mut size, value)
            .map(|()| size.0)
            .ok(),
        // A type that creates its own payload.
        Err(_) => {
            let converter = PayloadConverter::default();
            let context = SerializationContext::new(&SerializationContextData::None, &converter);
            value
                .to_payload(&context)
                .map(|payload| payload.data.len())
                .ok()
        }
    };
    // The SDK reports a value that does not encode.
    measured.unwrap_or(0)
}

/// Writer that counts bytes.
struct Size(usize);

impl io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the error of a workflow, or a failure that says that the error is too large.
fn within_limits(error: OutgoingWorkflowError) -> OutgoingWorkflowError {
    let (what, failure) = match &error {
        OutgoingWorkflowError::ActivityExecution(error) => ("an activity", error.failure()),
        OutgoingWorkflowError::ChildWorkflowExecution(error) => ("a child", error.failure()),
        _ => return within_own_limits(error),
    };
    let Some(failure) = failure.filter(|failure| failure.encoded_len() > MAX_RESULT) else {
        return error;
    };
    // The server accepted it, but the workflow's own failure contains it and is larger.
    let what = format!("the failure of {what}");
    let message = failure.cause.as_ref().map(|cause| shorten(&cause.message));
    too_large(&what, failure.encoded_len(), MAX_RESULT, message.as_deref()).into()
}

fn within_own_limits(error: OutgoingWorkflowError) -> OutgoingWorkflowError {
    match error {
        OutgoingWorkflowError::Application(failure) => with_short_text(failure).into(),
        OutgoingWorkflowError::PayloadConversion(PayloadConversionError::EncodingError(error)) => {
            match error.downcast::<ApplicationFailure>() {
                Ok(too_large) => too_large.into(),
                Err(error) => PayloadConversionError::EncodingError(error).into(),
            }
        }
        other => other,
    }
}

/// Returns the failure, with a shortened text if its own is too long.
fn with_short_text(failure: Box<ApplicationFailure>) -> Box<ApplicationFailure> {
    let error: &(dyn Error + 'static) = failure.source_error();
    let causes = successors(Some(error), |error| (**error).source());
    let size: usize = causes.map(|error| error.to_string().len()).sum();
    if size <= MAX_ERROR {
        return failure;
    }
    let text = shorten(describe(error));
    let message = format!(
        "{text} (shortened: the error has {size} bytes, more than the limit of {MAX_ERROR})"
    );
    let shortened = ApplicationFailure::builder(message)
        .maybe_type_name(failure.type_name().map(str::to_owned))
        .non_retryable(failure.is_non_retryable())
        .maybe_next_retry_delay(failure.next_retry_delay())
        .category(failure.category())
        .build();
    Box::new(shortened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Input;
    use temporalio_common::data_converters::{GenericPayloadConverter, RawValue};

    /// The size is that of the payload that the SDK creates from the value.
    #[test]
    fn measures_like_the_sdk() -> anyhow::Result<()> {
        fn check<T: TemporalSerializable + 'static>(value: T) -> anyhow::Result<()> {
            let converter = PayloadConverter::default();
            let context = SerializationContext::new(&SerializationContextData::None, &converter);
            let payload = converter.to_payload(&context, &value)?;
            assert_eq!(payload_size(&value, &value), payload.data.len());
            Ok(())
        }
        check("a \"quoted\" text\n".to_owned())?;
        check(vec![Some(1.5), None])?;
        check(vec![0_u8, 200, 255])?;
        check(Some(vec![0_u8, 200, 255]))?;
        check(None::<Vec<u8>>)?;
        check(Input::from(vec!["a", "b"]))?;
        let converter = PayloadConverter::default();
        check(RawValue::from_value(&"raw".to_owned(), &converter))
    }
}
