//! Kills the real worker binary between two messages.

#![cfg(unix)]

use message_passing::{
    language::Language,
    workflows::{GreetingWorkflow, SetLanguage},
};
use temporalio_client::{Client, WorkflowExecuteUpdateOptions, WorkflowHandle};
use testing::{TestEnv, activity_types, address, faults::WorkerProcess, forget_cache, within};

const WORKER: &str = env!("CARGO_BIN_EXE_message-passing-worker");

/// After its worker has died, the next worker rebuilds the state from the history: the language, its greeting, and the
/// updates that it has answered. An update that is sent again is not handled again.
#[tokio::test]
async fn the_next_worker_has_the_state() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let id = env.start_options().workflow_id;
    let start = || {
        WorkerProcess::start(
            WORKER,
            address()?,
            &env.task_queue,
            &["--unsupported=french"],
        )
    };
    let mut first = start()?;
    let started = env.start_json_as(id.clone(), "GreetingWorkflow", &[]);
    let handle: WorkflowHandle<Client, GreetingWorkflow> = started.await?;
    let set = async || {
        let options = WorkflowExecuteUpdateOptions::builder().update_id("hindi".to_owned());
        let language = Language::Hindi;
        let input = SetLanguage { language }.into();
        let method = GreetingWorkflow::set_language_using_activity;
        let previous = handle.execute_update(method, input, options.build());
        within("the update", async { Ok(previous.await?) }).await
    };
    assert_eq!(set().await?, Language::English);
    first.kill().await?;
    forget_cache(&env.client, &id).await?;

    let _second = start()?;
    let language = handle.query(
        GreetingWorkflow::get_language,
        ().into(),
        Default::default(),
    );
    let language = within("the language", async { Ok(language.await?) }).await?;
    assert_eq!(language, Language::Hindi);
    assert_eq!(set().await?, Language::English);
    let approve = GreetingWorkflow::approve;
    handle
        .signal(approve, None.into(), Default::default())
        .await?;
    let greeting = async { Ok(handle.get_result(Default::default()).await?) };
    assert_eq!(within("the greeting", greeting).await?, "नमस्ते दुनिया");
    assert_eq!(activity_types(&handle).await?, ["call_greeting_service"]);
    Ok(())
}
