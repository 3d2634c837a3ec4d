"""The worker of this sample in Python, with the same workflows, activity and task queue."""

import asyncio
import os
from datetime import timedelta
from enum import Enum

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

TASK_QUEUE = "throughput-task-queue"
START_TO_CLOSE = timedelta(seconds=30)


class Shape(str, Enum):
    SEQUENCE = "sequence"
    PARALLEL = "parallel"
    LOCAL = "local"
    CHILD = "child"
    SIGNAL = "signal"


@activity.defn
async def echo(payload: str) -> str:
    return payload


@workflow.defn
class EchoWorkflow:
    @workflow.run
    async def run(self, payload: str) -> str:
        return payload


@workflow.defn
class ThroughputWorkflow:
    def __init__(self) -> None:
        self.signals = 0

    @workflow.run
    async def run(self, plan: dict) -> int:
        steps, payload = plan["activities"], plan["payload"]
        match Shape(plan["shape"]):
            case Shape.SEQUENCE:
                for _ in range(steps):
                    await self.echo(payload)
            case Shape.PARALLEL:
                await asyncio.gather(*(self.echo(payload) for _ in range(steps)))
            case Shape.LOCAL:
                for _ in range(steps):
                    await workflow.execute_local_activity(
                        echo, payload, start_to_close_timeout=START_TO_CLOSE
                    )
            case Shape.CHILD:
                for number in range(steps):
                    await workflow.execute_child_workflow(
                        EchoWorkflow.run,
                        payload,
                        id=f"{workflow.info().workflow_id}-child-{number}",
                    )
            case Shape.SIGNAL:
                await workflow.wait_condition(lambda: self.signals >= steps)
        return steps

    async def echo(self, payload: str) -> str:
        return await workflow.execute_activity(
            echo, payload, start_to_close_timeout=START_TO_CLOSE
        )

    @workflow.signal
    def step(self, payload: str) -> None:
        self.signals += 1


async def main() -> None:
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"))
    worker = Worker(
        client,
        task_queue=os.environ.get("TEMPORAL_TASK_QUEUE", TASK_QUEUE),
        workflows=[ThroughputWorkflow, EchoWorkflow],
        activities=[echo],
        max_cached_workflows=int(os.environ.get("MAX_CACHED_WORKFLOWS", "1000")),
    )
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
