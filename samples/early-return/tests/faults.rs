//! Kills the real worker binary between the early return and the end.

#![cfg(unix)]

use early_return::{
    activities::{Status, Transaction, TransactionRequest},
    workflows::TransactionWorkflow,
};
use temporalio_client::{
    WorkflowExecuteUpdateOptions, WorkflowIdConflictPolicy::Fail, WorkflowUpdateWithStartOptions,
};
use testing::{TestEnv, address, faults::WorkerProcess, forget_cache, until_pending, within};

const WORKER: &str = env!("CARGO_BIN_EXE_early-return-worker");

/// After its worker has died in phase 2, the next worker completes the transaction that the caller knows already. An
/// update that is sent again gets the same answer.
#[tokio::test]
async fn the_next_worker_completes_the_transaction() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let id = env.start_options().workflow_id;
    let no_arguments: [&str; 0] = [];
    let start = || WorkerProcess::start(WORKER, address()?, &env.task_queue, &no_arguments);
    let request = TransactionRequest {
        amount: 100.0,
        currency: "USD".to_owned(),
        init: None,
    };
    let mut first = start()?;
    let options = WorkflowUpdateWithStartOptions::new(&env.task_queue, &id, Fail)
        .update_id("early".to_owned());
    let early = env.client.execute_update_with_start_workflow(
        TransactionWorkflow::run,
        request.into(),
        TransactionWorkflow::return_init_result,
        ().into(),
        options.build(),
    );
    let early = within("the early return", async { Ok(early.await?) }).await?;
    let expected = Transaction {
        id: format!("tx-{id}"),
        status: Status::Initialized,
    };
    assert_eq!(early, expected);
    let workflow = env.client.get_workflow_handle::<TransactionWorkflow>(&id);
    until_pending(&workflow, |activity| activity.last_heartbeat_time.is_some()).await?;
    first.kill().await?;
    forget_cache(&env.client, &id).await?;

    let _second = start()?;
    let options = WorkflowExecuteUpdateOptions::builder().update_id("early".to_owned());
    let update = TransactionWorkflow::return_init_result;
    let again = workflow.execute_update(update, ().into(), options.build());
    assert_eq!(
        within("the update", async { Ok(again.await?) }).await?,
        expected
    );
    let completed = async { Ok(workflow.get_result(Default::default()).await?) };
    let expected = Transaction {
        status: Status::Completed,
        ..expected
    };
    assert_eq!(within("the end", completed).await?, expected);
    Ok(())
}
