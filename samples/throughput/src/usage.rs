//! Measures the CPU time and memory of worker processes with the operating system, in whatever language the workers
//! are written.

use std::time::Duration;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use temporalio_client::{Client, NamespacedClient, grpc::WorkflowService, tonic::IntoRequest};
use temporalio_common::protos::temporal::api::{
    enums::v1::TaskQueueType, taskqueue::v1::TaskQueue,
    workflowservice::v1::DescribeTaskQueueRequest,
};

/// Time between two readings of the memory.
const SAMPLE: Duration = Duration::from_millis(50);

/// Measures processes on this machine.
pub struct Meter {
    system: System,
    processes: Vec<Pid>,
}

/// CPU time and memory of the measured processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time on all cores together.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub resident: u64,
}

impl Usage {
    /// Returns the CPU time per workflow, in milliseconds.
    pub fn cpu_ms(&self, workflows: u32) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / f64::from(workflows)
    }

    /// Returns the resident memory in MiB.
    pub fn mib(&self) -> f64 {
        self.resident as f64 / f64::from(1 << 20)
    }
}

impl Meter {
    /// Returns a meter of the process `pid`.
    pub fn new(pid: u32) -> Self {
        Self {
            system: System::new(),
            processes: vec![Pid::from_u32(pid)],
        }
    }

    /// Returns a meter of all workers on this machine that poll `task_queue`, or `None` if there are none.
    ///
    /// The server lists the pollers by their identities. By default, the identity of a worker begins
    /// with `<pid>@<host>` in every SDK.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn for_task_queue(client: &Client, task_queue: &str) -> anyhow::Result<Option<Self>> {
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
        // For some minutes, the server also lists workers that have ended.
        meter.refresh();
        let Self { system, processes } = &mut meter;
        processes.retain(|pid| system.process(*pid).is_some());
        Ok((!meter.processes.is_empty()).then_some(meter))
    }

    /// Returns the CPU time since the processes started, and their current memory.
    pub fn read(&mut self) -> Usage {
        self.refresh();
        let processes = self.processes.iter();
        let processes = processes.filter_map(|pid| self.system.process(*pid));
        processes.fold(Usage::default(), |sum, process| Usage {
            cpu: sum.cpu + Duration::from_millis(process.accumulated_cpu_time()),
            resident: sum.resident + process.memory(),
        })
    }

    /// Returns the result of `work`, the CPU time that the processes used during it, and their peak memory.
    pub async fn measure<T>(&mut self, work: impl Future<Output = T>) -> (T, Usage) {
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

/// Returns the process id and the host from a worker's default identity, or `None` for any other identity.
pub fn process(identity: &str) -> Option<(u32, &str)> {
    // In Go, an `@` and sometimes the task queue follow the host.
    let mut parts = identity.split('@');
    Some((parts.next()?.parse().ok()?, parts.next()?))
}
