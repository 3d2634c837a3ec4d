/** The worker of this sample in TypeScript, with the same workflows, activity and task queue. */
import { NativeConnection, Worker } from '@temporalio/worker';
import * as activities from './activities';

async function main(): Promise<void> {
  const { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE, MAX_CACHED_WORKFLOWS } = process.env;
  const worker = await Worker.create({
    connection: await NativeConnection.connect({ address: TEMPORAL_ADDRESS ?? 'localhost:7233' }),
    taskQueue: TEMPORAL_TASK_QUEUE ?? 'throughput-task-queue',
    workflowsPath: require.resolve('./workflows'),
    activities,
    maxCachedWorkflows: MAX_CACHED_WORKFLOWS ? Number(MAX_CACHED_WORKFLOWS) : undefined,
  });
  await worker.run();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
