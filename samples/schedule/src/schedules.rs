//! Functions that create and change schedules. To describe, list and delete schedules, the SDK's own
//! methods are enough: `ScheduleHandle::describe`, `Client::list_schedules` and `ScheduleHandle::delete`.

use anyhow::{bail, ensure};
use std::time::{Duration, Instant};
use temporalio_client::{
    Client, NamespacedClient,
    grpc::WorkflowService,
    schedules::{CreateScheduleOptions, ScheduleError, ScheduleHandle},
    tonic::{Code, IntoRequest},
};
use temporalio_common::{
    data_converters::{
        PayloadConversionError, SerializationContextData, TemporalSerializable,
        WorkflowSerializationContext,
    },
    protos::temporal::api::{
        common::v1::Payloads,
        schedule::v1::{Schedule, ScheduleSpec},
        workflowservice::v1::UpdateScheduleRequest,
    },
};
use uuid::Uuid;

/// How long to retry a change while others change the same schedule.
const CONTENTION: Duration = Duration::from_secs(10);

/// Largest number of bytes that the server accepts in a comment.
const MAX_COMMENT: usize = 200;

/// Creates a schedule, and refuses one that has no time in the future. The server alone would accept
/// 31 February.
///
/// # Errors
/// If the id is taken, if the server rejects the options, or if no time is in the future.
pub async fn create(
    client: &Client,
    schedule_id: &str,
    options: CreateScheduleOptions,
) -> anyhow::Result<ScheduleHandle<Client>> {
    let handle = client.create_schedule(schedule_id, options).await?;
    let description = handle.describe(Default::default()).await?;
    if description.future_action_times().is_empty() {
        handle.delete(Default::default()).await?;
        bail!("none of these times is in the future; check days, months and years");
    }
    Ok(handle)
}

/// Changes a schedule and keeps everything that `change` leaves alone, including what others change at
/// the same time.
///
/// Use it in place of `ScheduleHandle::update`, which sends no conflict token and so overwrites concurrent
/// changes. With a payload codec, `ScheduleHandle::update` also stores the arguments in plain text. Give
/// new clock times as cron strings or structured calendars.
///
/// # Errors
/// Those of `change`; if there is no such schedule; if the server rejects the change; or if others keep
/// changing the schedule for ten seconds.
pub async fn update(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    change: impl Fn(&mut Schedule) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + CONTENTION;
    let mut sent = false;
    loop {
        let description = handle.describe(Default::default()).await?.into_raw();
        let current = description.schedule.unwrap_or_default();
        let mut wanted = current.clone();
        change(&mut wanted)?;
        comment(wanted.spec.get_or_insert_default());
        // Server 1.32 drops an update with an outdated token and reports success, so look again.
        if sent && same(current, wanted.clone()) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "schedule `{}` did not accept this change within {} s: others keep changing it, or the \
             server changes it back; look at it with `describe`, then try again",
            handle.schedule_id(),
            CONTENTION.as_secs()
        );
        let request = UpdateScheduleRequest {
            namespace: handle.namespace().to_owned(),
            schedule_id: handle.schedule_id().to_owned(),
            schedule: Some(wanted),
            conflict_token: description.conflict_token,
            identity: client.identity(),
            request_id: Uuid::new_v4().to_string(),
            // The schedule keeps its memo and search attributes if the request has none.
            ..Default::default()
        };
        match client.clone().update_schedule(request.into_request()).await {
            // Newer servers answer an outdated token with this error.
            Err(status) if status.code() == Code::FailedPrecondition => {}
            other => drop(other.map_err(ScheduleError::from)?),
        }
        sent = true;
    }
}

/// Pauses or unpauses a schedule.
///
/// Use it in place of `ScheduleHandle::pause`: if a trigger reaches the schedule at the same moment,
/// server 1.32 drops one of the two requests and reports success for both.
///
/// # Errors
/// The errors of [`update`].
pub async fn set_paused(
    client: &Client,
    handle: &ScheduleHandle<Client>,
    paused: bool,
    note: &str,
) -> anyhow::Result<()> {
    update(client, handle, |schedule| {
        let state = schedule.state.get_or_insert_default();
        (state.paused, state.notes) = (paused, note.to_owned());
        Ok(())
    })
    .await
}

/// Encodes the argument of a workflow for [`update`], with the client's payload codec if it has one.
///
/// # Errors
/// If it cannot be encoded.
pub async fn encode<T: TemporalSerializable + 'static>(
    client: &Client,
    argument: &T,
) -> Result<Payloads, PayloadConversionError> {
    let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
    let payloads = client.data_converter().to_payloads(&context, argument);
    Ok(Payloads {
        payloads: payloads.await?,
    })
}

/// Adds the text of each new cron string as its comment, by which [`same`] recognizes it.
fn comment(spec: &mut ScheduleSpec) {
    for cron in &mut spec.cron_string {
        let fields = cron.split('#').next().unwrap_or_default();
        let text = &cron[..cron.floor_char_boundary(MAX_COMMENT)];
        *cron = format!("{fields} #{text}");
    }
}

/// Whether the server has applied a change. The server compiles cron strings to calendars with the same
/// comments.
fn same(mut current: Schedule, mut wanted: Schedule) -> bool {
    let [current_spec, spec] =
        [&mut current, &mut wanted].map(|it| it.spec.get_or_insert_default());
    if !spec.cron_string.is_empty() {
        let compiled = current_spec.structured_calendar.drain(..);
        let compiled: Vec<_> = compiled.map(|it| it.comment).collect();
        let calendars = spec.structured_calendar.drain(..).map(|it| it.comment);
        let crons = spec.cron_string.drain(..);
        let crons = crons.filter_map(|it| Some(it.split_once('#')?.1.to_owned()));
        if !calendars.chain(crons).eq(compiled) {
            return false;
        }
    }
    current == wanted
}
