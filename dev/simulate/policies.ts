import { schedule } from '../../operator/scheduler/schedule.ts';
import { fifoWithBackfill, strictPriority } from './baselines.ts';
import type { Scheduler } from './cluster.ts';
import type { Trace } from './trace.ts';

export interface PolicyUnderTest {
  title: string;
  schedulerOf: (trace: Trace) => Scheduler;
}

export const policies = {
  millrace: { title: 'Millrace', schedulerOf: () => (snapshot, now) => schedule(snapshot, now) },
  strict: { title: 'strict priority', schedulerOf: () => strictPriority(true) },
  'strict-no-preemption': { title: 'strict, no preemption', schedulerOf: () => strictPriority(false) },
  fifo: { title: 'FIFO with backfill', schedulerOf: fifoWithBackfill },
} satisfies Record<string, PolicyUnderTest>;

export type PolicyName = keyof typeof policies;
export const isPolicy = (name: string): name is PolicyName => Object.hasOwn(policies, name);
