package throughput;

import io.temporal.client.WorkflowClient;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.serviceclient.WorkflowServiceStubsOptions;
import io.temporal.worker.Worker;
import io.temporal.worker.WorkerFactory;
import io.temporal.worker.WorkerFactoryOptions;
import java.time.Duration;

/** The worker of this sample in Java, with the same workflows, activity and task queue. */
public final class Main {
  private Main() {}

  public static void main(String[] args) {
    String address = env("TEMPORAL_ADDRESS", "localhost:7233");
    WorkflowServiceStubs service =
        WorkflowServiceStubs.newConnectedServiceStubs(
            WorkflowServiceStubsOptions.newBuilder().setTarget(address).build(),
            Duration.ofSeconds(10));
    WorkerFactoryOptions.Builder options = WorkerFactoryOptions.newBuilder();
    String cached = env("MAX_CACHED_WORKFLOWS", "");
    if (!cached.isEmpty()) {
      int workflows = Integer.parseInt(cached);
      // The cache consists of segments that fill unevenly, and a full segment evicts workflows, so the
      // cache needs twice the size to keep all of them. Each cached workflow occupies a thread.
      options.setWorkflowCacheSize(2 * workflows).setMaxWorkflowThreadCount(workflows);
    }
    WorkerFactory factory =
        WorkerFactory.newInstance(WorkflowClient.newInstance(service), options.build());
    Worker worker = factory.newWorker(env("TEMPORAL_TASK_QUEUE", "throughput-task-queue"));
    worker.registerWorkflowImplementationTypes(
        Workflows.ThroughputWorkflowImpl.class, Workflows.EchoWorkflowImpl.class);
    worker.registerActivitiesImplementations(new Workflows.ActivitiesImpl());
    factory.start();
  }

  private static String env(String name, String otherwise) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? otherwise : value;
  }
}
