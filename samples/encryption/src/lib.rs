#![doc = include_str!("../README.md")]

pub mod codec_server;
pub mod failures;
pub mod guard;
pub mod rotation;
pub mod workflows;

use failures::EncodedFailures;
use guard::PlaintextGuard;
use payload_codec::EncryptionCodec;
use shared::{AbsentAsNull, GRACEFUL_SHUTDOWN_PERIOD, LogFields, SizeLimit, TypedFailures};
use std::sync::Arc;
use temporalio_client::Client;
use temporalio_common::data_converters::{
    DataConverter, DefaultFailureConverter, PayloadConverter,
};
use temporalio_sdk::{WorkerOptions, WorkflowRegistrationError};
use workflows::Workflow;

/// The queue on which the server hands out this sample's tasks.
pub const TASK_QUEUE: &str = "encryption-task-queue";

/// Returns the options of the worker, which the worker binary and the tests share.
///
/// # Errors
/// If two workflows have the same type.
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
        EncodedFailures::new(TypedFailures::<DefaultFailureConverter>::default()),
        AbsentAsNull(codec),
    )
}

/// Returns a client that encrypts. Workers that use this client encrypt too.
pub fn encrypted(mut client: Client, codec: EncryptionCodec) -> Client {
    let options = client.options_mut();
    options.data_converter = data_converter(codec.clone());
    // It must be the last interceptor, so that it encrypts the headers that others add.
    options
        .client_interceptors
        .push(Arc::new(PlaintextGuard::new(codec)));
    client
}
