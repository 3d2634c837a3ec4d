//! Ids that are too long, because the server appends to them.

use std::process::{Output, Stdio};
use testing::{TEST_TIMEOUT, TestEnv, address, id_of};
use tokio::{process::Command, time::timeout};

async fn starter(task_queue: &str, args: &[&str]) -> anyhow::Result<Output> {
    let mut starter = Command::new(env!("CARGO_BIN_EXE_schedule-starter"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TEMPORAL_")) {
        starter.env_remove(name);
    }
    let output = starter
        .args(["--address", address()?, "--task-queue", task_queue])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    Ok(timeout(TEST_TIMEOUT, output).await??)
}

/// The starter creates no schedule if its id or its workflows' ids would be too long, or contain control
/// characters. With ids that are one byte shorter, the schedule works.
#[tokio::test]
async fn refuses_ids_that_are_too_long() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let queue = &*env.task_queue;
    let (schedule, workflow) = (id_of(232, "s"), id_of(234, "w"));
    let (long_schedule, long_workflow) = (format!("{schedule}s"), format!("{workflow}w"));
    let cases: [(&[&str], &str); 4] = [
        (
            &["--schedule-id", &long_schedule],
            "Error: --schedule-id has 233 bytes, and at most 232 fit: choose a shorter one\n",
        ),
        (
            &["--schedule-id", &schedule, "--workflow-id", &long_workflow],
            "Error: --workflow-id has 235 bytes, and at most 234 fit: choose a shorter one\n",
        ),
        (
            &["--schedule-id", "a\u{1b}[2J"],
            "Error: --schedule-id contains the control character U+001B: leave it out\n",
        ),
        (
            &["--schedule-id", &schedule, "--workflow-id", ""],
            "Error: --workflow-id is empty: leave it out, or give it a value\n",
        ),
    ];
    for command in ["create", "demo"] {
        for (args, expected) in cases {
            let output = starter(queue, &[args, &[command]].concat()).await?;
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(String::from_utf8(output.stderr)?, expected);
        }
    }
    let ids = ["--schedule-id", &schedule, "--workflow-id", &workflow];
    for args in [
        &["create", "--cron", "0 0 1 1 *"][..],
        &["trigger"],
        &["delete"],
    ] {
        let output = starter(queue, &[&ids[..], args].concat()).await?;
        let stderr = String::from_utf8(output.stderr)?;
        assert!(output.status.success(), "{args:?}: {stderr}");
    }
    Ok(())
}
