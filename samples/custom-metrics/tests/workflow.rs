//! Runs the workflows on a real server, with the `worker_options` of the worker binary.

use anyhow::Context;
use custom_metrics::{
    metrics::Metrics,
    scrape::Scrape,
    worker_options,
    workflows::{OrderWorkflow, StartTwoActivitiesWorkflow},
};
use serde_json::json;
use shared::describe;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use temporalio_client::{Client, WorkflowHandle};
use temporalio_common::protos::temporal::api::enums::v1::EventType::{
    ActivityTaskCompleted, ActivityTaskScheduled,
};
use temporalio_macros::activities;
use temporalio_sdk::{
    WorkerOptions,
    activities::{ActivityContext, ActivityError},
    workflow_interceptors::{
        ExecuteWorkflowInput, ExecuteWorkflowResult, WorkflowInterceptor,
        WorkflowInterceptorConstructor, WorkflowInterceptorContext, WorkflowInterceptorFuture,
        WorkflowNext,
    },
};
use testing::{TestEnv, activity_types, bad_input, event_types, until_pending, with_worker};

/// Serves metrics on a free port.
fn serve() -> anyhow::Result<Metrics> {
    Metrics::serve("127.0.0.1:0".parse()?)
}

/// Returns how often each status was counted: started, completed, failed.
async fn executions(metrics: &Metrics) -> anyhow::Result<[f64; 3]> {
    let scrape = Scrape::read(metrics.address()).await?;
    let mut counts = [0.0; 3];
    for (count, status) in counts.iter_mut().zip(["started", "completed", "failed"]) {
        let series = format!("activity_executions_total{{status=\"{status}\"}}");
        *count = scrape.get(&series).context(series)?;
    }
    Ok(counts)
}

async fn order(
    env: &TestEnv,
    pieces: u32,
) -> anyhow::Result<WorkflowHandle<Client, OrderWorkflow>> {
    let order = json!({"channel": "web", "pieces": pieces});
    env.start_json("OrderWorkflow", &[order]).await
}

/// Both activities are scheduled at once. One waits for the other, and the histogram shows the wait.
#[tokio::test]
async fn the_histogram_shows_the_wait() -> anyhow::Result<()> {
    let metrics = serve()?;
    let recorder = metrics.clone();
    with_worker(
        |queue| worker_options(queue, recorder),
        async |env| {
            let handle = env
                .start_json::<StartTwoActivitiesWorkflow>("StartTwoActivitiesWorkflow", &[])
                .await?;
            handle.get_result(Default::default()).await?;
            assert_eq!(activity_types(&handle).await?, ["print_and_sleep"; 2]);
            let mut events = event_types(&handle).await?;
            events.retain(|event| [ActivityTaskScheduled, ActivityTaskCompleted].contains(event));
            assert_eq!(events[..2], [ActivityTaskScheduled; 2]);

            let scrape = Scrape::read(metrics.address()).await?;
            let labels =
                "activity_type=\"print_and_sleep\",workflow_type=\"StartTwoActivitiesWorkflow\"";
            let waits =
                |rest: &str| scrape.get(&format!("activity_schedule_to_start_latency_{rest}"));
            assert_eq!(waits(&format!("bucket{{{labels},le=\"0.5\"}}")), Some(1.0));
            assert_eq!(waits(&format!("count{{{labels}}}")), Some(2.0));
            assert!(waits(&format!("sum{{{labels}}}")) > Some(1.0));
            assert_eq!(executions(&metrics).await?, [2.0, 2.0, 0.0]);
            Ok(())
        },
    )
    .await
}

/// A failed attempt counts as failed, even with a benign failure, which the workflow turns into a result.
#[tokio::test]
async fn counts_failures() -> anyhow::Result<()> {
    let metrics = serve()?;
    let recorder = metrics.clone();
    with_worker(
        |queue| worker_options(queue, recorder),
        async |env| {
            let enough = order(&env, 10).await?;
            assert_eq!(enough.get_result(Default::default()).await?, "reserved");
            assert_eq!(executions(&metrics).await?, [1.0, 1.0, 0.0]);

            let too_many = order(&env, 11).await?;
            assert_eq!(too_many.get_result(Default::default()).await?, "sold out");
            assert_eq!(executions(&metrics).await?, [2.0, 1.0, 1.0]);

            let implausible = order(&env, 1_001).await?;
            let failed = implausible.get_result(Default::default()).await;
            let reason = "workflow failed: activity reserve_stock failed: 1001 pieces ordered, more \
                          than the limit of 1000 (Implausible)";
            assert_eq!(describe(&failed.expect_err("failed")), reason);
            assert_eq!(executions(&metrics).await?, [3.0, 1.0, 2.0]);
            Ok(())
        },
    )
    .await
}

/// Replaces the sample's activities.
pub struct Panics;

#[activities]
impl Panics {
    #[activity(name = "reserve_stock")]
    pub async fn reserve_stock(_ctx: ActivityContext, _pieces: u32) -> Result<(), ActivityError> {
        panic!("on purpose")
    }
}

/// An activity that panics counts as failed.
#[tokio::test]
async fn counts_panics() -> anyhow::Result<()> {
    let metrics = serve()?;
    let recorder = metrics.clone();
    let options = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let orders = recorder.clone();
        Ok(WorkerOptions::new(queue)
            .register_workflow_with_factory(move || OrderWorkflow::new(orders.clone()))?
            .register_activities(Panics)
            .activity_inbound_interceptor(recorder)
            .build())
    };
    with_worker(options, async |env| {
        let handle = order(&env, 1).await?;
        until_pending(&handle, |activity| activity.last_failure.is_some()).await?;
        handle.terminate(Default::default()).await?;
        let [_, completed, failed] = executions(&metrics).await?;
        assert!(completed == 0.0 && failed >= 1.0);
        Ok(())
    })
    .await
}

/// Counts how often workflows run from the beginning, including replays.
struct CountRuns(Arc<AtomicUsize>);

impl WorkflowInterceptor for CountRuns {
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
        self.0.fetch_add(1, Ordering::SeqCst);
        next.run(input)
    }
}

/// Without a cache, the second workflow task runs the workflow again from the beginning. The order still counts
/// once.
#[tokio::test]
async fn replay_counts_once() -> anyhow::Result<()> {
    let metrics = serve()?;
    let (recorder, runs) = (metrics.clone(), Arc::new(AtomicUsize::new(0)));
    let counter = runs.clone();
    let options = |queue: &str| -> anyhow::Result<WorkerOptions> {
        let mut options = worker_options(queue, recorder)?;
        options.max_cached_workflows = 0;
        options.workflow_interceptor(WorkflowInterceptorConstructor::new(move |_| {
            CountRuns(counter.clone())
        }));
        Ok(options)
    };
    with_worker(options, async |env| {
        order(&env, 1).await?.get_result(Default::default()).await?;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        let scrape = Scrape::read(metrics.address()).await?;
        assert_eq!(scrape.get("orders_total{channel=\"web\"}"), Some(1.0));
        Ok(())
    })
    .await
}

/// Bad input fails the workflow at once. The failure names the field, and no metric counts it.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    let metrics = serve()?;
    let recorder = metrics.clone();
    with_worker(
        |queue| worker_options(queue, recorder),
        async |env| {
            let cases = [
                (
                    json!({"channel": "fax", "pieces": 1}),
                    "`channel`: unknown variant `fax`, expected one of `web`, `shop`, `phone`",
                ),
                (
                    json!({"channel": "web", "pieces": -1}),
                    "`pieces`: invalid value: integer `-1`, expected u32",
                ),
                (json!({"channel": "web"}), "missing field `pieces`"),
            ];
            for (input, reason) in cases {
                let handle = env
                    .start_json::<OrderWorkflow>("OrderWorkflow", &[input])
                    .await?;
                assert_eq!(bad_input(&handle).await?, reason);
            }
            assert_eq!(executions(&metrics).await?, [0.0; 3]);
            let scrape = Scrape::read(metrics.address()).await?;
            // All series of ours begin with 0, so an alert sees the first failure too.
            for channel in ["web", "shop", "phone"] {
                let series = format!("orders_total{{channel=\"{channel}\"}}");
                assert_eq!(scrape.get(&series), Some(0.0), "{series}");
            }
            Ok(())
        },
    )
    .await
}

/// Workflows that are cancelled before a worker has seen them end CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let metrics = serve()?;
    let order = order(&env, 1).await?;
    let options = |queue: &str| worker_options(queue, metrics.clone());
    env.ends_cancelled(&order, options).await?;
    let both = env
        .start_json::<StartTwoActivitiesWorkflow>("StartTwoActivitiesWorkflow", &[])
        .await?;
    env.ends_cancelled(&both, options).await
}
