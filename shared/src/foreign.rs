//! What the SDK cannot take from workers in other languages: results that are absent, and encodings
//! that it does not know.

use crate::{
    FilledFailures, TypedFailures,
    json::{encoding, encoding_error, unreadable},
    text::printable,
};
use futures::{FutureExt, future::BoxFuture};
use std::{cell::RefCell, rc::Rc};
use temporalio_common::{
    data_converters::{
        DataConverter, DefaultPayloadCodec, PayloadCodec, PayloadConversionError, PayloadConverter,
        SerializationContextData,
    },
    error::{ActivityExecutionError, OutgoingWorkflowError},
    protos::temporal::api::common::v1::Payload,
};
use temporalio_sdk::{
    WorkflowTermination,
    workflow_interceptors::{
        CancellableWorkflowOutboundFuture, ExecuteWorkflowInput, ExecuteWorkflowResult,
        ScheduleActivityInput, ScheduleActivityResult, WorkflowInterceptor,
        WorkflowInterceptorConstructor, WorkflowInterceptorContext, WorkflowInterceptorFuture,
        WorkflowNext, WorkflowOutboundValue,
    },
};

/// What the SDK says about payloads that it cannot decode, without a word about the payloads.
pub(crate) const WRONG_ENCODING: &str = "Wrong encoding";

/// Returns the data converter that [`ConnectionArgs::connect`](crate::ConnectionArgs::connect) installs.
///
/// It is the SDK's own, which also accepts absent results, fills more fields of failures, and keeps the types of
/// failed updates and queries: see [`AbsentAsNull`], [`FilledFailures`] and [`TypedFailures`].
pub fn data_converter() -> DataConverter {
    DataConverter::new(
        PayloadConverter::default(),
        FilledFailures::<TypedFailures>::default(),
        AbsentAsNull(DefaultPayloadCodec),
    )
}

/// A payload codec that also decodes an absent payload, as `null`.
///
/// Go and Java send no payload if a workflow returns nothing, or a nil pointer. The SDK does not decode
/// that, not even as `()`, so a starter reports an error although the workflow has completed. Put this
/// around a codec of your own:
///
/// ```
/// # use shared::AbsentAsNull;
/// # use temporalio_common::data_converters::{
/// #     DataConverter, DefaultFailureConverter, DefaultPayloadCodec, PayloadConverter,
/// # };
/// # let my_codec = DefaultPayloadCodec;
/// let data_converter = DataConverter::new(
///     PayloadConverter::default(),
///     DefaultFailureConverter::default(),
///     AbsentAsNull(my_codec),
/// );
/// # let _ = data_converter;
/// ```
///
/// Workers need [`AbsentResults`] as well: the SDK shows a codec no payload for the result of an activity
/// that is absent.
#[derive(Clone, Debug, Default)]
pub struct AbsentAsNull<C>(pub C);

impl<C: PayloadCodec> PayloadCodec for AbsentAsNull<C> {
    fn encode(
        &self,
        context: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        self.0.encode(context, payloads)
    }

    fn decode(
        &self,
        context: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let decoding = self.0.decode(context, payloads);
        async move {
            let mut payloads = decoding.await?;
            UNREAD.take();
            for payload in &mut payloads {
                match encoding(payload).as_deref() {
                    None => {
                        let null = ("encoding".to_owned(), b"binary/null".to_vec());
                        payload.metadata.extend([null]);
                    }
                    Some("binary/null" | "json/plain") => {}
                    Some(other) => UNREAD.set(other.to_owned()),
                }
            }
            Ok(payloads)
        }
        .boxed()
    }
}

thread_local! {
    /// The encoding of the last payload on this thread that was neither JSON nor null. The SDK decodes a
    /// payload right after the codec, and its error does not name the encoding.
    static UNREAD: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What a starter prints in place of the SDK's `Wrong encoding`.
pub(crate) fn wrong_encoding() -> String {
    match UNREAD.take() {
        encoding if encoding.is_empty() => {
            "there is no payload, or its encoding cannot be read here".to_owned()
        }
        encoding => unreadable(&encoding),
    }
}

/// An interceptor for workflows that lets them await activities in other languages that return nothing.
///
/// Go and Java send no payload for such a result. The SDK does not decode that as `()`, so the workflow
/// task fails forever. With this, a workflow that awaits `()` takes any result. If it awaits another
/// type, its workflow task still fails, but the error names the activity. For an activity that may
/// return nothing *or* a value, declare the result as [`Json<Option<T>>`](crate::Json).
///
/// ```
/// # use shared::AbsentResults;
/// # let options = temporalio_sdk::WorkerOptions::new("task-queue");
/// let options = options.workflow_interceptor(AbsentResults::in_workflows());
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
pub struct AbsentResults {
    /// The activity whose result was taken for `()` last.
    taken: Rc<RefCell<Option<String>>>,
}

impl AbsentResults {
    /// For [`temporalio_sdk::WorkerOptions`], which makes one for each workflow.
    pub fn in_workflows() -> WorkflowInterceptorConstructor {
        WorkflowInterceptorConstructor::new(|_| Self::default())
    }
}

impl WorkflowInterceptor for AbsentResults {
    #[allow(
        clippy::result_large_err,
        reason = "the SDK's own error type, by value, is what the closure passes on"
    )]
    fn schedule_activity(
        &self,
        _ctx: WorkflowInterceptorContext,
        input: ScheduleActivityInput,
        next: WorkflowNext<
            'static,
            ScheduleActivityInput,
            CancellableWorkflowOutboundFuture<ScheduleActivityResult>,
        >,
    ) -> CancellableWorkflowOutboundFuture<ScheduleActivityResult> {
        let (activity, taken) = (input.activity_type().to_owned(), self.taken.clone());
        next.run(input).map(move |result| match result {
            Err(ActivityExecutionError::Serialization(PayloadConversionError::WrongEncoding)) => {
                taken.replace(Some(activity));
                // Which type the workflow awaits is hidden here. If it is another, the SDK reports that.
                Ok(Box::new(()) as Box<dyn WorkflowOutboundValue>)
            }
            other => other,
        })
    }

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
            Err(WorkflowTermination::Failed(OutgoingWorkflowError::PayloadConversion(error))) => {
                Err(self.explain(error).into())
            }
            other => other,
        }))
    }
}

impl AbsentResults {
    /// The error of a workflow, with the reason if the SDK found out that it did not await `()`.
    fn explain(&self, error: PayloadConversionError) -> PayloadConversionError {
        if !error.to_string().contains(NOT_UNIT) {
            return error;
        }
        match self.taken.take() {
            Some(activity) => encoding_error(format!(
                "the result of the activity `{}` is absent, or its encoding cannot be read here: \
                 declare the result as `Json`, which accepts an absent one and names the encoding",
                printable(&activity)
            )),
            None => error,
        }
    }
}

/// What the SDK says of an interceptor that returned `()` for a result of another type.
const NOT_UNIT: &str = "wrong concrete activity output type";
