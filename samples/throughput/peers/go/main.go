// Command throughput-peer is the worker of this sample in Go, with the same workflows, activity and
// task queue.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strconv"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	tlog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const startToClose = 30 * time.Second

// Plan is the input of ThroughputWorkflow.
type Plan struct {
	Shape      string `json:"shape"`
	Activities int    `json:"activities"`
	Payload    string `json:"payload"`
}

// Echo is an activity that returns its input.
func Echo(_ context.Context, payload string) (string, error) {
	return payload, nil
}

// EchoWorkflow returns its input.
func EchoWorkflow(_ workflow.Context, payload string) (string, error) {
	return payload, nil
}

// ThroughputWorkflow takes the steps of its plan and returns their number.
func ThroughputWorkflow(ctx workflow.Context, plan Plan) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: startToClose})
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: startToClose})
	// Results are decoded, although no code reads them, because the workers in other languages must decode them.
	var echoed string
	switch plan.Shape {
	case "sequence":
		for range plan.Activities {
			if err := workflow.ExecuteActivity(ctx, Echo, plan.Payload).Get(ctx, &echoed); err != nil {
				return 0, err
			}
		}
	case "parallel":
		echoes := make([]workflow.Future, plan.Activities)
		for number := range echoes {
			echoes[number] = workflow.ExecuteActivity(ctx, Echo, plan.Payload)
		}
		for _, echo := range echoes {
			if err := echo.Get(ctx, &echoed); err != nil {
				return 0, err
			}
		}
	case "local":
		for range plan.Activities {
			if err := workflow.ExecuteLocalActivity(ctx, Echo, plan.Payload).Get(ctx, &echoed); err != nil {
				return 0, err
			}
		}
	case "child":
		for number := range plan.Activities {
			child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
				WorkflowID: fmt.Sprintf("%s-child-%d", workflow.GetInfo(ctx).WorkflowExecution.ID, number),
			})
			if err := workflow.ExecuteChildWorkflow(child, EchoWorkflow, plan.Payload).Get(ctx, &echoed); err != nil {
				return 0, err
			}
		}
	case "signal":
		steps := workflow.GetSignalChannel(ctx, "step")
		for range plan.Activities {
			steps.Receive(ctx, &echoed)
		}
	default:
		return 0, fmt.Errorf("unknown shape %q", plan.Shape)
	}
	return plan.Activities, nil
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	if cached := os.Getenv("MAX_CACHED_WORKFLOWS"); cached != "" {
		workflows, err := strconv.Atoi(cached)
		if err != nil {
			return fmt.Errorf("MAX_CACHED_WORKFLOWS: %w", err)
		}
		worker.SetStickyWorkflowCacheSize(workflows)
	}
	// The SDK's default logger prints every activity. The other workers print only warnings.
	warnings := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	connection, err := client.Dial(client.Options{
		HostPort: cmp.Or(os.Getenv("TEMPORAL_ADDRESS"), "localhost:7233"),
		Logger:   tlog.NewStructuredLogger(warnings),
	})
	if err != nil {
		return err
	}
	defer connection.Close()
	taskQueue := cmp.Or(os.Getenv("TEMPORAL_TASK_QUEUE"), "throughput-task-queue")
	w := worker.New(connection, taskQueue, worker.Options{})
	w.RegisterWorkflow(ThroughputWorkflow)
	w.RegisterWorkflow(EchoWorkflow)
	w.RegisterActivityWithOptions(Echo, activity.RegisterOptions{Name: "echo"})
	return w.Run(worker.InterruptCh())
}
