//! Functions for dropping an old key: they count the payloads that still need it, and encrypt the payloads of a
//! schedule with the new one.

use anyhow::{Context, bail, ensure};
use futures::{FutureExt, TryStreamExt, future::BoxFuture, future::ready};
use payload_codec::{CodecError, EncryptionCodec, key_id};
use std::collections::BTreeMap;
use temporalio_client::{
    Client, NamespacedClient, UntypedWorkflow, WorkflowHandle,
    errors::WorkflowInteractionError,
    grpc::WorkflowService,
    schedules::{ScheduleError, ScheduleHandle},
    tonic::{Code, IntoRequest, Status},
};
use temporalio_common::{
    data_converters::{DataConverter, PayloadConversionError},
    payload_visitor::{AsyncPayloadVisitor, PayloadField, PayloadFieldData, PayloadVisitable},
    protos::temporal::api::{
        common::v1::Payload,
        workflowservice::v1::{
            DescribeScheduleRequest, DescribeScheduleResponse, UpdateScheduleRequest,
        },
    },
};

/// Number of attempts while others change the same schedule.
const ATTEMPTS: usize = 20;

/// Number of encrypted payloads per key id.
pub type KeyCount = BTreeMap<String, usize>;

/// Counts the encrypted payloads in the histories of the workflows that `query` finds, open and closed. An
/// empty query finds all in the namespace.
///
/// # Errors
/// If the server rejects the query, or does not answer.
pub async fn keys_of_workflows(client: &Client, query: &str) -> anyhow::Result<KeyCount> {
    let client = without_codec(client);
    let mut keys = KeyCount::new();
    let mut workflows = client.list_workflows(query, Default::default());
    while let Some(workflow) = workflows.try_next().await? {
        let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow.id());
        let mut info = handle.info().clone();
        info.run_id = Some(workflow.run_id().to_owned());
        let run = WorkflowHandle::<_, UntypedWorkflow>::new(client.clone(), info);
        let mut history = run.fetch_history(Default::default());
        loop {
            match history.try_next().await {
                Ok(Some(mut event)) => count(&mut event, &mut keys).await?,
                // The server has deleted the workflow, because its retention is over.
                Ok(None) | Err(WorkflowInteractionError::NotFound(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(keys)
}

/// Counts the encrypted payloads in all schedules of the namespace.
///
/// # Errors
/// If the server does not answer.
pub async fn keys_of_schedules(client: &Client) -> anyhow::Result<KeyCount> {
    let client = without_codec(client);
    let mut keys = KeyCount::new();
    let mut schedules = client.list_schedules(Default::default());
    while let Some(schedule) = schedules.try_next().await? {
        match describe(&client, schedule.schedule_id()).await {
            Ok(mut description) => count(&mut description, &mut keys).await?,
            // Someone has deleted it in the meantime.
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(ScheduleError::from(status).into()),
        }
    }
    Ok(keys)
}

/// Encrypts the arguments of a schedule, and all other encrypted payloads that it passes to its workflows,
/// with the current key. Returns how many had another key.
///
/// # Errors
/// If there is no such schedule, if the codec lacks a key that it needs, or if others keep changing the schedule. Also
/// if the schedule's own memo has another key, because no server can change that memo yet. All other payloads
/// are then encrypted with the current key.
pub async fn reencrypt_schedule(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    codec: &EncryptionCodec,
) -> anyhow::Result<usize> {
    let id = handle.schedule_id();
    let mut found = None;
    for _ in 0..ATTEMPTS {
        // `handle.describe` would decrypt the memo.
        let described = describe(client, id).await.map_err(ScheduleError::from);
        let description = described.with_context(|| format!("cannot read the schedule `{id}`"))?;
        let mut schedule = description.schedule.unwrap_or_default();
        let rotated = rotate(&mut schedule, codec).await?;
        // Server 1.32 drops an outdated update and reports success, so check the result.
        let found = *found.get_or_insert(rotated);
        if rotated == 0 {
            let in_memo = rotate(&mut description.memo.unwrap_or_default(), codec).await?;
            ensure!(
                in_memo == 0,
                "the memo of the schedule `{id}` still needs an old key, and the server cannot change \
                 it: create the schedule again"
            );
            return Ok(found);
        }
        let request = UpdateScheduleRequest {
            namespace: client.namespace(),
            schedule_id: id.to_owned(),
            schedule: Some(schedule),
            // With this token, the update does not overwrite what others have changed.
            conflict_token: description.conflict_token,
            identity: client.identity(),
            ..Default::default()
        };
        match client.clone().update_schedule(request.into_request()).await {
            // Newer servers answer an outdated token with this error.
            Err(status) if status.code() == Code::FailedPrecondition => {}
            other => drop(other.map_err(ScheduleError::from)?),
        }
    }
    bail!("others keep changing the schedule `{id}`; try again")
}

async fn rotate(
    message: &mut impl PayloadVisitable,
    codec: &EncryptionCodec,
) -> Result<usize, PayloadConversionError> {
    let mut rotated = 0;
    visit(message, |payload| {
        rotated += usize::from(codec.rotate(payload)?);
        Ok(())
    })
    .await?;
    Ok(rotated)
}

/// Returns the client without its codec, which would decrypt the memos in lists, and fail if it lacks a key.
fn without_codec(client: &Client) -> Client {
    let mut client = client.clone();
    client.options_mut().data_converter = DataConverter::default();
    client
}

async fn describe(client: &Client, schedule_id: &str) -> Result<DescribeScheduleResponse, Status> {
    let request = DescribeScheduleRequest {
        namespace: client.namespace(),
        schedule_id: schedule_id.to_owned(),
    };
    let mut service = client.clone();
    let described = service.describe_schedule(request.into_request()).await?;
    Ok(described.into_inner())
}

async fn count(
    message: &mut impl PayloadVisitable,
    keys: &mut KeyCount,
) -> Result<(), PayloadConversionError> {
    visit(message, |payload| {
        if let Some(id) = key_id(payload) {
            *keys.entry(id).or_default() += 1;
        }
        Ok(())
    })
    .await
}

/// Calls a function with each payload in a message, however deep it is.
async fn visit(
    message: &mut impl PayloadVisitable,
    each: impl FnMut(&mut Payload) -> Result<(), CodecError> + Send,
) -> Result<(), PayloadConversionError> {
    message.visit_payloads_mut(&mut Visitor(each)).await
}

struct Visitor<F>(F);

impl<F: FnMut(&mut Payload) -> Result<(), CodecError> + Send> AsyncPayloadVisitor for Visitor<F> {
    fn visit<'a>(
        &'a mut self,
        field: PayloadField<'a>,
    ) -> BoxFuture<'a, Result<(), PayloadConversionError>> {
        let payloads = match field.data {
            PayloadFieldData::Single(payload) => std::slice::from_mut(payload),
            PayloadFieldData::Repeated(payloads) => payloads,
            PayloadFieldData::Payloads(payloads) => &mut payloads.payloads,
        };
        let visited = payloads.iter_mut().try_for_each(&mut self.0);
        ready(visited.map_err(Into::into)).boxed()
    }
}
