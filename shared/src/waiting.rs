//! Warnings of a starter that waits: no worker polls the task queue, or the workflow task keeps failing.
//! Without them, the starter would wait forever without a word.

use crate::{printable, text::one_line};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use temporalio_client::{
    Client, WorkflowHandle,
    grpc::WorkflowService,
    tonic::{IntoRequest, Status},
};
use temporalio_common::{
    HasWorkflowDefinition,
    protos::temporal::api::{
        common::v1::WorkflowExecution,
        enums::v1::{
            PendingWorkflowTaskState, TaskQueueKind, TaskQueueType, WorkflowExecutionStatus,
        },
        history::v1::{HistoryEvent, history_event::Attributes},
        taskqueue::v1::TaskQueue,
        workflow::v1::PendingWorkflowTaskInfo,
        workflowservice::v1::{
            DescribeTaskQueueRequest, DescribeWorkflowExecutionRequest,
            GetWorkflowExecutionHistoryReverseRequest,
        },
    },
    search_attributes::Timestamp,
};

/// Time between two looks at the workflow. Two of them must agree before a starter says that no worker
/// polls: it may be about to start.
const PAUSE: Duration = Duration::from_millis(2500);

/// Upper limit of the time to the next look, which doubles with each line, so that recurring trouble does
/// not flood the terminal.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many failed attempts of one workflow task are worth a line. A single one may be an accident.
const FAILURES: i32 = 2;

/// How many of the last events to search for a reason.
const LAST_EVENTS: i32 = 50;

/// Longest reason to print; a panic message can have megabytes.
const MAX_REASON_CHARS: usize = 300;

/// Whether the starter still waits for the result. Locked while a line is printed, so that no line
/// follows the result.
static WAITING: Mutex<bool> = Mutex::new(true);

/// Ends all warnings, and waits for a line that is being printed.
pub(crate) fn stop() {
    *WAITING.lock().unwrap_or_else(PoisonError::into_inner) = false;
}

/// Warns on stderr, in the background, while the workflow cannot go on: when no worker polls
/// `task_queue`, and when its workflow task has failed several times. Each trouble gets one line.
///
/// The warnings end with the workflow, with [`print_result`](crate::print_result), and with the tokio
/// runtime; they keep nothing alive.
pub fn warn_while_waiting<W: HasWorkflowDefinition>(
    handle: &WorkflowHandle<Client, W>,
    task_queue: &str,
) {
    let info = handle.info();
    Watch {
        client: handle.client().clone(),
        namespace: info.namespace.clone(),
        // Without a run id, to follow a workflow that continues as new.
        execution: WorkflowExecution {
            workflow_id: info.workflow_id.clone(),
            run_id: String::new(),
        },
        task_queue: task_queue.to_owned(),
    }
    .start();
}

/// Why a workflow cannot go on; equal for as long as it is the same trouble.
#[derive(Clone, Debug, PartialEq)]
enum Trouble {
    /// Nobody polls. If a workflow task waits, this is when it was scheduled, by the server's clock.
    NoWorker(Option<Timestamp>),
    /// The workflow task keeps failing, for this reason.
    Failing(String),
}

/// Outcome of one look at the workflow.
enum Look {
    Closed,
    Open(Option<Trouble>, PendingWorkflowTaskInfo),
}

struct Watch {
    client: Client,
    namespace: String,
    execution: WorkflowExecution,
    task_queue: String,
}

impl Watch {
    // Not in the generic function, which is compiled into every binary together with everything it awaits.
    fn start(self) {
        tokio::spawn(self.run());
    }

    async fn run(mut self) {
        let (mut pause, mut seen, mut told) = (PAUSE, None, None);
        loop {
            tokio::time::sleep(pause).await;
            let (trouble, task) = match self.look().await {
                Ok(Look::Closed) => return,
                Ok(Look::Open(trouble, task)) => (trouble, task),
                // Only a hint: an error also shows in the call that waits for the result.
                Err(_) => continue,
            };
            match &trouble {
                None => told = None,
                Some(Trouble::NoWorker(_)) if trouble != seen => {}
                Some(some) if trouble != told => {
                    tell(&self.line(some, task.attempt - 1));
                    told.clone_from(&trouble);
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
                Some(_) => {}
            }
            seen = trouble;
        }
    }

    // Raw calls bypass the interceptors of the sample's client, such as those of a tracing plugin.
    async fn look(&mut self) -> Result<Look, Status> {
        let request = DescribeWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            execution: Some(self.execution.clone()),
        };
        let described = self
            .client
            .describe_workflow_execution(request.into_request());
        let described = described.await?.into_inner();
        let info = described.workflow_execution_info.unwrap_or_default();
        if info.status() != WorkflowExecutionStatus::Running {
            return Ok(Look::Closed);
        }
        let task = described.pending_workflow_task.unwrap_or_default();
        let trouble = if self.has_no_worker(&task).await? {
            Some(Trouble::NoWorker(task.scheduled_time.map(Timestamp::from)))
        } else if task.attempt > FAILURES {
            Some(Trouble::Failing(reason(&self.last_events().await?)))
        } else {
            None
        };
        Ok(Look::Open(trouble, task))
    }

    /// Whether nobody polls for workflow tasks, or nobody has polled since this one was scheduled.
    ///
    /// The server lists a worker for five minutes after its last poll, even one that was stopped.
    async fn has_no_worker(&mut self, task: &PendingWorkflowTaskInfo) -> Result<bool, Status> {
        if task.state() == PendingWorkflowTaskState::Started {
            return Ok(false);
        }
        let request = DescribeTaskQueueRequest {
            namespace: self.namespace.clone(),
            task_queue: Some(TaskQueue {
                name: self.task_queue.clone(),
                ..Default::default()
            }),
            task_queue_type: TaskQueueType::Workflow.into(),
            ..Default::default()
        };
        let queue = self.client.describe_task_queue(request.into_request());
        let pollers = queue.await?.into_inner().pollers.into_iter();
        // All times are the server's own: the clock of this machine may differ.
        let last_poll = pollers.filter_map(|poller| poller.last_access_time.map(Timestamp::from));
        let scheduled = task.scheduled_time.map(Timestamp::from);
        match (last_poll.max(), scheduled) {
            (None, _) => Ok(true),
            (Some(poll), Some(scheduled)) if poll < scheduled => {
                // For ten seconds, the server offers a task to the worker that has the workflow in its
                // cache, and only then to all, with a later time.
                Ok(task.attempt > 1 || !is_sticky(&self.last_events().await?))
            }
            _ => Ok(false),
        }
    }

    /// The last events of the history, latest first.
    async fn last_events(&mut self) -> Result<Vec<HistoryEvent>, Status> {
        let request = GetWorkflowExecutionHistoryReverseRequest {
            namespace: self.namespace.clone(),
            execution: Some(self.execution.clone()),
            maximum_page_size: LAST_EVENTS,
            next_page_token: Vec::new(),
        };
        let history = self
            .client
            .get_workflow_execution_history_reverse(request.into_request());
        Ok(history
            .await?
            .into_inner()
            .history
            .unwrap_or_default()
            .events)
    }

    fn line(&self, trouble: &Trouble, failures: i32) -> String {
        match trouble {
            Trouble::NoWorker(_) => format!(
                "no worker polls {}; start one, with --task-queue if the name differs",
                printable(&self.task_queue)
            ),
            Trouble::Failing(reason) => format!(
                "the workflow task has failed {failures} times: {reason}; the server retries it until \
                 a worker completes it: fix the code, restart the worker, and reset the workflow to retry at \
                 once; or terminate it"
            ),
        }
    }
}

fn tell(line: &str) {
    let waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if *waiting {
        eprintln!("waiting  {line}");
    }
}

/// Whether the last workflow task was scheduled for the worker that has the workflow in its cache.
fn is_sticky(latest_first: &[HistoryEvent]) -> bool {
    let queue = latest_first
        .iter()
        .find_map(|event| match &event.attributes {
            Some(Attributes::WorkflowTaskScheduledEventAttributes(task)) => {
                task.task_queue.as_ref()
            }
            _ => None,
        });
    queue.is_some_and(|queue| queue.kind() == TaskQueueKind::Sticky)
}

/// Why the workflow task failed, in one printable line. The history has the first failure in a row;
/// the SDK lets the next attempts time out without a report.
fn reason(latest_first: &[HistoryEvent]) -> String {
    let reason = latest_first
        .iter()
        .find_map(|event| match &event.attributes {
            Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) => {
                let message = failed
                    .failure
                    .as_ref()
                    .map(|failure| failure.message.as_str());
                Some(match message {
                    None | Some("") => failed.cause().as_str_name(),
                    Some(message) => message,
                })
            }
            Some(Attributes::WorkflowTaskTimedOutEventAttributes(_)) => {
                Some("the worker did not answer in time")
            }
            _ => None,
        });
    shorten(&one_line(reason.unwrap_or("for an unknown reason")))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_REASON_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_common::protos::temporal::api::{
        enums::v1::WorkflowTaskFailedCause,
        failure::v1::Failure,
        history::v1::{
            WorkflowTaskFailedEventAttributes, WorkflowTaskScheduledEventAttributes,
            WorkflowTaskTimedOutEventAttributes,
        },
    };

    fn event(attributes: Attributes) -> HistoryEvent {
        HistoryEvent {
            attributes: Some(attributes),
            ..Default::default()
        }
    }

    fn failed(message: &str) -> HistoryEvent {
        let mut failed = WorkflowTaskFailedEventAttributes {
            failure: Some(Failure {
                message: message.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        failed.set_cause(WorkflowTaskFailedCause::NonDeterministicError);
        event(Attributes::WorkflowTaskFailedEventAttributes(failed))
    }

    /// The reason is the latest, in one short line without control characters, whatever it contains.
    #[test]
    fn reasons_are_short_and_printable() {
        let timed_out = event(Attributes::WorkflowTaskTimedOutEventAttributes(
            WorkflowTaskTimedOutEventAttributes::default(),
        ));
        let cases: [(&[HistoryEvent], &str); 5] = [
            (&[failed("new"), failed("old")], "new"),
            (
                &[failed("a\n  b\u{1b}[2J\u{9b}31m")],
                "a b\\u{1b}[2J\\u{9b}31m",
            ),
            (
                &[failed("")],
                "WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR",
            ),
            (
                &[timed_out, failed("old")],
                "the worker did not answer in time",
            ),
            (&[], "for an unknown reason"),
        ];
        for (events, expected) in cases {
            assert_eq!(reason(events), expected);
        }
        let huge = reason(&[failed(&"ä\u{7}".repeat(1 << 20))]);
        assert_eq!(huge.chars().count(), MAX_REASON_CHARS + 1);
        assert!(huge.ends_with('…'));
    }

    /// A task that waits for the worker that has the workflow in its cache is told apart, by the last
    /// time that one was scheduled.
    #[test]
    fn sticky_tasks() {
        let scheduled = |kind: TaskQueueKind| {
            event(Attributes::WorkflowTaskScheduledEventAttributes(
                WorkflowTaskScheduledEventAttributes {
                    task_queue: Some(TaskQueue {
                        kind: kind.into(),
                        ..Default::default()
                    }),
                    ..Default::default()
                },
            ))
        };
        let (sticky, normal) = (TaskQueueKind::Sticky, TaskQueueKind::Normal);
        assert!(is_sticky(&[scheduled(sticky), scheduled(normal)]));
        assert!(!is_sticky(&[scheduled(normal), scheduled(sticky)]));
        assert!(!is_sticky(&[]));
    }
}
