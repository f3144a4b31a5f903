import { delayFor, pause } from '../../kit/backoff.ts';
import type { Backoff } from '../../kit/backoff.ts';
import type { Clock } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import type { KubeClient, Selection, WatchEvent } from './client.ts';
import { KubeError, isGone, isThrottled } from './errors.ts';
import type { Kind } from './kinds.ts';
import type { KubeObject, Stored } from './object.ts';

export interface ReflectorTimings {
  /** The server is asked to end each watch after a random time between these, so that many do not come back at once. */
  watchSeconds: { min: number; max: number };
  /** A watch without even a bookmark (the server sends one a minute) for this long is dead. */
  idleMs: number;
  backoff: Backoff;
  /** A watch that lived this long proves that things are well again: back-off begins anew. */
  longLivedMs: number;
}

export const reflectorTimings: ReflectorTimings = {
  watchSeconds: { min: 300, max: 600 },
  idleMs: 90_000,
  backoff: { baseMs: 800, capMs: 30_000, jitter: 0.5 },
  longLivedMs: 120_000,
};

export interface ReflectorOptions<T extends KubeObject> {
  client: Pick<KubeClient, 'list' | 'watch'>;
  kind: Kind;
  selection?: Selection;
  /** Must not throw. */
  sink: { replace(items: Stored<T>[]): void; shape?(item: Stored<T>): Stored<T>; event(event: Exclude<WatchEvent<T>, { type: 'BOOKMARK' }>): void };
  /** Told of each list, watch and failure, for metrics. */
  observe?: (what: 'list' | 'watch' | 'failure', reason: string) => void;
  clock: Clock;
  log: Log;
  random?: () => number;
  timings?: ReflectorTimings;
}

/** After so many watches in a row that brought nothing although the server answered, the place is taken for lost and listed anew. */
const FRUITLESS_WATCHES = 3;

/** The server was not reached or had no capacity: says nothing about our place in its history. */
const unreachable = (error: unknown): boolean =>
  error instanceof KubeError && (error.reason === 'NetworkError' || error.reason === 'Timeout' || isThrottled(error));

const lostItsPlace = (error: unknown): boolean =>
  isGone(error) || (error instanceof KubeError && error.causes.includes('ResourceVersionTooLarge'));

/**
 * Keeps a sink equal to what the API server has: LIST, then WATCH from there, for ever.
 *
 * Guarantees: ends only with the signal and never rejects; every event between two lists is delivered once and in order;
 * after a break the watch goes on at the last resourceVersion seen (bookmarks count), and only if the server no longer
 * knows that version a full list replaces the sink's content. Every new try waits (0.4 s at least by default), so a
 * server in trouble is never stormed.
 */
export async function reflect<T extends KubeObject>(options: ReflectorOptions<T>, signal: AbortSignal): Promise<void> {
  const { client, kind, sink, clock, log } = options;
  const random = options.random ?? Math.random;
  const timings = options.timings ?? reflectorTimings;
  let resourceVersion: string | undefined;
  let failures = 0;
  let fruitless = 0;

  const failed = (during: 'list' | 'watch', error: unknown): void => {
    failures += 1;
    const reason = error instanceof KubeError ? error.reason : 'Error';
    options.observe?.('failure', reason);
    // Watches are cut all the time; only what keeps failing is worth a warning.
    const level = failures >= 4 ? 'warn' : 'debug';
    const err = error instanceof Error ? error.message : String(error);
    log[level]({ kind: kind.kind, during, failures, err }, `the ${during} of ${kind.plural} broke off`);
  };

  while (!signal.aborted) {
    if (resourceVersion === undefined) {
      try {
        const list = await client.list<T>(kind, options.selection, { signal }, sink.shape);
        options.observe?.('list', '');
        sink.replace(list.items);
        resourceVersion = list.resourceVersion;
        fruitless = 0;
      } catch (error) {
        if (signal.aborted) return;
        failed('list', error);
        await pause(delayFor(failures - 1, timings.backoff, random), signal);
      }
      continue;
    }

    const started = clock.monotonic();
    let progress = false;
    try {
      const { min, max } = timings.watchSeconds;
      const timeoutSeconds = Math.round(min + random() * (max - min));
      options.observe?.('watch', '');
      const { idleMs } = timings;
      const watch = client.watch<T>(
        kind,
        { ...options.selection, resourceVersion, timeoutSeconds, idleMs },
        { signal },
      );
      for await (const event of watch) {
        progress = true;
        if (event.type === 'BOOKMARK') resourceVersion = event.resourceVersion;
        else {
          sink.event(event);
          resourceVersion = event.object.metadata.resourceVersion;
        }
      }
      if (clock.monotonic() - started < 1_000 && !progress) {
        throw new KubeError({ code: 0, reason: 'ShortWatch', message: 'the server ended the watch at once' });
      }
      fruitless = 0;
    } catch (error) {
      if (signal.aborted) return;
      if (clock.monotonic() - started >= timings.longLivedMs) failures = 0;
      failed('watch', error);
      if (progress) fruitless = 0;
      else if (!unreachable(error)) fruitless += 1;
      if (lostItsPlace(error) || fruitless >= FRUITLESS_WATCHES) resourceVersion = undefined;
      await pause(delayFor(failures - 1, timings.backoff, random), signal);
      continue;
    }
    // Ended as agreed, or cut cleanly by something in between.
    if (clock.monotonic() - started >= timings.longLivedMs) failures = 0;
    await pause(delayFor(0, timings.backoff, random), signal);
  }
}
