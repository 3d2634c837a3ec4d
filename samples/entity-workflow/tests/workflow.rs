//! Runs the workflow on a real server, with the `worker_options` of the worker binary.

use anyhow::{Context, bail, ensure};
use entity_workflow::{
    account::{AccountState, Profile, Status},
    client::{Change, apply_once},
    recent_updates::UpdateIds,
    worker_options,
    workflows::{UserAccountInput, UserAccountWorkflow},
};
use futures::future::{join_all, try_join};
use serde_json::{Value, from_value, json, to_value};
use shared::{describe, histories, was_rejected};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use temporalio_client::{
    Client, UntypedQuery, UntypedSignal, UntypedUpdate, UntypedWorkflow,
    WorkflowExecuteUpdateOptions, WorkflowHandle,
    WorkflowIdConflictPolicy::UseExisting,
    WorkflowUpdateHandle, WorkflowUpdateWithStartOptions,
    errors::{WorkflowGetResultError, WorkflowUpdateError, WorkflowUpdateWithStartError},
    tonic::Code,
};
use temporalio_common::{
    HasWorkflowDefinition, UpdateDefinition,
    data_converters::PayloadConverter,
    protos::temporal::api::{
        enums::v1::EventType::{
            self, ActivityTaskCompleted, ActivityTaskScheduled, WorkflowExecutionContinuedAsNew,
            WorkflowExecutionSignaled, WorkflowExecutionUpdateAccepted, WorkflowTaskFailed,
        },
        history::v1::{HistoryEvent, history_event::Attributes},
    },
};
use temporalio_macros::activities;
use temporalio_sdk::{
    WorkerOptions, WorkflowRegistrationError,
    activities::{ActivityContext, ActivityError},
};
use testing::{
    TestEnv, activity_types, bad_input, event_types, events, raw_json, until, with_worker,
};
use tokio::time::sleep;

type Account = WorkflowHandle<Client, UserAccountWorkflow>;

const TYPE: &str = "UserAccountWorkflow";

/// A service that validates profiles when a test opens it, or when its worker shuts down.
#[derive(Clone, Default)]
pub struct ClosedService(Arc<AtomicBool>);

#[activities]
impl ClosedService {
    #[activity(name = "validate_profile")]
    pub async fn validate_profile(
        self: Arc<Self>,
        ctx: ActivityContext,
        _profile: Profile,
    ) -> Result<(), ActivityError> {
        while !self.0.load(Relaxed) {
            if ctx.is_cancelled() {
                return Err(ActivityError::cancelled());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl ClosedService {
    fn open(&self) {
        self.0.store(true, Relaxed);
    }

    /// The worker's options with this service.
    fn options(&self, task_queue: &str) -> Result<WorkerOptions, WorkflowRegistrationError> {
        Ok(WorkerOptions::new(task_queue)
            .graceful_shutdown_period(Duration::ZERO)
            .register_workflow::<UserAccountWorkflow>()?
            .register_activities(self.clone())
            .workflow_interceptor(UpdateIds::in_workflows())
            .build())
    }
}

fn profile(name: &str) -> Profile {
    Profile {
        name: name.to_owned(),
        email: format!("{name}@example.com"),
    }
}

/// Starts an account with a handle that reaches the current run.
async fn start(env: &TestEnv, input: Value) -> anyhow::Result<Account> {
    env.start_json(TYPE, &[input]).await
}

/// Returns a handle that is bound to the current run.
async fn current_run(account: &Account) -> anyhow::Result<Account> {
    let mut info = account.info().clone();
    info.run_id = Some(
        account
            .describe(Default::default())
            .await?
            .run_id()
            .to_owned(),
    );
    Ok(WorkflowHandle::new(account.client().clone(), info))
}

async fn start_profile(
    account: &Account,
    name: &str,
) -> anyhow::Result<WorkflowUpdateHandle<Client, ()>> {
    let update = UserAccountWorkflow::update_profile;
    let input = profile(name).into();
    Ok(account
        .start_update(update, input, Default::default())
        .await?)
}

async fn set_profile(account: &Account, name: &str) -> Result<(), WorkflowUpdateError> {
    apply_once(account, &Change::Profile(profile(name)), name).await
}

async fn suspend(account: &Account, id: &str) -> Result<(), WorkflowUpdateError> {
    apply_once(account, &Change::Suspend, id).await
}

async fn reactivate(account: &Account, id: &str) -> Result<(), WorkflowUpdateError> {
    apply_once(account, &Change::Reactivate, id).await
}

async fn delete(account: &Account) -> anyhow::Result<()> {
    let delete = UserAccountWorkflow::delete;
    Ok(account
        .signal(delete, ().into(), Default::default())
        .await?)
}

/// Sends a signal that the workflow ignores.
async fn send_unknown(account: &Account, argument: Value) -> anyhow::Result<()> {
    let id = &account.info().workflow_id;
    let untyped = account.client().get_workflow_handle::<UntypedWorkflow>(id);
    let signal = UntypedSignal::new("unknown");
    Ok(untyped
        .signal(signal, raw_json(&[argument]), Default::default())
        .await?)
}

async fn state(account: &Account) -> anyhow::Result<AccountState> {
    let get_state = UserAccountWorkflow::get_state;
    Ok(account
        .query(get_state, ().into(), Default::default())
        .await?)
}

/// Starts an account, unless it exists, and sends it an update in its first workflow task.
async fn with_start<U>(
    env: &TestEnv,
    account: &Account,
    input: Value,
    update: U,
    update_id: &str,
    update_input: U::Input,
) -> anyhow::Result<()>
where
    U: UpdateDefinition<
            Workflow = <UserAccountWorkflow as HasWorkflowDefinition>::Run,
            Input: Send,
            Output = (),
        >,
{
    let input: UserAccountInput = from_value(input)?;
    let id = account.info().workflow_id.clone();
    let options = WorkflowUpdateWithStartOptions::new(&env.task_queue, id, UseExisting)
        .update_id(update_id.to_owned());
    let updated = env.client.execute_update_with_start_workflow(
        UserAccountWorkflow::run,
        input.into(),
        update,
        update_input,
        options.build(),
    );
    Ok(updated.await?)
}

/// Checks how an update has failed.
fn failed(ended: Result<(), WorkflowUpdateError>, reason: &str) {
    let failure = ended.map_err(|error| describe(&error));
    assert_eq!(failure, Err(format!("update failed: {reason}")));
}

/// The life of an account: created by its first update, changed, suspended, reactivated and deleted. A change in the
/// wrong state has no effect, an invalid profile fails only its update, and the state can be read after the end.
#[tokio::test]
async fn lives_until_it_is_deleted() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let id = env.start_options().workflow_id;
        let account = env.client.get_workflow_handle::<UserAccountWorkflow>(id);
        let update_profile = UserAccountWorkflow::update_profile;
        let input = json!({"user_id": "42"});
        let ada = profile("ada").into();
        with_start(&env, &account, input.clone(), update_profile, "1", ada).await?;
        // The account exists now, so its state stays.
        let suspend_update = UserAccountWorkflow::suspend;
        with_start(&env, &account, input, suspend_update, "2", ().into()).await?;
        let suspended = state(&account).await?;
        assert_eq!(
            (suspended.status, suspended.profile.as_ref()),
            (Status::Suspended, Some(&profile("ada")))
        );
        assert!(suspended.created_at < suspended.updated_at, "{suspended:?}");
        suspend(&account, "3").await?;
        let again = state(&account).await?;
        assert_eq!(
            (again.updated_at, again.updates_applied),
            (suspended.updated_at, 3)
        );
        reactivate(&account, "4").await?;
        assert_eq!(state(&account).await?.status, Status::Active);

        let invalid = Profile {
            email: "ada".to_owned(),
            ..profile("ada")
        };
        let failing = apply_once(&account, &Change::Profile(invalid), "5").await;
        failed(failing, "the email \"ada\" has no @ (InvalidProfile)");
        assert_eq!(state(&account).await?.updates_applied, 4);
        assert_eq!(activity_types(&account).await?, ["validate_profile"; 2]);
        let scheduled =
            events(&account)
                .await?
                .into_iter()
                .find_map(|event| match event.attributes {
                    Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
                        Some(scheduled)
                    }
                    _ => None,
                });
        let scheduled = scheduled.context("no activity")?;
        let seconds = |seconds| Duration::from_secs(seconds).try_into().ok();
        assert_eq!(scheduled.start_to_close_timeout, seconds(30));
        assert_eq!(scheduled.schedule_to_close_timeout, seconds(120));

        delete(&account).await?;
        account.get_result(Default::default()).await?;
        let end = state(&account).await?;
        assert_eq!(
            (end.status, end.profile),
            (Status::Deleted, Some(profile("ada")))
        );
        let late = suspend(&account, "6").await;
        assert!(
            matches!(late, Err(WorkflowUpdateError::NotFound(_))),
            "{late:?}"
        );
        Ok(())
    })
    .await
}

/// The lesson of this sample. A client repeats two updates after the run that completed them has ended, and gets the
/// first outcomes: the account is not suspended again, and the invalid profile is not validated again, although the
/// argument has changed. Under a new id, the same update is applied.
#[tokio::test]
async fn applies_an_update_once_across_runs() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let input = json!({"user_id": "42", "continue_after_events": 10});
        let account = start(&env, input).await?;
        let first = current_run(&account).await?;
        let email = |email: &str| Profile {
            email: email.to_owned(),
            ..profile("ada")
        };
        let change =
            async |email: Profile| apply_once(&account, &Change::Profile(email), "profile").await;
        suspend(&account, "suspend-1").await?;
        failed(
            change(email("ada")).await,
            "the email \"ada\" has no @ (InvalidProfile)",
        );
        reactivate(&account, "reactivate-1").await?;
        until(&first, WorkflowExecutionContinuedAsNew).await?;

        suspend(&account, "suspend-1").await?;
        failed(
            change(email("ada@example.com")).await,
            "the email \"ada\" has no @ (InvalidProfile)",
        );
        let unchanged = state(&account).await?;
        assert_eq!(
            (
                unchanged.status,
                unchanged.profile,
                unchanged.updates_applied
            ),
            (Status::Active, None, 2)
        );
        let runs = histories(&first).await?;
        assert!(runs.len() > 1);
        let activities = runs.iter().flatten();
        let activities = activities.filter(|event| event.event_type() == ActivityTaskScheduled);
        assert_eq!(activities.count(), 1);

        suspend(&account, "suspend-2").await?;
        let suspended = state(&account).await?;
        assert_eq!(
            (suspended.status, suspended.updates_applied),
            (Status::Suspended, 3)
        );
        account.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}

/// An update in the first workflow task, which is handled before the first line of `run`, finds the state and the
/// recent updates of the input. All of the state goes on to the next run, which the server suggests here because of 4
/// MB of history. Signals that the workflow does not know are ignored.
#[tokio::test]
async fn restores_its_state() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let given = json!({
        "status": "SUSPENDED",
        "profile": {"name": "Ada", "email": "ada@example.com"},
        "pending_email": "ada@example.org",
        "created_at": "2026-11-28T18:00:00.123456",
        "updated_at": "2026-11-28T18:00:00+00:00",
        "updates_applied": 7,
    });
    let input = json!({
        "user_id": "42",
        "state": given,
        "recent_updates": [{"update_id": "reactivate-1", "failure": null}],
    });
    let id = env.start_options().workflow_id;
    let account = env.client.get_workflow_handle::<UserAccountWorkflow>(id);
    env.work(worker_options, async {
        let update = UserAccountWorkflow::reactivate;
        with_start(&env, &account, input, update, "reactivate-1", ().into()).await?;
        assert_eq!(to_value(state(&account).await?)?, given);
        Ok(())
    })
    .await?;
    let first = current_run(&account).await?;
    for _ in 0..3 {
        send_unknown(&account, json!("x".repeat(1_500_000))).await?;
    }
    env.work(worker_options, async {
        until(&first, WorkflowExecutionContinuedAsNew).await?;
        assert_eq!(to_value(state(&account).await?)?, given);
        reactivate(&account, "reactivate-1").await?;
        reactivate(&account, "reactivate-2").await?;
        let now = state(&account).await?;
        assert_eq!((now.status, now.updates_applied), (Status::Active, 8));
        delete(&account).await?;
        account.get_result(Default::default()).await?;
        Ok(())
    })
    .await
}

/// Updates are applied one at a time, in the order in which they were sent, although the first one awaits an activity.
/// While the run ends, it rejects further updates, so that it does end. `apply_once` sends them again, and the next run
/// applies them.
#[tokio::test]
async fn ends_a_run_under_a_steady_stream() -> anyhow::Result<()> {
    let service = ClosedService::default();
    with_worker(
        |queue| service.options(queue),
        async |env| {
            let input = json!({"user_id": "42", "continue_after_events": 10});
            let account = start(&env, input).await?;
            let first = current_run(&account).await?;
            let ada = start_profile(&account, "ada").await?;
            let bob = start_profile(&account, "bob").await?;
            // Until a workflow task begins with enough events. The updates before that wait for the first one.
            let mut taken = vec![ada, bob];
            let rejected = loop {
                let next = start_profile(&account, "eve").await?;
                let history = event_types(&first).await?;
                let accepted = |event: &&EventType| **event == WorkflowExecutionUpdateAccepted;
                if history.iter().filter(accepted).count() == taken.len() {
                    break next;
                }
                taken.push(next);
            };
            failed(
                rejected.get_result(Default::default()).await,
                "this run of the account ends, send the update again (BetweenRuns)",
            );
            assert!(was_rejected(&env.client, &rejected).await?);
            assert_eq!(state(&account).await?.updates_applied, 0);

            let zoe = set_profile(&account, "zoe");
            let opened = async {
                service.open();
                Ok(())
            };
            try_join(zoe, opened).await?;
            for update in &taken {
                update.get_result(Default::default()).await?;
            }
            let runs = histories(&first).await?;
            assert!(runs.len() > 1);
            let types = runs[0].iter().map(HistoryEvent::event_type);
            let activities = [ActivityTaskScheduled, ActivityTaskCompleted];
            let activities: Vec<_> = types.filter(|event| activities.contains(event)).collect();
            let one_at_a_time = [ActivityTaskScheduled, ActivityTaskCompleted].repeat(taken.len());
            assert_eq!(activities, one_at_a_time);
            let end = state(&account).await?;
            assert_eq!(end.profile, Some(profile("zoe")));
            assert_eq!(end.updates_applied, u64::try_from(taken.len())? + 1);
            account.terminate(Default::default()).await?;
            Ok(())
        },
    )
    .await
}

/// The account is deleted while an update awaits its activity. The workflow rejects further updates, lets the update
/// end, which no longer changes the account, and completes.
#[tokio::test]
async fn deleted_during_an_update() -> anyhow::Result<()> {
    let service = ClosedService::default();
    with_worker(
        |queue| service.options(queue),
        async |env| {
            let account = start(&env, json!({"user_id": "42"})).await?;
            let pending = start_profile(&account, "ada").await?;
            until(&account, ActivityTaskScheduled).await?;
            delete(&account).await?;
            until(&account, WorkflowExecutionSignaled).await?;
            let late = start_profile(&account, "bob").await?;
            let reason = "User account is deleted (UserDeleted)";
            failed(late.get_result(Default::default()).await, reason);
            assert!(was_rejected(&env.client, &late).await?);
            assert_eq!(state(&account).await?.status, Status::Deleted);
            service.open();
            failed(pending.get_result(Default::default()).await, reason);
            account.get_result(Default::default()).await?;
            assert_eq!(state(&account).await?.profile, None);
            Ok(())
        },
    )
    .await
}

/// A cancelled workflow lets its updates end before it ends itself, CANCELED, also if the run is long enough to
/// continue as new.
#[tokio::test]
async fn cancelled_during_updates() -> anyhow::Result<()> {
    let service = ClosedService::default();
    with_worker(
        |queue| service.options(queue),
        async |env| {
            let input = json!({"user_id": "42", "continue_after_events": 10});
            let account = start(&env, input).await?;
            let first = current_run(&account).await?;
            let mut updates = Vec::new();
            for name in ["ada", "bob", "eve"] {
                updates.push(start_profile(&account, name).await?);
            }
            until(&account, ActivityTaskScheduled).await?;
            account.cancel(Default::default()).await?;
            let ended = updates
                .iter()
                .map(|update| update.get_result(Default::default()));
            for ended in join_all(ended).await {
                let Err(WorkflowUpdateError::Failed(failure)) = ended else {
                    bail!("{ended:?}");
                };
                assert!(!failure.message.contains("completed before"), "{failure:?}");
            }
            let ended = account.get_result(Default::default()).await;
            assert!(
                matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
                "{ended:?}"
            );
            assert_eq!(histories(&first).await?.len(), 1);
            Ok(())
        },
    )
    .await
}

/// A workflow that is cancelled before a worker has seen it ends CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let account = start(&env, json!({"user_id": "42"})).await?;
    env.ends_cancelled(&account, worker_options).await
}

/// A run that is long enough to continue as new, and is cancelled in the same workflow task, ends CANCELED.
#[tokio::test]
async fn cancelled_at_the_boundary() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let input = json!({"user_id": "42", "continue_after_events": 10});
    let account = start(&env, input).await?;
    let first = current_run(&account).await?;
    for _ in 0..10 {
        send_unknown(&account, json!(null)).await?;
    }
    env.ends_cancelled(&account, worker_options).await?;
    assert_eq!(histories(&first).await?.len(), 1);
    Ok(())
}

/// Input that does not decode fails the workflow at once, and the failure names the field. Fields may be null, and
/// unknown ones are ignored. The server refuses an update id that would not fit into the list of recent updates.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let long = "x".repeat(1001);
        let cases = [
            (vec![], "the argument is missing"),
            (vec![json!({})], "missing field `user_id`"),
            (
                vec![json!({"user_id": 42})],
                "`user_id`: invalid type: integer `42`, expected a string",
            ),
            (
                vec![json!({ "user_id": long })],
                "`user_id`: the text has 1001 bytes, more than the limit of 1000",
            ),
            (
                vec![json!({"user_id": "42", "state": {"created_at": "now"}})],
                "`state.created_at`: not a date and time in ISO 8601, such as 2026-11-28T18:00:00Z",
            ),
            (
                vec![json!({"user_id": "42", "recent_updates": [{"update_id": 1}]})],
                "`recent_updates[0].update_id`: invalid type: integer `1`, expected a string",
            ),
            (
                vec![json!({"user_id": "42", "continue_after_events": -1})],
                "`continue_after_events`: invalid value: integer `-1`, expected u32",
            ),
        ];
        for (arguments, reason) in cases {
            let account: Account = env.start_json(TYPE, &arguments).await?;
            assert_eq!(bad_input(&account).await?, reason);
        }
        let nulls = json!({
            "user_id": "42", "state": null, "recent_updates": null, "continue_after_events": null, "new": 1,
        });
        let account = start(&env, nulls).await?;
        let options = WorkflowExecuteUpdateOptions::builder().update_id(long);
        let suspend = UserAccountWorkflow::suspend;
        let refused = account.execute_update(suspend, ().into(), options.build()).await;
        let Err(WorkflowUpdateError::Rpc(status)) = refused else {
            bail!("{refused:?}");
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        delete(&account).await?;
        account.get_result(Default::default()).await?;
        Ok(())
    })
    .await
}

/// If the input of the workflow is bad, the update that starts it fails as well, and the workflow ends at once.
#[tokio::test]
async fn refuses_bad_input_with_an_update() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let id = env.start_options().workflow_id;
        let account = env.client.get_workflow_handle::<UserAccountWorkflow>(&id);
        let options = WorkflowUpdateWithStartOptions::new(&env.task_queue, id, UseExisting);
        let updated = env.client.execute_update_with_start_workflow(
            UntypedWorkflow::new(TYPE),
            raw_json(&[json!({"user_id": 42})]),
            UntypedUpdate::new("suspend"),
            raw_json(&[]),
            options.build(),
        );
        let updated = updated.await.map(drop);
        ensure!(
            matches!(updated, Err(WorkflowUpdateWithStartError::Update(_))),
            "{updated:?}"
        );
        let reason = "`user_id`: invalid type: integer `42`, expected a string";
        assert_eq!(bad_input(&account).await?, reason);
        let history = event_types(&account).await?;
        assert!(!history.contains(&WorkflowTaskFailed), "{history:?}");
        Ok(())
    })
    .await
}

/// In a worker without the interceptor, an update fails instead of being applied twice some day.
#[tokio::test]
async fn needs_the_interceptor() -> anyhow::Result<()> {
    let options = |task_queue: &str| {
        let options = WorkerOptions::new(task_queue).register_workflow::<UserAccountWorkflow>()?;
        Ok::<_, WorkflowRegistrationError>(options.build())
    };
    with_worker(options, async |env| {
        let account = start(&env, json!({"user_id": "42"})).await?;
        let suspended = suspend(&account, "suspend-1").await;
        let reason =
            "the update has no id: register `UpdateIds::in_workflows()` in the worker's options";
        failed(suspended, reason);
        account.terminate(Default::default()).await?;
        Ok(())
    })
    .await
}

/// A profile that does not decode is rejected. Messages without argument ignore any that they get.
#[tokio::test]
async fn refuses_bad_messages() -> anyhow::Result<()> {
    with_worker(worker_options, async |env| {
        let account = start(&env, json!({"user_id": "42"})).await?;
        let untyped = env
            .client
            .get_workflow_handle::<UntypedWorkflow>(&account.info().workflow_id);
        let cases: [(&[Value], &str); 4] = [
            (&[], "the argument is missing"),
            (&[json!({"name": "Ada"})], "missing field `email`"),
            (
                &[json!({"name": "Ada", "email": 1})],
                "`email`: invalid type: integer `1`, expected a string",
            ),
            (
                &[json!({"name": "x".repeat(1001), "email": ""})],
                "`name`: the text has 1001 bytes, more than the limit of 1000",
            ),
        ];
        for (arguments, reason) in cases {
            let update = UntypedUpdate::new("update_profile");
            let update = untyped
                .start_update(update, raw_json(arguments), Default::default())
                .await?;
            let error = update.get_result(Default::default()).await.err();
            let expected = format!("update failed: bad input: {reason} (BadInput)");
            assert_eq!(error.map(|error| describe(&error)), Some(expected));
            assert!(was_rejected(&env.client, &update).await?);
        }
        for arguments in [&[][..], &[json!(null)], &[json!("now"), json!(1)]] {
            for update in ["suspend", "reactivate"] {
                let update = UntypedUpdate::new(update);
                untyped
                    .execute_update(update, raw_json(arguments), Default::default())
                    .await?;
            }
            let query = UntypedQuery::new("get_state");
            let state = untyped
                .query(query, raw_json(arguments), Default::default())
                .await?;
            let state: AccountState = state.to_value(&PayloadConverter::default());
            assert_eq!(state.status, Status::Active);
        }
        let delete = UntypedSignal::new("delete");
        let arguments = raw_json(&[json!("now")]);
        untyped
            .signal(delete, arguments, Default::default())
            .await?;
        account.get_result(Default::default()).await?;
        Ok(())
    })
    .await
}
