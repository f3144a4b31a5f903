import { expect, it } from 'vitest';
import { drain } from '../../../operator/runtime/drain.ts';
import { silentLog } from '../../support/kube.ts';

it('takes the steps in order, and leaves behind the one that hangs or fails', async () => {
  const order: string[] = [];
  const step = (name: string, run: () => Promise<unknown>, timeoutMs = 1_000) => ({
    name,
    timeoutMs,
    run: () => {
      order.push(name);
      return run();
    },
  });
  const steps = [
    step('intake', async () => undefined),
    step('hangs', () => new Promise(() => undefined), 10),
    step('fails', async () => {
      throw new Error('no');
    }),
    step('lease', async () => undefined),
  ];
  expect(await drain(steps, silentLog)).toBe(false);
  expect(order).toEqual(['intake', 'hangs', 'fails', 'lease']);
  expect(await drain(steps.slice(0, 1), silentLog)).toBe(true);
});
