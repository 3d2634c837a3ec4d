//! What the worker's process costs: CPU time and memory, as the operating system counts them,
//! whatever language the worker is written in.

use std::time::Duration;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use temporalio_client::{Client, NamespacedClient, grpc::WorkflowService, tonic::IntoRequest};
use temporalio_common::protos::temporal::api::{
    enums::v1::TaskQueueType, taskqueue::v1::TaskQueue,
    workflowservice::v1::DescribeTaskQueueRequest,
};

/// How often the memory is looked at.
const SAMPLE: Duration = Duration::from_millis(50);

/// Looks at processes of this machine.
pub struct Meter {
    system: System,
    processes: Vec<Pid>,
}

/// What they have used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time, of all cores together.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub resident: u64,
}

impl Usage {
    /// CPU time for each of so many workflows, in milliseconds.
    pub fn cpu_ms(&self, workflows: u32) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / f64::from(workflows)
    }

    /// Resident memory, in MiB.
    pub fn mib(&self) -> f64 {
        self.resident as f64 / f64::from(1 << 20)
    }
}

impl Meter {
    /// Of the process `pid`.
    pub fn new(pid: u32) -> Self {
        Self {
            system: System::new(),
            processes: vec![Pid::from_u32(pid)],
        }
    }

    /// Of all workers that poll `task_queue` from this machine; `None` if there are none.
    ///
    /// The server lists the pollers by their identities. By default, the identity of a worker begins
    /// with `<pid>@<host>` in every SDK.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn of_pollers(client: &Client, task_queue: &str) -> anyhow::Result<Option<Self>> {
        let request = DescribeTaskQueueRequest {
            namespace: client.namespace(),
            task_queue: Some(TaskQueue {
                name: task_queue.to_owned(),
                ..Default::default()
            }),
            task_queue_type: TaskQueueType::Workflow.into(),
            ..Default::default()
        };
        let mut client = client.clone();
        let queue = client.describe_task_queue(request.into_request()).await?;
        let host = System::host_name();
        let mut meter = Self {
            system: System::new(),
            processes: Vec::new(),
        };
        for poller in queue.into_inner().pollers {
            if let Some((pid, at)) = process(&poller.identity)
                && Some(at) == host.as_deref()
            {
                meter.processes.push(Pid::from_u32(pid));
            }
        }
        // The server lists for minutes who polls no more.
        meter.refresh();
        let Self { system, processes } = &mut meter;
        processes.retain(|pid| system.process(*pid).is_some());
        Ok((!meter.processes.is_empty()).then_some(meter))
    }

    /// What they have used since they were started, and the memory that they have now.
    pub fn read(&mut self) -> Usage {
        self.refresh();
        let processes = self.processes.iter();
        let processes = processes.filter_map(|pid| self.system.process(*pid));
        processes.fold(Usage::default(), |sum, process| Usage {
            cpu: sum.cpu + Duration::from_millis(process.accumulated_cpu_time()),
            resident: sum.resident + process.memory(),
        })
    }

    /// What they use while `work` goes on, and the most memory that they have.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> (T, Usage) {
        let before = self.read();
        let mut peak = before.resident;
        let mut work = std::pin::pin!(work);
        loop {
            let done = tokio::time::timeout(SAMPLE, &mut work).await;
            let now = self.read();
            peak = peak.max(now.resident);
            if let Ok(result) = done {
                let cpu = now.cpu.saturating_sub(before.cpu);
                return (
                    result,
                    Usage {
                        cpu,
                        resident: peak,
                    },
                );
            }
        }
    }

    fn refresh(&mut self) {
        let what = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .without_tasks();
        self.system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&self.processes),
            true,
            what,
        );
    }
}

/// Returns the process id and the host from a worker's default identity, or `None` from any other.
pub fn process(identity: &str) -> Option<(u32, &str)> {
    // In Go, an `@` and sometimes the task queue follow the host.
    let mut parts = identity.split('@');
    Some((parts.next()?.parse().ok()?, parts.next()?))
}
