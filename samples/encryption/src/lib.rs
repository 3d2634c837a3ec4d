#![doc = include_str!("../README.md")]

pub mod codec_server;
pub mod failures;
pub mod guard;
pub mod rotation;
pub mod workflows;

use failures::EncodedFailures;
use guard::PlaintextGuard;
use payload_codec::EncryptionCodec;
use shared::{AbsentAsNull, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit};
use std::sync::Arc;
use temporalio_client::Client;
use temporalio_common::data_converters::{DataConverter, PayloadConverter};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::Workflow;

/// The queue on which the server hands out this sample's tasks.
pub const TASK_QUEUE: &str = "encryption-task-queue";

/// What the worker runs, for the worker binary and the tests alike.
///
/// # Errors
/// If two workflows had the same type.
pub fn worker_options(task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
    Ok(WorkerOptions::new(task_queue)
        .graceful_shutdown_period(GRACEFUL_SHUTDOWN_PERIOD)
        .register_workflow::<Workflow>()?
        .activity_inbound_interceptor(LogFields)
        .workflow_interceptor(LogFields::in_workflows())
        .activity_inbound_interceptor(SizeLimit)
        .workflow_interceptor(SizeLimit::in_workflows())
        .build())
}

/// Returns a data converter that writes JSON, moves the texts of failures into payloads, and encrypts all
/// payloads.
pub fn data_converter(codec: EncryptionCodec) -> DataConverter {
    DataConverter::new(
        PayloadConverter::default(),
        EncodedFailures::default(),
        AbsentAsNull(codec),
    )
}

/// Makes a client encrypt. A worker that is made with it encrypts too.
pub fn encrypted(mut client: Client, codec: EncryptionCodec) -> Client {
    let options = client.options_mut();
    options.data_converter = data_converter(codec.clone());
    // The last interceptor, so that it encrypts the headers that others add.
    options
        .client_interceptors
        .push(Arc::new(PlaintextGuard::new(codec)));
    client
}
