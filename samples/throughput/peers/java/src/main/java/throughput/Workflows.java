package throughput;

import com.fasterxml.jackson.annotation.JsonProperty;
import io.temporal.activity.ActivityInterface;
import io.temporal.activity.ActivityMethod;
import io.temporal.activity.ActivityOptions;
import io.temporal.activity.LocalActivityOptions;
import io.temporal.workflow.Async;
import io.temporal.workflow.ChildWorkflowOptions;
import io.temporal.workflow.Promise;
import io.temporal.workflow.SignalMethod;
import io.temporal.workflow.Workflow;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.time.Duration;
import java.util.stream.Stream;

/** The workflows of this sample in Java, and their activity. */
final class Workflows {
  private static final Duration START_TO_CLOSE = Duration.ofSeconds(30);

  private Workflows() {}

  @ActivityInterface
  public interface Activities {
    @ActivityMethod(name = "echo")
    String echo(String payload);
  }

  /** An activity that returns its input. */
  public static class ActivitiesImpl implements Activities {
    @Override
    public String echo(String payload) {
      return payload;
    }
  }

  public enum Shape {
    @JsonProperty("sequence")
    SEQUENCE,
    @JsonProperty("parallel")
    PARALLEL,
    @JsonProperty("local")
    LOCAL,
    @JsonProperty("child")
    CHILD,
    @JsonProperty("signal")
    SIGNAL
  }

  public record Plan(Shape shape, int activities, String payload) {}

  @WorkflowInterface
  public interface EchoWorkflow {
    @WorkflowMethod
    String run(String payload);
  }

  public static class EchoWorkflowImpl implements EchoWorkflow {
    @Override
    public String run(String payload) {
      return payload;
    }
  }

  @WorkflowInterface
  public interface ThroughputWorkflow {
    @WorkflowMethod
    int run(Plan plan);

    @SignalMethod
    void step(String payload);
  }

  public static class ThroughputWorkflowImpl implements ThroughputWorkflow {
    private final Activities activities =
        Workflow.newActivityStub(
            Activities.class,
            ActivityOptions.newBuilder().setStartToCloseTimeout(START_TO_CLOSE).build());
    private final Activities localActivities =
        Workflow.newLocalActivityStub(
            Activities.class,
            LocalActivityOptions.newBuilder().setStartToCloseTimeout(START_TO_CLOSE).build());
    private int signals;

    @Override
    public int run(Plan plan) {
      int steps = plan.activities();
      String payload = plan.payload();
      switch (plan.shape()) {
        case SEQUENCE -> {
          for (int number = 0; number < steps; number++) {
            activities.echo(payload);
          }
        }
        case PARALLEL ->
            Promise.allOf(
                    Stream.generate(() -> Async.function(activities::echo, payload))
                        .limit(steps)
                        .toList())
                .get();
        case LOCAL -> {
          for (int number = 0; number < steps; number++) {
            localActivities.echo(payload);
          }
        }
        case CHILD -> {
          for (int number = 0; number < steps; number++) {
            String id = Workflow.getInfo().getWorkflowId() + "-child-" + number;
            ChildWorkflowOptions options =
                ChildWorkflowOptions.newBuilder().setWorkflowId(id).build();
            Workflow.newChildWorkflowStub(EchoWorkflow.class, options).run(payload);
          }
        }
        case SIGNAL -> Workflow.await(() -> signals >= steps);
      }
      return steps;
    }

    @Override
    public void step(String payload) {
      signals++;
    }
  }
}
