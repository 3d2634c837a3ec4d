//! An interceptor that encrypts or refuses data that the SDK's client would send in plain text despite its
//! codec.

use crate::failures::reveal;
use futures::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, ready},
};
use payload_codec::EncryptionCodec;
use temporalio_client::{
    WorkflowStartOptions,
    errors::{
        WorkflowInteractionError, WorkflowQueryError, WorkflowStartError, WorkflowUpdateError,
        WorkflowUpdateWithStartError,
    },
    interceptors::{
        ClientInterceptor, Next, PollWorkflowUpdateInput, PollWorkflowUpdateOutput,
        QueryWorkflowInput, QueryWorkflowOutput, SignalWithStartWorkflowInput, SignalWorkflowInput,
        StartWorkflowInput, StartWorkflowOutput, StartWorkflowUpdateInput,
        StartWorkflowUpdateOutput, TerminateWorkflowInput, UpdateScheduleInput,
        UpdateWithStartWorkflowInput, UpdateWithStartWorkflowOutput,
    },
    schedules::ScheduleError,
};
use temporalio_common::{
    data_converters::{
        PayloadConversionError, PayloadConverter, SerializationContext, SerializationContextData,
    },
    payload_visitor::decode_payloads,
    protos::temporal::api::{
        common::v1::{Header, Payload},
        update::v1::outcome::Value,
    },
};

type Answer<'a, O, E> = BoxFuture<'a, Result<O, E>>;
type Call<'a, I, O, E> = Next<'a, I, Answer<'a, O, E>>;
type Checked = Result<(), PayloadConversionError>;

/// A client interceptor that closes the gaps of a codec.
///
/// It encrypts headers, which the worker decrypts, and the details of a termination. It refuses a start with
/// a static summary or static details, and `ScheduleHandle::update`, because it cannot encrypt these.
pub struct PlaintextGuard {
    codec: EncryptionCodec,
}

impl PlaintextGuard {
    /// Returns a guard that encrypts with this codec.
    pub fn new(codec: EncryptionCodec) -> Self {
        Self { codec }
    }

    fn encrypt<'p>(&self, payloads: impl IntoIterator<Item = &'p mut Payload>) -> Checked {
        for payload in payloads {
            *payload = self.codec.encrypt(payload)?;
        }
        Ok(())
    }

    fn header(&self, header: &mut Option<Header>) -> Checked {
        self.encrypt(header.iter_mut().flat_map(|h| h.fields.values_mut()))
    }

    fn start(&self, options: &mut WorkflowStartOptions) -> Checked {
        refuse_texts([&options.static_summary, &options.static_details])?;
        self.header(&mut options.header)
    }
}

fn refuse_texts(texts: [&Option<String>; 2]) -> Checked {
    if texts.iter().all(|text| text.is_none()) {
        return Ok(());
    }
    refuse("static_summary and static_details would be sent in plain text; use a memo")
}

fn refuse(reason: &str) -> Checked {
    Err(PayloadConversionError::EncodingError(reason.into()))
}

/// Makes the call if the check has passed, and returns the error otherwise.
fn go_on<'a, I, O, E>(checked: Checked, input: I, next: Call<'a, I, O, E>) -> Answer<'a, O, E>
where
    O: Send + 'a,
    E: From<PayloadConversionError> + Send + 'a,
{
    match checked {
        Ok(()) => next.run(input),
        Err(error) => ready(Err(error.into())).boxed(),
    }
}

impl ClientInterceptor for PlaintextGuard {
    fn start_workflow<'a>(
        &'a self,
        mut input: StartWorkflowInput,
        next: Call<'a, StartWorkflowInput, StartWorkflowOutput, WorkflowStartError>,
    ) -> Answer<'a, StartWorkflowOutput, WorkflowStartError> {
        go_on(self.start(&mut input.options), input, next)
    }

    fn signal_with_start_workflow<'a>(
        &'a self,
        mut input: SignalWithStartWorkflowInput,
        next: Call<'a, SignalWithStartWorkflowInput, StartWorkflowOutput, WorkflowStartError>,
    ) -> Answer<'a, StartWorkflowOutput, WorkflowStartError> {
        go_on(self.start(&mut input.options), input, next)
    }

    fn update_with_start_workflow<'a>(
        &'a self,
        mut input: UpdateWithStartWorkflowInput,
        next: Call<
            'a,
            UpdateWithStartWorkflowInput,
            UpdateWithStartWorkflowOutput,
            WorkflowUpdateWithStartError,
        >,
    ) -> Answer<'a, UpdateWithStartWorkflowOutput, WorkflowUpdateWithStartError> {
        let options = &mut input.options;
        let checked = refuse_texts([&options.static_summary, &options.static_details])
            .and_then(|()| self.header(&mut options.start_header))
            .and_then(|()| self.header(&mut options.update_header));
        go_on(checked, input, next)
    }

    fn signal_workflow<'a>(
        &'a self,
        mut input: SignalWorkflowInput,
        next: Call<'a, SignalWorkflowInput, (), WorkflowInteractionError>,
    ) -> Answer<'a, (), WorkflowInteractionError> {
        go_on(self.header(&mut input.options.header), input, next)
    }

    fn query_workflow<'a>(
        &'a self,
        mut input: QueryWorkflowInput,
        next: Call<'a, QueryWorkflowInput, QueryWorkflowOutput, WorkflowQueryError>,
    ) -> Answer<'a, QueryWorkflowOutput, WorkflowQueryError> {
        go_on(self.header(&mut input.options.header), input, next)
    }

    fn start_workflow_update<'a>(
        &'a self,
        mut input: StartWorkflowUpdateInput,
        next: Call<'a, StartWorkflowUpdateInput, StartWorkflowUpdateOutput, WorkflowUpdateError>,
    ) -> Answer<'a, StartWorkflowUpdateOutput, WorkflowUpdateError> {
        go_on(self.header(&mut input.options.header), input, next)
    }

    fn terminate_workflow<'a>(
        &'a self,
        mut input: TerminateWorkflowInput,
        next: Call<'a, TerminateWorkflowInput, (), WorkflowInteractionError>,
    ) -> Answer<'a, (), WorkflowInteractionError> {
        let details = input.options.details.iter_mut();
        let checked = self.encrypt(details.flat_map(|details| &mut details.payloads));
        go_on(checked, input, next)
    }

    fn update_schedule<'a>(
        &'a self,
        input: UpdateScheduleInput,
        next: Call<'a, UpdateScheduleInput, (), ScheduleError>,
    ) -> Answer<'a, (), ScheduleError> {
        let reason = "update() would write the schedule's input back in plain text; \
                      use describe(), into_update() and send_update()";
        go_on(refuse(reason), input, next)
    }

    /// Decrypts the failure of an update, which the SDK leaves encrypted.
    fn poll_workflow_update<'a>(
        &'a self,
        input: PollWorkflowUpdateInput,
        next: Call<'a, PollWorkflowUpdateInput, PollWorkflowUpdateOutput, WorkflowUpdateError>,
    ) -> Answer<'a, PollWorkflowUpdateOutput, WorkflowUpdateError> {
        let answer = next.run(input).and_then(async |mut output| {
            if let Some(Value::Failure(failure)) = &mut output.outcome.value {
                let data = SerializationContextData::None;
                decode_payloads(failure, &self.codec, &data).await?;
                let converter = PayloadConverter::default();
                reveal(failure, &SerializationContext::new(&data, &converter));
            }
            Ok(output)
        });
        answer.boxed()
    }
}
