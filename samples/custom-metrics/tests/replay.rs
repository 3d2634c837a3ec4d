//! Replays recorded histories with today's code.

use custom_metrics::{
    metrics::Metrics,
    scrape::Scrape,
    workflows::{OrderWorkflow, StartTwoActivitiesWorkflow},
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use testing::replay_all;

/// A change that would break running workflows fails this test. No replay counts an order.
#[tokio::test]
async fn histories_replay() -> anyhow::Result<()> {
    let metrics = Metrics::serve("127.0.0.1:0".parse()?)?;
    let orders = metrics.clone();
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<StartTwoActivitiesWorkflow>()?
        .register_workflow_with_factory(move || OrderWorkflow::new(orders.clone()))?
        .build();
    replay_all(&WorkflowReplayer::new(options)?, "tests/histories").await?;
    let scrape = Scrape::read(metrics.address()).await?;
    assert_eq!(scrape.get("orders_total{channel=\"web\"}"), Some(0.0));
    Ok(())
}
