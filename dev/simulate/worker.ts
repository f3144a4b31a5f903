/** Replays a trace with one policy in a thread of its own, and posts what it measured. */
import { parentPort, workerData } from 'node:worker_threads';
import { measure } from './measures.ts';
import { type PolicyName, policies } from './policies.ts';
import { parseTrace } from './trace.ts';

export interface Task {
  policy: PolicyName;
  /** The text of the trace. */
  lines: string;
}

const { policy, lines } = workerData as Task;
const { title, schedulerOf } = policies[policy];
const trace = parseTrace(lines, 'trace');
parentPort?.postMessage(measure(trace, title, schedulerOf(trace)));
