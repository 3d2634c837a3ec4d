/** The workflows of this sample in TypeScript. */
import {
  condition,
  defineSignal,
  executeChild,
  proxyActivities,
  proxyLocalActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type * as activities from './activities';

const options = { startToCloseTimeout: '30 seconds' } as const;
const { echo } = proxyActivities<typeof activities>(options);
const local = proxyLocalActivities<typeof activities>(options);
const step = defineSignal<[string]>('step');

export interface Plan {
  shape: 'sequence' | 'parallel' | 'local' | 'child' | 'signal';
  activities: number;
  payload: string;
}

export async function ThroughputWorkflow({ shape, activities: steps, payload }: Plan): Promise<number> {
  let signals = 0;
  setHandler(step, () => {
    signals += 1;
  });
  switch (shape) {
    case 'sequence':
      for (let number = 0; number < steps; number++) await echo(payload);
      break;
    case 'parallel':
      await Promise.all(Array.from({ length: steps }, () => echo(payload)));
      break;
    case 'local':
      for (let number = 0; number < steps; number++) await local.echo(payload);
      break;
    case 'child':
      for (let number = 0; number < steps; number++) {
        const workflowId = `${workflowInfo().workflowId}-child-${number}`;
        await executeChild(EchoWorkflow, { workflowId, args: [payload] });
      }
      break;
    case 'signal':
      await condition(() => signals >= steps);
      break;
  }
  return steps;
}

export async function EchoWorkflow(payload: string): Promise<string> {
  return payload;
}
