import { describe, expect, it } from 'vitest';
import type { WorkerPod } from '../../../operator/batchjob/observe.ts';
import { hadCrashed } from '../../../operator/batchjob/pod-state.ts';

const ended = (exitCode: number, finishedAt: string, metadata: Partial<WorkerPod['metadata']> = {}): WorkerPod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'digits-w0-0', ...metadata },
  status: { phase: 'Running', containerStatuses: [{ name: 'worker', state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: { terminated: { exitCode, finishedAt } } }] },
});

describe('a worker pod that is gone', () => {
  it('had crashed when its process ended badly by itself', () => {
    expect(hadCrashed(ended(1, '2026-11-01T00:00:10Z'))).toBe(true);
    expect(hadCrashed(ended(137, '2026-11-01T00:00:10Z', { deletionTimestamp: '2026-11-01T00:01:00Z', deletionGracePeriodSeconds: 30 }))).toBe(true);
  });

  it('had not crashed when it drained, was done, or was retired', () => {
    for (const exitCode of [0, 75, 143]) expect(hadCrashed(ended(exitCode, '2026-11-01T00:00:10Z'))).toBe(false);
  });

  it('had not crashed when its process was killed because the pod was deleted', () => {
    expect(hadCrashed(ended(137, '2026-11-01T00:01:00Z', { deletionTimestamp: '2026-11-01T00:01:00Z', deletionGracePeriodSeconds: 30 }))).toBe(false);
  });

  it('had not crashed when it never ended', () => {
    expect(hadCrashed({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'digits-w0-0' }, status: { phase: 'Running' } })).toBe(false);
  });
});
